//! Session tags.

use super::*;

fn tagged(signer: &Credentials, role: &str, tags: &[(&str, &str)], transitive: &[&str]) -> Request<Bytes> {
    let mut pairs = Vec::new();
    for (place, (key, value)) in (1..).zip(tags) {
        pairs.push((format!("Tags.member.{place}.Key"), *key));
        pairs.push((format!("Tags.member.{place}.Value"), *value));
    }
    for (place, key) in (1..).zip(transitive) {
        pairs.push((format!("TransitiveTagKeys.member.{place}"), *key));
    }
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assume(signer, role, &pairs)
}

fn refused(tags: &[(&str, &str)], transitive: &[&str]) -> (u16, String, String) {
    refusal(tagged(&api(), EDITOR_ROLE_ARN, tags, transitive))
}

fn invalid(message: &str) -> (u16, String, String) {
    (400, "InvalidParameterValue".to_owned(), message.to_owned())
}

#[test]
fn tags_are_kept_and_weighed() {
    let tags = [("tenant", "finance"), ("groups", "admin:editor"), ("Größe", "größer/+=-@ _.:1"), ("empty", "")];
    let (status, body) = answer(tagged(&api(), EDITOR_ROLE_ARN, &tags, &["Tenant"]));
    assert_eq!(status, 200, "{body}");
    // (13 + 18 + 25 + 5 + 4 * 3) / 460
    assert_eq!(element(&body, "PackedPolicySize"), "15");
    let session = assumed(&body);
    let expected = json!({"tenant": "finance", "groups": "admin:editor", "Größe": "größer/+=-@ _.:1", "empty": ""});
    assert_eq!(described(&session)["tags"], expected);
    assert_eq!(described(&session)["transitive_tag_keys"], json!(["Tenant"]));
    let arn = "arn:aws:sts::111122223333:assumed-role/rbac-users-editor-role/test";
    assert_eq!(element(&answer(signed(WHO_AM_I, &session, NOW)).1, "Arn"), arn);
}

#[test]
fn tags_need_a_role_that_allows_them() {
    let user = "arn:aws:sts::111122223333:assumed-role/rbac-api-role/0c5f2a9e7d1b4c38a6e0f9b2d4c71e83";
    let message = format!("User: {user} is not authorized to perform: sts:TagSession on resource: {UNTAGGED_ROLE_ARN}");
    let ask = tagged(&api(), UNTAGGED_ROLE_ARN, &[("tenant", "finance")], &[]);
    assert_eq!(refusal(ask), (403, "AccessDenied".to_owned(), message));
}

#[test]
fn transitive_tags_go_along_and_cannot_be_changed() {
    let tags = [("tenant", "finance"), ("colour", "red")];
    let admin = assumed(&answer(tagged(&api(), ADMIN_ROLE_ARN, &tags, &["TENANT"])).1);
    let editor = assumed(&answer(tagged(&admin, EDITOR_ROLE_ARN, &[("colour", "blue")], &[])).1);
    assert_eq!(described(&editor)["tags"], json!({"tenant": "finance", "colour": "blue"}));
    assert_eq!(described(&editor)["transitive_tag_keys"], json!(["TENANT"]));
    let conflict = "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag \
                    key from the calling session.";
    let ask = tagged(&admin, EDITOR_ROLE_ARN, &[("Tenant", "other")], &[]);
    assert_eq!(refusal(ask), invalid(conflict));
    // What goes along needs the permission too.
    let (_, code, message) = refusal(tagged(&admin, UNTAGGED_ROLE_ARN, &[], &[]));
    assert_eq!(code, "AccessDenied");
    assert!(message.contains("sts:TagSession"), "{message}");
}

#[test]
fn keys_and_values_are_checked() {
    let pattern = "satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]";
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
    for (tag, member, value, rule) in [
        (("", "v"), "tags.1.member.key", "", "have length greater than or equal to 1"),
        ((long_key.as_str(), "v"), "tags.1.member.key", &long_key, "have length less than or equal to 128"),
        (("k", long_value.as_str()), "tags.1.member.value", &long_value, "have length less than or equal to 256"),
        (("a,b", "v"), "tags.1.member.key", "a,b", &format!("{pattern}+")),
        (("k", "[\"a\"]"), "tags.1.member.value", "[\"a\"]", &format!("{pattern}*")),
        (("k", "a\tb"), "tags.1.member.value", "a\tb", &format!("{pattern}*")),
    ] {
        let message = format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must {rule}"
        );
        let (status, code, text) = refused(&[tag], &[]);
        assert_eq!((status, code.as_str(), text), (400, "ValidationError", message));
    }
}

#[test]
fn keys_are_unique_and_not_awss() {
    let duplicate = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
    assert_eq!(refused(&[("a", "1"), ("A", "2")], &[]), invalid(duplicate));
    let reserved = "aws: prefixed tag key names are not allowed for external use.";
    assert_eq!(refused(&[("AWS:user", "1")], &[]), invalid(reserved));
    let absent = "The specified transitive tag key must be included in the requested tags.";
    assert_eq!(refused(&[("a", "1")], &["b"]), invalid(absent));
}

#[test]
fn there_are_fifty_tags_at_most() {
    let keys: Vec<_> = (1..=51).map(|place| format!("k{place}")).collect();
    let tags: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
    let message = "1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length \
                   less than or equal to 50";
    assert_eq!(refused(&tags, &[]), (400, "ValidationError".to_owned(), message.to_owned()));
    assert_eq!(answer(tagged(&api(), EDITOR_ROLE_ARN, &tags[..50], &[])).0, 200);
    let keys: Vec<_> = vec!["k1"; 51];
    assert!(refused(&[("k1", "v")], &keys).2.contains("Value at 'transitiveTagKeys' failed"));
}

#[test]
fn tags_beyond_their_space_are_refused() {
    let value = "a".repeat(250);
    let keys: Vec<_> = (1..=9).map(|place| format!("T{place}")).collect();
    let tags: Vec<_> = keys.iter().map(|key| (key.as_str(), value.as_str())).collect();
    // The example that AWS itself has answered so.
    let message = "Packed size of session tags consumes 498% of allotted space.";
    assert_eq!(refused(&tags, &[]), (400, "PackedPolicyTooLarge".to_owned(), message.to_owned()));
    let full = [("k", "a".repeat(256)), ("l", "a".repeat(196))];
    let full = full.each_ref().map(|(key, value)| (*key, value.as_str()));
    let (_, body) = answer(tagged(&api(), EDITOR_ROLE_ARN, &full, &[]));
    assert_eq!(element(&body, "PackedPolicySize"), "100", "{body}");
}
