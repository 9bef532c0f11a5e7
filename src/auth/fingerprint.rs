//! One digest for everything in a token that may change the credentials. Pure.
//!
//! Cognito itself may pick the role from any claim, and principal tags may come from any. So whatever is not known
//! to change with each token of the same user is part of the cache's key: a user who lost a group never gets the old
//! group's credentials with a newer token.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::Value;

use crate::digest::{Digest, finish};
use crate::model::Claims;

/// Claims that change with each token, or each sign-in, of a user whose rights stay the same.
const VOLATILE: &[&str] = &["exp", "iat", "auth_time", "jti", "origin_jti", "event_id", "at_hash", "nonce"];

/// Claims whose order says nothing.
const SETS: &[&str] = &["cognito:groups", "cognito:roles"];

/// The digest of `claims`, injective over all but those that are known to be volatile, and those that `others` names.
pub fn fingerprint(claims: &Claims, others: &[Arc<str>]) -> Digest {
    let volatile = |name: &str| VOLATILE.contains(&name) || others.iter().any(|other| **other == *name);
    let mut names: Vec<&String> = claims.keys().filter(|name| !volatile(name)).collect();
    names.sort();
    let mut context = Context::new(&SHA256);
    for name in names {
        feed(&mut context, b'k', name.as_bytes());
        match (&claims[name], SETS.contains(&name.as_str())) {
            (Value::Array(items), true) => feed_set(&mut context, items),
            (value, _) => feed_value(&mut context, value),
        }
    }
    finish(context)
}

fn feed_set(context: &mut Context, items: &[Value]) {
    let mut texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.sort();
    feed_length(context, b'[', texts.len());
    texts.iter().for_each(|text| feed(context, b's', text.as_bytes()));
}

fn feed_value(context: &mut Context, value: &Value) {
    match value {
        Value::Null => feed(context, b'0', b""),
        Value::Bool(truth) => feed(context, b'b', &[u8::from(*truth)]),
        Value::Number(number) => feed(context, b'n', number.to_string().as_bytes()),
        Value::String(text) => feed(context, b's', text.as_bytes()),
        Value::Array(items) => {
            feed_length(context, b'[', items.len());
            items.iter().for_each(|item| feed_value(context, item));
        }
        Value::Object(object) => {
            let mut names: Vec<&String> = object.keys().collect();
            names.sort();
            feed_length(context, b'{', names.len());
            for name in names {
                feed(context, b'k', name.as_bytes());
                feed_value(context, &object[name]);
            }
        }
    }
}

/// Type and length go before the bytes, so that no two values can be cut differently and look the same.
fn feed(context: &mut Context, kind: u8, bytes: &[u8]) {
    feed_length(context, kind, bytes.len());
    context.update(bytes);
}

fn feed_length(context: &mut Context, kind: u8, length: usize) {
    context.update(&[kind]);
    context.update(&(length as u64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn print(value: Value) -> Digest {
        match value {
            Value::Object(claims) => fingerprint(&claims, &[]),
            _ => panic!("claims are an object"),
        }
    }

    #[test]
    fn volatile_claims_and_the_order_of_groups_do_not_count() {
        let old = json!({"sub": "a", "exp": 1, "jti": "x", "cognito:groups": ["admin", "editor"]});
        let new = json!({"jti": "y", "exp": 2, "cognito:groups": ["editor", "admin"], "sub": "a"});
        assert_eq!(print(old), print(new));
    }

    #[test]
    fn everything_else_counts() {
        let all = [
            json!({"sub": "a"}),
            json!({"sub": "b"}),
            json!({"sub": "a", "cognito:groups": ["admin"]}),
            json!({"sub": "a", "cognito:groups": ["admin", "editor"]}),
            json!({"sub": "a", "cognito:groups": "admin"}),
            json!({"sub": "a", "custom:t": "1"}),
            json!({"sub": "a", "custom:t": 1}),
            json!({"sub": "a", "custom:t": ["1", ["2"]]}),
            json!({"sub": "a", "custom:t": [["1"], "2"]}),
            json!({"sub": "a", "custom:t": true}),
            json!({"sub": "a", "custom:t": null}),
            json!({"sub": "a", "custom:tk": ""}),
        ];
        let prints: std::collections::HashSet<Digest> = all.iter().cloned().map(print).collect();
        assert_eq!(prints.len(), all.len());
    }
}
