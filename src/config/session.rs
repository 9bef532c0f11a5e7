//! Of `[profiles.NAME]` what the session of an assumed role is like: names, tags and policies made of claims. Knows no
//! role.

use std::sync::Arc;

use serde_json::Value;

use crate::broker::SessionTemplates;
use crate::config::defaults::*;
use crate::config::faults::{Found, Place};
use crate::config::field::{Field, List, Names};
use crate::config::{forms, raw};
use crate::model::Claims;
use crate::templates::{
    NameTemplate, PolicyTemplate, TagTemplate, TemplateFault, check_policy_arns, check_policy_size, tag_key_faults,
};
use crate::upstream::Flow;

/// The templates' texts, which templates do not tell: what is shown of them.
#[derive(Clone, Default)]
pub(super) struct Texts {
    pub(super) session_name: String,
    pub(super) source_identity: Option<String>,
    pub(super) session_tags: Vec<(String, String)>,
    pub(super) session_policy: Option<String>,
}

/// The session's templates in a profile of this `flow`, which is none if it could not be read.
pub(super) fn resolve(typed: raw::Session, flow: Option<Flow>, found: &Found) -> Option<(SessionTemplates, Texts)> {
    let typed = typed.used_by(flow, found);
    let name = typed.session_name.filled(|| DEFAULT_SESSION_NAME.to_owned());
    let name = template(name, NameTemplate::parse, found).given();
    let source_identity = template(typed.source_identity, NameTemplate::parse, found).given();
    let transitive = transitive(typed.transitive_tag_keys, &typed.session_tags, found);
    let tags = tags(typed.session_tags, found);
    let policy = policy(typed.session_policy, found);
    let policy_arns = policy_arns(typed.policy_arns, policy.as_ref().map(|(_, _, shortest)| &**shortest), found);
    let (session_name, name) = name?;
    let (source_text, source_identity) = source_identity.unzip();
    let (policy_text, policy) = policy.map(|(text, policy, _)| (text, policy)).unzip();
    let (session_tags, tags) = tags.into_iter().map(|(key, text, tag)| ((key.clone(), text), (key, tag))).unzip();
    let texts = Texts { session_name, source_identity: source_text, session_tags, session_policy: policy_text };
    let templates =
        SessionTemplates { name, source_identity, tags, transitive_tag_keys: transitive, policy, policy_arns };
    Some((templates, texts))
}

impl raw::Session {
    /// Without the keys that `flow` does not use, which is told.
    fn used_by(self, flow: Option<Flow>, found: &Found) -> Self {
        let enhanced = |why| Some(why).filter(|_| flow == Some(Flow::Enhanced));
        let not_ours = |why| Some(why).filter(|_| matches!(flow, Some(Flow::Enhanced | Flow::Basic)));
        let named = "in the enhanced flow Cognito names all sessions alike";
        let limited = "the enhanced flow takes no session policy; basic and assume-role do";
        let identity = "only flow assume-role sets a source identity; in the others it is for the pool's token to say";
        let tagged = "only flow assume-role sets session tags; in the others the identity pool does, by its attributes \
                      for access control";
        Self {
            session_name: self.session_name.unless(enhanced(named), found),
            source_identity: self.source_identity.unless(not_ours(identity), found),
            session_tags: self.session_tags.unless(not_ours(tagged), found),
            transitive_tag_keys: self.transitive_tag_keys.unless(not_ours(tagged), found),
            session_policy: self.session_policy.unless(enhanced(limited), found),
            policy_arns: self.policy_arns.unless(enhanced(limited), found),
        }
    }
}

/// A template with its text.
fn template<T>(typed: Field<String>, parse: fn(&str) -> Result<T, TemplateFault>, found: &Found) -> Field<(String, T)> {
    typed.judged(found, |text| match parse(&text) {
        Ok(template) => Ok((text, template)),
        Err(fault) => Err(without_names(fault).to_string()),
    })
}

/// The fault without the name of the placeholder, which is a part of a string value.
fn without_names(fault: TemplateFault) -> TemplateFault {
    let name = || "…".to_owned();
    match fault {
        TemplateFault::Joined(_) => TemplateFault::Joined(name()),
        TemplateFault::Misplaced(_) => TemplateFault::Misplaced(name()),
        TemplateFault::Touching(_) => TemplateFault::Touching(name()),
        TemplateFault::InVariable(_) => TemplateFault::InVariable(name()),
        fault => fault,
    }
}

/// The sound tags: key, text, template.
fn tags(typed: Field<Names>, found: &Found) -> Vec<(String, String, TagTemplate)> {
    let place = typed.place.clone();
    let typed = typed.given().unwrap_or_default();
    let keys: Vec<_> = typed.iter().filter_map(|(key, _)| key.as_given().map(String::as_str)).collect();
    tag_key_faults(&keys, &[]).into_iter().for_each(|fault| found.tell(&place, fault));
    let each = typed.into_iter().filter_map(|(key, text)| {
        let (text, tag) = template(text, TagTemplate::parse, found).given()?;
        Some((key.given()?, text, tag))
    });
    each.collect()
}

/// The keys of transitive tags; one that is no key of `tags` is told, without its text.
fn transitive(typed: Field<List>, tags: &Field<Names>, found: &Found) -> Vec<String> {
    let has = |tags: &Names, key: &str| tags.iter().any(|(tag, _)| tag.as_given().is_some_and(|tag| tag == key));
    let known = |key: String| match tags.as_given() {
        Some(tags) if has(tags, &key) => Ok(key),
        // What the faulty table was to hold is not known.
        None if !tags.is_absent() => Ok(key),
        _ => Err("unknown: no key of session_tags"),
    };
    texts(typed.each(found, known))
}

fn policy_arns(typed: Field<List>, shortest: Option<&str>, found: &Found) -> Vec<String> {
    let place = typed.place.clone();
    let arns = texts(typed.each(found, forms::policy));
    if let Err(fault) = check_policy_arns(&arns).and(check_policy_size(shortest, &arns)) {
        found.tell(&place, fault.to_string());
    }
    arns
}

/// The policy's text, the policy, and the shortest that claims can make of it.
fn policy(typed: Field<String>, found: &Found) -> Option<(String, PolicyTemplate, String)> {
    let policy =
        template(typed, PolicyTemplate::parse, found).judged(found, |(text, policy)| match shortest(&policy) {
            Some(shortest) => Ok((text, policy, shortest)),
            None => {
                Err("a session policy may have 2,048 characters, and even the shortest claims make more of this one")
            }
        });
    policy.given()
}

/// The policy in which each claim is one letter; none if it is too long even so.
fn shortest(template: &PolicyTemplate) -> Option<String> {
    // A letter may be one that ends a value in this very template.
    ('a'..='z').find_map(|letter| {
        let claim = |name: &str| (name.to_owned(), Value::from(letter.to_string()));
        let claims: Claims = template.claims().map(claim).collect();
        template.fill(&claims).ok()
    })
}

fn texts(placed: Field<Vec<(Arc<str>, Place)>>) -> Vec<String> {
    placed.given().unwrap_or_default().into_iter().map(|(text, _)| text.to_string()).collect()
}
