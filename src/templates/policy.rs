//! Session policies with claims in them: each tenant its own prefix, whatever it is called.
//!
//! A value cannot be escaped here, for it has to match what is called by it. So it is refused if it could mean more
//! than itself: a tenant `a` never covers a tenant `a/b`, nor `*`. What IAM reads as wildcard or variable is written
//! `${*}`, `${?}` and `${$}` (IAM User Guide, "IAM policy elements: Variables and tags").

use serde_json::Value;

use crate::model::Claims;
use crate::templates::session_policy::{Document, MAX_CHARS, is_allowed};
use crate::templates::text::{Piece, Slot, Template};
use crate::templates::{Fault, PolicyFault, TemplateFault};

/// The elements in which IAM knows variables, and hence escapes.
const ELEMENTS: &[&str] = &["Resource", "NotResource", "Condition"];

/// What may stand for more than itself.
const WILD: &[char] = &['*', '?', '$'];

/// A session policy made of claims, which stand in strings of its JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTemplate(Template);

impl PolicyTemplate {
    /// Reads a template: a policy's JSON, with placeholders within strings, and there only where IAM knows variables.
    ///
    /// # Errors
    /// With the first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        // Outside of strings `{{` is no JSON, so that all placeholders stand in strings.
        let document = Document::parse(text)?;
        if document.value.get("Version").and_then(Value::as_str) != Some("2012-10-17") {
            return Err(TemplateFault::Version);
        }
        let mut template = Template::default();
        write(&document.value, false, &mut template)?;
        if !template.literals().all(|literal| literal.chars().all(is_allowed)) {
            return Err(TemplateFault::PolicyCharacter);
        }
        if template.literals().map(|literal| literal.chars().count()).sum::<usize>() > MAX_CHARS {
            return Err(TemplateFault::PolicyTooLong);
        }
        Ok(Self(template))
    }

    /// The names of the claims that it is made of.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.0.claims()
    }

    /// The policy for `claims`, without spaces around its JSON.
    ///
    /// # Errors
    /// If a claim is missing, empty, or of another type than text, boolean and number; if it holds `/`, what separates
    /// it from its neighbours, a control character or what no policy may hold; and if the policy would be too long.
    pub fn fill(&self, claims: &Claims) -> Result<String, Fault> {
        let policy = self.0.fill(claims, |slot, value| {
            let text = slot.full_text(value)?;
            if text.contains(|c: char| slot.barred.contains(c) || c.is_control() || !is_allowed(c)) {
                return Err(Fault::Unsafe { claim: slot.claim.clone(), barred: slot.barred.clone() });
            }
            Ok(in_json(&without_wildcards(&text)))
        })?;
        if policy.chars().count() > MAX_CHARS {
            return Err(Fault::PolicyTooLong(self.0.told()));
        }
        Ok(policy)
    }
}

/// Appends the JSON of `value` to `template`. `open` says whether placeholders may stand there.
fn write(value: &Value, open: bool, template: &mut Template) -> Result<(), TemplateFault> {
    match value {
        Value::Object(members) => {
            template.push("{");
            for (index, (name, member)) in members.iter().enumerate() {
                if let Some(claim) = Template::cut(name)?.claims().next() {
                    return Err(TemplateFault::Misplaced(claim.to_owned()));
                }
                template.push(if index == 0 { "" } else { "," });
                template.push(&Value::from(name.as_str()).to_string());
                template.push(":");
                write(member, open || ELEMENTS.contains(&name.as_str()), template)?;
            }
            template.push("}");
        }
        Value::Array(elements) => {
            template.push("[");
            for (index, element) in elements.iter().enumerate() {
                template.push(if index == 0 { "" } else { "," });
                write(element, open, template)?;
            }
            template.push("]");
        }
        Value::String(text) => write_text(text, open, template)?,
        other => template.push(&other.to_string()),
    }
    Ok(())
}

fn write_text(text: &str, open: bool, template: &mut Template) -> Result<(), TemplateFault> {
    let pieces = Template::cut(text)?.pieces;
    let in_arn = text.starts_with("arn:");
    template.push("\"");
    for (index, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Literal(literal) => template.push(&in_json(literal)),
            Piece::Slot(slot) if !open => return Err(TemplateFault::Misplaced(slot.claim.clone())),
            Piece::Slot(slot) => {
                let barred = barred(slot, &pieces[..index], &pieces[index + 1..], in_arn)?;
                template.pieces.push(Piece::Slot(Slot { claim: slot.claim.clone(), barred }));
            }
        }
    }
    template.push("\"");
    Ok(())
}

/// The characters that the value of `slot` may not hold: the path separator; in an ARN the colon too, which would begin
/// another part of it; and on either side, where a wildcard, a variable or another placeholder follows, a character
/// that stands before it. Without that, `{{a}}-*` for `x` would cover `x-y`, and `{{a}}-{{b}}` would be the same for
/// (`x-y`, `z`) and (`x`, `y-z`).
fn barred(slot: &Slot, before: &[Piece], after: &[Piece], in_arn: bool) -> Result<String, TemplateFault> {
    let touching = || TemplateFault::Touching(slot.claim.clone());
    let mut barred = if in_arn { "/:".to_owned() } else { "/".to_owned() };
    if let [.., Piece::Literal(literal)] = before {
        if literal.rfind("${").is_some_and(|start| !literal[start..].contains('}')) {
            return Err(TemplateFault::InVariable(slot.claim.clone()));
        }
        if let Some(between) = behind_wildcard(literal) {
            add_guard(&mut barred, between.chars().rev()).ok_or_else(touching)?;
        }
    }
    match after {
        [] => {}
        [Piece::Literal(last)] if !last.contains(WILD) => {}
        [Piece::Literal(literal), ..] => {
            let between = literal.split(WILD).next().unwrap_or_default();
            add_guard(&mut barred, between.chars()).ok_or_else(touching)?;
        }
        [Piece::Slot(_), ..] => return Err(touching()),
    }
    Ok(barred)
}

/// What follows the last wildcard or variable of `literal`, if there is one.
fn behind_wildcard(literal: &str) -> Option<&str> {
    let wildcard = literal.rfind(WILD)? + 1;
    let variable = literal.rfind("${").and_then(|start| Some(start + literal[start..].find('}')? + 1));
    literal.get(wildcard.max(variable.unwrap_or(0))..)
}

/// Adds the guard among the characters that lie between a value and what could reach into it, the nearest first: one
/// that is barred anyway, if there is any.
fn add_guard(barred: &mut String, mut between: impl Iterator<Item = char> + Clone) -> Option<()> {
    if !between.clone().any(|c| barred.contains(c)) {
        barred.push(between.next()?);
    }
    Some(())
}

/// `text` with what means more than itself to IAM as IAM's own escapes.
fn without_wildcards(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if WILD.contains(&c) {
            escaped.extend(['$', '{', c, '}']);
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// `text` as it stands between the quotes of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

impl From<PolicyFault> for TemplateFault {
    fn from(fault: PolicyFault) -> Self {
        match fault {
            PolicyFault::NotJson { line, column } => Self::NotJson { line, column },
            PolicyFault::Twins => Self::Twins,
            _ => Self::NotAnObject,
        }
    }
}
