//! Text with placeholders for claims. Knows not what it is for.

use std::borrow::Cow;

use serde_json::Value;

use crate::model::Claims;
use crate::templates::{Fault, TemplateFault};

/// A template, cut at its placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it stands. Two of them never follow each other.
    Literal(String),
    /// The place of a claim.
    Slot(Slot),
}

/// The place of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The claim's name.
    pub(super) claim: String,
    /// Characters that its value cannot hold, or only escaped: they tell where it ends.
    pub(super) barred: String,
}

impl Template {
    /// Cuts `text` at its placeholders; nothing is barred yet.
    pub(super) fn cut(text: &str) -> Result<Self, TemplateFault> {
        let mut template = Self::default();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or(TemplateFault::Unclosed)?;
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || "{}\"\\".contains(c)) {
                return Err(TemplateFault::Name);
            }
            template.push(before);
            template.pieces.push(Piece::Slot(Slot { claim: name.to_owned(), barred: String::new() }));
            rest = after;
        }
        template.push(rest);
        Ok(template)
    }

    /// Appends `text` to what stands at the end.
    pub(super) fn push(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Literal(literal)) => literal.push_str(text),
            _ => self.pieces.push(Piece::Literal(text.to_owned())),
        }
    }

    /// Bars from each value the first character after it that is a `separator`. From the value's beginning, the first
    /// such character is then the template's own, and what stands before it is known: so the value can be read back.
    /// After the last one stands only known text.
    pub(super) fn separate(&mut self, separator: fn(char) -> bool) -> Result<(), TemplateFault> {
        let last = self.pieces.iter().rposition(|piece| matches!(piece, Piece::Slot(_))).unwrap_or(0);
        for index in 0..last {
            let (before, after) = self.pieces.split_at_mut(index + 1);
            let (Some(Piece::Slot(slot)), Some(next)) = (before.last_mut(), after.first()) else { continue };
            let found = match next {
                Piece::Literal(literal) => literal.chars().find(|c| separator(*c)),
                Piece::Slot(_) => None,
            };
            slot.barred.push(found.ok_or_else(|| TemplateFault::Joined(slot.claim.clone()))?);
        }
        Ok(())
    }

    /// The names of the claims, in order, each as often as it stands there.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Slot(slot) => Some(slot.claim.as_str()),
        })
    }

    /// All text that is not a claim's.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(literal) => Some(literal.as_str()),
            Piece::Slot(_) => None,
        })
    }

    /// The names of the claims as a fault tells them.
    pub(super) fn told(&self) -> String {
        self.claims().collect::<Vec<_>>().join(", ")
    }

    /// The text with each claim's value in its place, as `write` has it.
    pub(super) fn fill(
        &self,
        claims: &Claims,
        write: impl Fn(&Slot, &Value) -> Result<String, Fault>,
    ) -> Result<String, Fault> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Slot(slot) => {
                    let value = claims.get(&slot.claim).filter(|value| !value.is_null());
                    let value = value.ok_or_else(|| Fault::Missing(slot.claim.clone()))?;
                    text.push_str(&write(slot, value)?);
                }
            }
        }
        Ok(text)
    }
}

impl Slot {
    /// The text of `value`, which is not empty.
    pub(super) fn full_text<'a>(&self, value: &'a Value) -> Result<Cow<'a, str>, Fault> {
        let text = scalar(value).ok_or_else(|| Fault::NoText(self.claim.clone()))?;
        if text.is_empty() { Err(Fault::Empty(self.claim.clone())) } else { Ok(text) }
    }
}

/// The text of a value that is one.
pub(super) fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `text` with all but the `plain` characters as `=` and two upper-case hex digits for each byte. Injective as long as
/// `=` is not plain.
pub(super) fn escape(text: &str, plain: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if plain(c) {
            escaped.push(c);
        } else {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| escaped.push_str(&hex(byte)));
        }
    }
    escaped
}

/// Whether `c` can separate two values that are written by [`escape`]: it is in none of its escapes, and does not begin
/// a list.
pub(super) fn separates(c: char) -> bool {
    !matches!(c, '0'..='9' | 'A'..='F' | '=' | ':')
}

/// How [`escape`] writes a byte.
pub(super) fn hex(byte: u8) -> String {
    format!("={byte:02X}")
}
