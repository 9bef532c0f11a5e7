//! How much of a wrong secret is right cannot be measured, since secrets are compared by their digests and in constant
//! time: shown by construction, since every comparison is in the source (A34).

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn secrets_are_compared_by_digest_and_in_constant_time() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut constant = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for line in code.lines().filter(|line| line.contains("expose_secret")) {
            let compared = [" == ", " != ", ".eq(", ".cmp(", "starts_with(", "strip_prefix(", "contains("];
            let compared = compared.iter().any(|sign| line.contains(sign)) && !line.contains("sha256(");
            assert!(!compared, "{name}: a secret is compared: {}", line.trim());
        }
        constant += code.matches("verify_slices_are_equal(").count();
    }
    assert!(constant >= 2, "the admin token and the sessions' tokens are compared in constant time");
}
