//! Session tags: what IAM policies compare as `aws:PrincipalTag/KEY`.
//!
//! At most 50; a key has 1 to 128 and a value 0 to 256 of `[\p{L}\p{Z}\p{N}_.:/=+\-@]`; a tag holds one value; keys are
//! the same whatever their letter case; `aws:` is reserved (AWS Security Token Service API Reference, AssumeRole).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::Claims;
use crate::templates::text::{Slot, Template, escape, scalar, separates};
use crate::templates::{Fault, TemplateFault};

const TAGS: usize = 50;
const KEY_LENGTH: usize = 128;
const VALUE_LENGTH: usize = 256;

/// Letters that may stand for themselves, beyond ASCII's: ranges that were letters in Unicode 3.2 already. Which
/// version AWS goes by is unknown, and a letter that is escaped is safe in any. So are marks, other digits and other
/// spaces, which are left out.
#[rustfmt::skip]
const LETTERS: &[(char, char)] = &[
    // Latin, Greek, Cyrillic, Armenian
    ('\u{aa}', '\u{aa}'), ('\u{b5}', '\u{b5}'), ('\u{ba}', '\u{ba}'), ('\u{c0}', '\u{d6}'), ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{21f}'), ('\u{386}', '\u{386}'), ('\u{388}', '\u{38a}'), ('\u{38c}', '\u{38c}'),
    ('\u{38e}', '\u{3a1}'), ('\u{3a3}', '\u{3ce}'), ('\u{400}', '\u{481}'), ('\u{48a}', '\u{4c4}'),
    ('\u{4d0}', '\u{4f5}'), ('\u{531}', '\u{556}'), ('\u{561}', '\u{587}'),
    // Hebrew, Arabic, Thai, Georgian, more Latin
    ('\u{5d0}', '\u{5ea}'), ('\u{621}', '\u{63a}'), ('\u{641}', '\u{64a}'), ('\u{671}', '\u{6d3}'),
    ('\u{e01}', '\u{e30}'), ('\u{e32}', '\u{e33}'), ('\u{e40}', '\u{e46}'), ('\u{10d0}', '\u{10f0}'),
    ('\u{1e00}', '\u{1e9b}'), ('\u{1ea0}', '\u{1ef9}'),
    // Japanese, Chinese, Korean
    ('\u{3005}', '\u{3006}'), ('\u{3041}', '\u{3094}'), ('\u{309d}', '\u{309e}'), ('\u{30a1}', '\u{30fa}'),
    ('\u{30fc}', '\u{30fe}'), ('\u{3105}', '\u{312c}'), ('\u{3400}', '\u{4db5}'), ('\u{4e00}', '\u{9fa5}'),
    ('\u{ac00}', '\u{d7a3}'), ('\u{ff21}', '\u{ff3a}'), ('\u{ff41}', '\u{ff5a}'), ('\u{ff66}', '\u{ffbe}'),
];

/// A session tag's value made of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTemplate(Template);

impl TagTemplate {
    /// Reads a template: text of the allowed characters, and placeholders.
    ///
    /// # Errors
    /// With the first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        let mut template = Template::cut(text)?;
        if !template.literals().all(|literal| literal.chars().all(is_allowed)) {
            return Err(TemplateFault::TagCharacter);
        }
        if template.literals().map(|literal| literal.chars().count()).sum::<usize>() > VALUE_LENGTH {
            return Err(TemplateFault::TagTooLong);
        }
        template.separate(separates)?;
        Ok(Self(template))
    }

    /// The names of the claims that it is made of.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.0.claims()
    }

    /// The tag's value for `claims`. A list is written `:a:b:`, as a set: sorted, each element once, with a colon around
    /// each, so that `StringLike` with `*:a:*` finds one element and no part of one. Colons within elements, and one
    /// that begins what is no list, are escaped.
    ///
    /// # Errors
    /// If a claim is missing or of another type than text, boolean, number and list of texts, or if the value would be
    /// too long: half a list of groups would be another list.
    pub fn fill(&self, claims: &Claims) -> Result<String, Fault> {
        let value = self.0.fill(claims, written)?;
        if value.chars().count() > VALUE_LENGTH {
            return Err(Fault::TagTooLong(self.0.told()));
        }
        Ok(value)
    }
}

/// What is wrong with the keys of a profile's tags, and with those among them that are transitive; all of it.
pub fn tag_key_faults(keys: &[&str], transitive: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    if keys.len() > TAGS {
        faults.push(format!("there are {} session tags: AWS takes {TAGS}", keys.len()));
    }
    let mut seen = BTreeSet::new();
    for key in keys {
        if key.is_empty() || key.chars().count() > KEY_LENGTH || !key.chars().all(is_allowed) {
            faults.push(format!(
                "{key:?}: a tag's key has 1 to {KEY_LENGTH} letters, digits, spaces and any of _.:/=+-@"
            ));
        }
        let folded = key.to_lowercase();
        if folded.starts_with("aws:") {
            faults.push(format!("{key:?}: keys that begin with aws: are reserved"));
        }
        if !seen.insert(folded) {
            faults.push(format!("{key:?}: there already, since letter case does not count in tag keys"));
        }
    }
    let unknown = transitive.iter().filter(|key| !keys.contains(key));
    faults.extend(unknown.map(|key| format!("{key:?}: transitive, and not the key of a tag")));
    faults
}

fn written(slot: &Slot, value: &Value) -> Result<String, Fault> {
    let fault = || Fault::NoTexts(slot.claim.clone());
    let plain = |c: char| is_allowed(c) && c != '=' && !slot.barred.contains(c);
    let Value::Array(elements) = value else {
        let text = scalar(value).ok_or_else(fault)?;
        let (colon, rest) = text.strip_prefix(':').map_or(("", &*text), |rest| (":", rest));
        return Ok(escape(colon, |_| false) + &escape(rest, plain));
    };
    let texts: Option<BTreeSet<&str>> = elements.iter().map(Value::as_str).collect();
    let mut written = ":".to_owned();
    for text in texts.ok_or_else(fault)? {
        written.push_str(&escape(text, |c| plain(c) && c != ':'));
        written.push(':');
    }
    Ok(written)
}

/// Whether `c` may stand in a key, or in a value's own text.
pub(super) fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "_.:/=+-@ ".contains(c)
        || LETTERS.iter().any(|(first, last)| (*first..=*last).contains(&c))
}
