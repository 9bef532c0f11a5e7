//! The house rules, as a test: what may import what, what may stand where, and how large a room may get.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms and their floors. Rooms on one floor may not import each other, except on F0 and F7.
const FLOORS: &[(&str, u8)] = &[
    ("audit", 0),
    ("chance", 0),
    ("clock", 0),
    ("credentials", 0),
    ("digest", 0),
    ("error", 0),
    ("metrics", 0),
    ("model", 0),
    ("secret", 0),
    ("secret_file", 0),
    ("supervise", 0),
    ("tally", 0),
    ("trace", 0),
    ("auth", 1),
    ("roles", 1),
    ("templates", 1),
    ("upstream", 1),
    ("broker", 2),
    ("server", 3),
    ("dev", 4),
    ("config", 5),
    ("doctor", 6),
    ("app", 7),
    ("cli", 7),
    ("confine", 7),
    ("lib", 7),
    ("log", 7),
    ("main", 7),
    ("notify", 7),
    ("reload", 7),
];

/// Words, and the only places where each may stand.
const ABSENCES: &[(&str, &[&str])] = &[
    ("aws_sdk_", &["upstream/"]),
    (
        "expose_secret",
        &[
            "secret.rs",
            "credentials.rs",
            "secret_file.rs",
            "auth/mod.rs",
            "upstream/calls.rs",
            "upstream/user_pools.rs",
            "server/grpc/service.rs",
            "server/grpc/direct.rs",
            "server/admin.rs",
            "broker/sessions/mod.rs",
            "broker/sessions/renewal.rs",
            "dev/sessions.rs",
            "cli/credential_process.rs",
            "cli/dev.rs",
        ],
    ),
    ("expose_document", &["credentials.rs", "server/http.rs"]),
    ("expose_session_token", &["credentials.rs", "server/grpc/"]),
    ("std::env", &["config/"]),
    ("SystemTime::now", &["clock.rs"]),
    (
        "Instant::now",
        &["clock.rs", "auth/keys.rs", "broker/mod.rs", "broker/sessions/calls.rs", "server/grpc/frames.rs"],
    ),
    ("clock_gettime", &["clock.rs"]),
    ("rand::rng(", &["chance.rs"]),
    ("tokio::spawn", &["app.rs"]),
    // The exporter of spans has a thread of its own, outside the runtime.
    (".spawn(", &["app.rs", "server/accept.rs", "server/mod.rs", "trace/export.rs"]),
    ("StatusCode", &["server/", "auth/fetch.rs", "dev/", "cli/dev.rs"]),
    ("hyper_rustls", &["auth/fetch.rs", "trace/export.rs"]),
    ("spawn_blocking", &["app.rs", "secret_file.rs"]),
    ("println!", &[]),
    ("unsafe ", &[]),
];

const MAX_LINES: usize = 400;

/// One source file: its path below `src`, and its lines without comments and string contents cut off at comments.
struct Source {
    path: String,
    text: String,
    lines: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let path = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            Source { path, lines: text.lines().count(), text: without_comments(&text) }
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn without_comments(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.map(|line| line.split(" // ").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn room(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The first names of all `crate::` paths in `text`, those within groups included.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (place, _) in text.match_indices("crate::") {
        let boundary = text[..place].chars().next_back();
        if boundary.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &text[place + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.push(head(rest)),
        }
    }
    found
}

/// The names that begin the members of a `use` group, up to its closing brace.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(head(group[start..place].trim()));
                return heads;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(head(group[start..place].trim()));
                start = place + 1;
            }
            _ => {}
        }
    }
    heads
}

fn head(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// What is wrong with one file's imports.
fn import_faults(path: &str, text: &str) -> Vec<String> {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let here = room(path);
    let Some(floor) = floors.get(here) else { return vec![format!("{path}: no floor for {here}")] };
    let mut faults = Vec::new();
    for name in imports(text) {
        let Some(other) = floors.get(name.as_str()) else { continue };
        let allowed = other < floor || name == here || (other == floor && (*floor == 0 || *floor == 7));
        if !allowed {
            faults.push(format!("{path}: {here} (F{floor}) may not import {name} (F{other})"));
        }
    }
    faults
}

fn absence_faults(path: &str, text: &str) -> Vec<String> {
    let stands = |word: &&(&str, &[&str])| {
        text.contains(word.0)
            && !word.1.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
    };
    ABSENCES.iter().filter(stands).map(|(word, _)| format!("{path}: {word} may not stand here")).collect()
}

#[test]
fn nothing_imports_upward() {
    let faults: Vec<_> = sources().iter().flat_map(|file| import_faults(&file.path, &file.text)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_may_stand_in_one_place_stands_nowhere_else() {
    let files = sources();
    let code = files.iter().filter(|file| !is_test(&file.path));
    // What follows `#[cfg(test)]` at the end of a file is its test.
    let faults: Vec<_> = code
        .flat_map(|file| absence_faults(&file.path, file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("")))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_exception_is_in_use() {
    let files = sources();
    for (word, places) in ABSENCES {
        for place in *places {
            let used = files.iter().any(|file| file.path.starts_with(place) && file.text.contains(word));
            assert!(used, "{word} no longer stands in {place}: take the exception away");
        }
    }
}

#[test]
fn rooms_stay_small() {
    let large: Vec<_> = sources()
        .iter()
        .filter(|file| file.lines > MAX_LINES)
        .map(|file| format!("{}: {} lines", file.path, file.lines))
        .collect();
    assert!(large.is_empty(), "{}", large.join("\n"));
}

#[test]
fn the_rules_can_fail() {
    assert_eq!(import_faults("auth/mod.rs", "use crate::roles::Rules;").len(), 1);
    assert_eq!(import_faults("clock.rs", "use crate::{model, server::{Config, Doors}};").len(), 1);
    assert_eq!(import_faults("broker/mod.rs", "let x = crate::server::Config;").len(), 1);
    assert_eq!(import_faults("attic/mod.rs", "").len(), 1);
    assert!(import_faults("server/mod.rs", "use crate::{broker::Broker, clock::Clock};").is_empty());
    assert_eq!(absence_faults("broker/mod.rs", "let now = SystemTime::now();").len(), 1);
    assert_eq!(absence_faults("server/mod.rs", "use aws_sdk_sts::Client;").len(), 1);
    assert!(absence_faults("upstream/sts.rs", "use aws_sdk_sts::Client;").is_empty());
    assert_eq!(without_comments("// a\nlet b; // c\n"), "let b;");
}
