//! The corpus of the fuzz targets (`tests/fuzz`), replayed: what was once found, or was worth a try, stays mended.

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::Rng;

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
    if let Some(time) = time() {
        let corpus: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        println!("{target}: {} inputs in {time:?}", mutated(&corpus, *run, time));
    }
}

/// How long each corpus is also bent at random: `CUPBEARER_FUZZ_SECONDS`, for a machine without the fuzzer.
fn time() -> Option<Duration> {
    let seconds = std::env::var("CUPBEARER_FUZZ_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("CUPBEARER_FUZZ_SECONDS is a number")))
}

fn mutated(corpus: &[Vec<u8>], run: targets::Run, time: Duration) -> usize {
    let (mut rng, started, mut count) = (rand::rng(), Instant::now(), 0);
    while started.elapsed() < time {
        let input = bent(corpus, &mut rng);
        let done = std::panic::catch_unwind(|| run(&input));
        assert!(done.is_ok(), "by this input: {}", input.escape_ascii());
        count += 1;
    }
    count
}

/// One of the corpus, with a few pieces flipped, cut out, doubled, or taken from another one.
fn bent(corpus: &[Vec<u8>], rng: &mut impl Rng) -> Vec<u8> {
    let mut input = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(1..6) {
        let other = &corpus[rng.random_range(0..corpus.len())];
        let at = rng.random_range(0..=input.len());
        let end = (at + rng.random_range(0..16)).min(input.len());
        match rng.random_range(0..5) {
            0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            1 if at < input.len() => input[at] = rng.random(),
            2 => drop(input.drain(at..end)),
            3 => drop(input.splice(at..at, input[at..end].to_vec())),
            _ => {
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..64)).min(other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
        }
    }
    input.truncate(4_096);
    input
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
