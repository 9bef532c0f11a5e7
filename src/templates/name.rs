//! Session names: `RoleSessionName` and `SourceIdentity`, by which CloudTrail tells users apart.
//!
//! Both are 2 to 64 of `[\w+=,.@-]`, in ASCII (AWS Security Token Service API Reference).

use crate::digest::{Digest, sha256};
use crate::model::Claims;
use crate::templates::text::{Piece, Template, escape, hex, separates};
use crate::templates::{Fault, TemplateFault};

const LENGTH: usize = 64;

/// What stands between the beginning of a name and the digest that replaces its end. No other name holds it, since a
/// `=` is followed by two hex digits there.
const CUT: &str = "=-";

/// How many letters of the digest stand there: 160 bits, so that nobody can find a second text for a name.
const DIGEST_LETTERS: usize = 32;

/// A session name made of claims; constant for a user as long as these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate(Template);

impl NameTemplate {
    /// Reads a template: text of the allowed characters but `=`, and placeholders.
    ///
    /// # Errors
    /// With the first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        let mut template = Template::cut(text)?;
        if template.pieces.is_empty() {
            return Err(TemplateFault::EmptyName);
        }
        if !template.literals().all(|literal| literal.chars().all(is_plain)) {
            return Err(TemplateFault::NameCharacter);
        }
        template.separate(separates)?;
        Ok(Self(template))
    }

    /// The names of the claims that it is made of.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.0.claims()
    }

    /// The name for `claims`. One that would be too long ends in `=-` and a digest of all of it; one of a single
    /// character, which is too short, has that character escaped, as it is in no other name.
    ///
    /// # Errors
    /// If a claim is missing, empty, or of another type than text, boolean and number.
    pub fn fill(&self, claims: &Claims) -> Result<String, Fault> {
        let name = self.0.fill(claims, |slot, value| {
            let text = slot.full_text(value)?;
            Ok(escape(&text, |c| is_plain(c) && !slot.barred.contains(c)))
        })?;
        // Names are ASCII: a byte is a character.
        Ok(match name.as_bytes() {
            [only] => hex(*only),
            bytes if bytes.len() <= LENGTH => name,
            bytes => {
                let kept = &name[..LENGTH - CUT.len() - DIGEST_LETTERS];
                format!("{kept}{CUT}{}", letters(&sha256(bytes)))
            }
        })
    }

    /// Whether the template is only text: every user has the same name.
    pub fn is_constant(&self) -> bool {
        !self.0.pieces.iter().any(|piece| matches!(piece, Piece::Slot(_)))
    }
}

/// Whether `c` stands for itself. `=` is allowed too, and begins our escapes.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+,.@-".contains(c)
}

/// The beginning of `digest` in lower-case base32 (RFC 4648), [`DIGEST_LETTERS`] long.
fn letters(digest: &Digest) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |index: usize| usize::from((digest[index / 8] >> (7 - index % 8)) & 1);
    let letter = |index: usize| (0..5).fold(0, |letter, place| (letter << 1) | bit(index * 5 + place));
    (0..DIGEST_LETTERS).map(|index| char::from(ALPHABET[letter(index)])).collect()
}
