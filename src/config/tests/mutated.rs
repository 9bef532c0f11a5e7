//! What a reload may come upon: a file that was half written, badly merged or torn. Ten thousand of them, the same ones
//! each time.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{env, file, files_of_config};
use crate::config::parse_bytes;

const FILES: usize = 10_000;

/// Stands where values stand, and in no key: no fault may say it.
const CANARY: &str = "zq7Canary";

/// One slip of an editor, a merge or a disk.
fn slip(text: &mut Vec<u8>, rng: &mut StdRng) {
    let at = rng.random_range(0..=text.len());
    let end = (at + rng.random_range(0..40)).min(text.len());
    match rng.random_range(0..7) {
        0 => text.truncate(at),
        1 => drop(text.drain(at..end)),
        2 => text.insert(at, rng.random()),
        3 => text[at..end].iter_mut().for_each(|byte| *byte ^= 1 << rng.random_range(0..8_u8)),
        4 => {
            let part = text[at..end].to_vec();
            let to = rng.random_range(0..=text.len());
            text.splice(to..to, part);
        }
        5 => in_lines(text, |lines| {
            let (one, other) = (rng.random_range(0..lines.len()), rng.random_range(0..lines.len()));
            lines.swap(one, other);
        }),
        _ => in_lines(text, |lines| {
            let at = rng.random_range(0..lines.len());
            let line = &mut lines[at];
            if let Some((key, _)) = line.split_once(" = ") {
                *line = format!("{key} = \"{CANARY} {}\"", rng.random_range(0..100));
            }
        }),
    }
}

fn in_lines(text: &mut Vec<u8>, change: impl FnOnce(&mut Vec<String>)) {
    let whole = String::from_utf8_lossy(text).into_owned();
    let mut lines: Vec<_> = whole.split('\n').map(str::to_owned).collect();
    change(&mut lines);
    *text = lines.join("\n").into_bytes();
}

#[test]
fn no_mutated_file_panics_or_has_its_values_told() {
    let mut rng = StdRng::seed_from_u64(7);
    let whole = ["ok-everything.toml", "ok-flows.toml", "ok-sample.toml", "ok-minimal.toml"].map(file);
    let mut refused = 0;
    for number in 0..FILES {
        let mut text = whole[number % whole.len()].clone().into_bytes();
        for _ in 0..rng.random_range(1..5) {
            slip(&mut text, &mut rng);
        }
        let Err(faults) = parse_bytes("mutated.toml", &text, &env, &files_of_config) else { continue };
        refused += 1;
        for fault in &faults {
            assert!(!fault.message.is_empty() && !fault.message.contains(CANARY), "file {number}: {fault:?}");
            assert!(fault.line.is_none_or(|line| line >= 1), "file {number}: {fault:?}");
        }
        let shown = faults.to_string();
        assert!(shown.lines().all(|line| line.starts_with("mutated.toml")), "file {number}: {shown}");
    }
    assert!(refused > FILES / 2 && refused < FILES, "{refused} were refused: the slips are too small or too large");
}
