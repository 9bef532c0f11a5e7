//! What is wrong in a configuration file, all of it at once. Knows no key and no value.
//!
//! A fault never repeats a string value: it may have come from the environment, and the line says where to look.

use std::cell::RefCell;
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The line, from 1; none when the file as a whole is at fault.
    pub line: Option<usize>,
    /// The key, with the tables it stands in: `limits.entries`. Empty when no key is to blame.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Everything that is wrong in one file, by line. `Display` gives each fault a line of its own:
/// `FILE:LINE: KEY: MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    file: String,
    faults: Vec<Fault>,
}

/// Where something stands, or should stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) key: String,
}

/// The faults found so far. Shared by all that read, so that none of them stops at its first.
#[derive(Default)]
pub(super) struct Found(RefCell<Vec<Fault>>);

impl Faults {
    /// The faults by line; there is at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }

    /// A fault that lets nothing else be found.
    pub(super) fn only(file: &str, line: Option<usize>, message: String) -> Self {
        Self { file: file.to_owned(), faults: vec![Fault { line, key: String::new(), message }] }
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some(line) = fault.line {
                write!(f, ":{line}")?;
            }
            if !fault.key.is_empty() {
                write!(f, ": {}", fault.key)?;
            }
            write!(f, ": {}", fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl Place {
    /// The place of `name` within the table that stands here.
    pub(super) fn key(&self, name: &str, line: usize) -> Self {
        let name = if is_bare(name) { name.to_owned() } else { format!("\"{}\"", name.escape_debug()) };
        let key = if self.key.is_empty() { name } else { format!("{}.{name}", self.key) };
        Self { line, key }
    }

    /// The same key on another line: an element of a list, or one table of several.
    pub(super) fn on_line(&self, line: usize) -> Self {
        Self { line, key: self.key.clone() }
    }
}

impl Found {
    /// Adds a fault.
    pub(super) fn tell(&self, place: &Place, message: impl Into<String>) {
        let fault = Fault { line: Some(place.line), key: place.key.clone(), message: message.into() };
        self.0.borrow_mut().push(fault);
    }

    /// The end of the search: `sound`, if nothing was found.
    pub(super) fn none_or<T>(self, file: &str, sound: T) -> Result<T, Faults> {
        let mut faults = self.0.into_inner();
        if faults.is_empty() {
            return Ok(sound);
        }
        faults.sort();
        faults.dedup();
        Err(Faults { file: file.to_owned(), faults })
    }
}

/// Whether TOML takes `name` as a key without quotes.
pub(super) fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
