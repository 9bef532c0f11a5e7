//! The documentation: its links lead somewhere, its blocks can be read by what they are for, its names are all there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HOUSE: &str = env!("CARGO_MANIFEST_DIR");

/// Every page, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut places: Vec<_> = ["docs", "deploy", "examples", "README.md", "SECURITY.md", "benches"]
        .map(|name| Path::new(HOUSE).join(name))
        .to_vec();
    let mut pages = Vec::new();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
        } else if place.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&place).unwrap();
            pages.push((place, text));
        }
    }
    assert!(pages.len() > 12, "{}", pages.len());
    pages
}

/// The text outside of fenced blocks, and the blocks with their languages.
fn parts(text: &str) -> (String, Vec<(String, String)>) {
    let (mut prose, mut blocks) = (String::new(), Vec::new());
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 0 {
            prose.push_str(part);
        } else {
            let (language, block) = part.split_once('\n').unwrap();
            blocks.push((language.to_owned(), block.to_owned()));
        }
    }
    (prose, blocks)
}

/// The anchors of a page: its headings as GitHub spells them.
fn anchors(text: &str) -> BTreeSet<String> {
    let (prose, _) = parts(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| -> String {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The targets of the links in `prose`.
fn links(prose: &str) -> Vec<&str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for (page, text) in pages() {
        let (prose, _) = parts(&text);
        for link in links(&prose).into_iter().filter(|link| !link.starts_with("https://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{}: {link} is none of {there:?}", page.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "{followed}");
}

#[test]
fn every_block_can_be_read_by_what_it_is_for() {
    let mut read = 0;
    for (page, text) in pages() {
        for (language, block) in parts(&text).1 {
            let fault = match language.as_str() {
                "json" => serde_json::from_str::<serde_json::Value>(&block).err().map(|error| error.to_string()),
                "toml" => toml::from_str::<toml::Table>(&block).err().map(|error| error.to_string()),
                "sh" => {
                    let done = Command::new("sh").args(["-n", "-c", &block]).output().unwrap();
                    (!done.status.success()).then(|| String::from_utf8_lossy(&done.stderr).into_owned())
                }
                // Pictures, and languages whose files are elsewhere tested as files.
                "text" | "python" | "yaml" | "ini" | "promql" => continue,
                other => Some(format!("a block of {other:?}")),
            };
            assert!(fault.is_none(), "{}: {}\n{block}", page.display(), fault.unwrap());
            read += 1;
        }
    }
    assert!(read > 8, "{read}");
}

#[test]
fn the_reference_is_what_the_code_says() {
    let page = Path::new(HOUSE).join("docs/configuration.md");
    let wanted = cupbearer::config::reference();
    if fs::read_to_string(&page).unwrap() != wanted {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("configuration.md");
        fs::write(&made, wanted).unwrap();
        panic!("it is old: copy {} to {}", made.display(), page.display());
    }
}

#[test]
fn every_command_and_metric_that_is_named_is_there() {
    let help = Command::new(env!("CARGO_BIN_EXE_cupbearer")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let section = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: BTreeSet<_> = section.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains("serve"), "{help}");
    let metrics = include_str!("metrics.txt");
    for (page, text) in pages() {
        for span in text.split('`').skip(1).step_by(2) {
            if let Some(command) = span.strip_prefix("cupbearer ").and_then(|rest| rest.split_whitespace().next()) {
                let is_one = commands.contains(command) || command.starts_with('-');
                assert!(is_one, "{}: cupbearer {command} is none of {commands:?}", page.display());
            }
            if span.starts_with("cupbearer_") {
                let name = span.split(['{', ' ', '[']).next().unwrap();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
                assert!(metrics.contains(base), "{}: {name} is no metric", page.display());
            }
        }
    }
}
