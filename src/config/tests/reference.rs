//! The reference has every key that is read, and no other.

use std::collections::BTreeSet;

use super::super::reference::reference;
use super::*;

/// A file with one of each table that can be there several times.
const ONE_OF_EACH: &str = "
[server]
tls = {}
[[user_pools]]
[profiles.NAME]
groups = [{}]
[profiles.NAME.roles]
rules = [{}]
[[configured_sessions]]
";

#[test]
fn it_names_every_key_that_is_read_and_no_other() {
    let found = Found::default();
    let document = DeTable::parse(ONE_OF_EACH).unwrap();
    let source = Source::new(ONE_OF_EACH, &no_env, &found);
    Document::read(Table::root(document.get_ref(), &source));
    let asked = source.asked.borrow().clone();
    // A table's own name was asked for as well; it has keys below it.
    let is_table = |name: &String| asked.iter().any(|other| other.starts_with(&format!("{name}.")));
    let read: BTreeSet<_> = asked.iter().filter(|name| !is_table(name)).cloned().collect();
    let text = reference();
    let mut told = BTreeSet::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = heading.trim_matches(['[', ']']);
        } else if let Some(row) = line.strip_prefix("| `") {
            told.insert(format!("{table}.{}", row.split('`').next().unwrap()));
        }
    }
    let missing: Vec<_> = read.difference(&told).collect();
    let strange: Vec<_> = told.difference(&read).collect();
    assert!(missing.is_empty(), "add them to src/config/reference/keys.rs: {missing:?}");
    assert!(strange.is_empty(), "no such key is read: {strange:?}");
}
