//! Whatever one may find in a file: it is judged, and nothing panics.

use proptest::prelude::*;

use super::{SECRET, WORD, env, file, files_of_config, no_env};
use crate::config::{parse_bytes, parse_with_files};

/// A sound file with a part of it replaced.
fn mutated() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "\\PC{0,12}".boxed(),
        Just("${SECRET}".to_owned()).boxed(),
        "[-0-9.einfa]{1,22}".boxed(),
        prop::sample::select(vec!["[", "]", "[[", "{", "}", "\"", "'''", "=", ".", "\n", "#", "\r\n", "\\"])
            .prop_map(str::to_owned)
            .boxed(),
    ];
    let whole = prop_oneof![
        Just("ok-everything.toml"),
        Just("ok-sample.toml"),
        Just("ok-environment.toml"),
        Just("ok-flows.toml")
    ];
    (whole, prop::collection::vec((any::<prop::sample::Index>(), 0..24_usize, part), 1..4)).prop_map(
        |(name, changes)| {
            let mut text: Vec<char> = file(name).chars().collect();
            for (at, length, part) in changes {
                let at = at.index(text.len() + 1);
                text.splice(at..(at + length).min(text.len()), part.chars());
            }
            text.into_iter().collect()
        },
    )
}

/// One value of a sound file replaced by another one, of whatever kind.
fn revalued() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| toml::Value::from(number).to_string()),
        "\\PC{0,40}".prop_map(|text| toml::Value::from(text).to_string()),
        prop::sample::select(vec![
            "true",
            "[]",
            "{}",
            "[[[]]]",
            "{ a = { b = 1 } }",
            "\"${SECRET}\"",
            "\"{{${WORD}}}{{a}}\"",
            "1979-05-27"
        ])
        .prop_map(str::to_owned),
    ];
    let whole = prop_oneof![Just("ok-everything.toml"), Just("ok-flows.toml")];
    (whole, any::<prop::sample::Index>(), value).prop_map(|(name, at, value)| {
        let text = file(name);
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let pairs: Vec<_> = (0..lines.len()).filter(|line| lines[*line].contains(" = ")).collect();
        let line = &mut lines[*at.get(&pairs)];
        let key = line.split(" = ").next().unwrap_or_default();
        *line = format!("{key} = {value}");
        lines.join("\n")
    })
}

/// Whatever the file says, reading it ends in a configuration that can be shown and read again, or in faults.
fn judge(text: &str) {
    match parse_with_files("any.toml", text, &env, &files_of_config) {
        Ok(config) => {
            assert!(!config.auth.user_pools.is_empty() && !config.broker.profiles.is_empty());
            let shown = config.show();
            let again = parse_with_files("shown", &shown, &no_env, &files_of_config);
            let again = again.unwrap_or_else(|faults| panic!("{faults}\n{shown}"));
            assert_eq!(again.show(), shown);
        }
        Err(faults) => {
            let told = faults.to_string();
            assert!(!told.contains(SECRET) && !told.contains(WORD), "{told}");
            assert_eq!(told.split('\n').count(), faults.iter().count(), "{told}");
            assert!(told.lines().all(|line| line.starts_with("any.toml")), "{told}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "(\\PC|\n|\"|\\[|\\]|=){0,200}") {
        judge(&text);
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse_bytes("any.toml", &bytes, &env, &files_of_config).is_err());
    }

    #[test]
    fn any_slip_is_judged(text in mutated()) {
        judge(&text);
    }

    #[test]
    fn any_value_is_judged(text in revalued()) {
        judge(&text);
    }
}
