//! Configurations: taken or refused, with words for a person.

use cupbearer::config;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A variable of the environment is a secret as far as faults are concerned.
    let env = |name: &str| (name != "UNSET").then(|| "canary-of-the-environment".to_owned());
    let read = |_: &std::path::Path| Ok(b"canary-of-a-file\n".to_vec());
    match config::parse_with_files("fuzz.toml", text, &env, &read) {
        Ok(config) => {
            let shown = config.show();
            assert!(shown.contains("[server]"), "{shown}");
            assert!(!shown.contains("canary-of-a-file"), "{shown}");
        }
        Err(faults) => {
            let told = faults.to_string();
            assert!(told.contains("fuzz.toml") && !told.contains("canary-of"), "{told}");
        }
    }
}
