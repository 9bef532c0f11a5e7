//! The corpus of the fuzz targets (`tests/fuzz`), replayed: what was once found, or was worth a try, stays mended.

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

/// The files of `place`, below the crate.
fn files(place: &str) -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Runs the target on each file of its corpus, and on its beginning and its end alone.
fn replay(target: &str, place: &str) {
    let (_, run) = targets::ALL.iter().find(|(name, _)| *name == target).unwrap();
    let files = files(place);
    assert!(files.len() >= 12, "{target}: a corpus of {}", files.len());
    for file in &files {
        println!("{}", file.display());
        let bytes = fs::read(file).unwrap();
        assert!(bytes.len() < 16_384, "{} is not small", file.display());
        run(&bytes);
        run(&bytes[..bytes.len() / 2]);
        run(&bytes[bytes.len() / 2..]);
    }
    run(&[]);
}

#[test]
fn tokens() {
    replay("token", "tests/fuzz/corpus/token");
}

#[test]
fn authorization_headers() {
    replay("authorization", "tests/fuzz/corpus/authorization");
}

#[test]
fn targets_and_hosts() {
    replay("place", "tests/fuzz/corpus/place");
}

#[test]
fn grpc_bytes() {
    replay("grpc", "tests/fuzz/corpus/grpc");
}

#[test]
fn key_sets() {
    replay("key_set", "tests/fuzz/corpus/key_set");
}

#[test]
fn replies_of_aws() {
    replay("reply", "tests/fuzz/corpus/reply");
}

/// Whose corpus are the tests' own configurations.
#[test]
fn configurations() {
    replay("configuration", "tests/it/config");
}
