//! The other two flows, and what comes with them.

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;
use crate::model::Claims;
use crate::roles::{Group, MatchType};

fn claims(of: Value) -> Claims {
    of.as_object().unwrap().clone()
}

#[test]
fn basic_has_a_pool_and_a_session() {
    let config = sound("ok-flows.toml");
    let profile = &config.broker.profiles["basic"];
    let (target, session) = (&profile.target, &profile.session);
    assert_eq!((target.flow, &*target.region, target.pool_region()), (Flow::Basic, "eu-central-1", "us-east-1"));
    assert_eq!(target.duration, Duration::from_secs(43_200));
    assert_eq!(target.logins_key.as_deref(), Some("127.0.0.1:5600/us-east-1_AbCdEf123"));
    assert_eq!(session.policy_arns, ["arn:aws:iam::aws:policy/ReadOnlyAccess"]);
    let alice = claims(json!({ "email": "alice@example.org", "custom:tenant": "a" }));
    assert_eq!(session.name.fill(&alice).as_deref(), Ok("alice@example.org"));
    let policy = session.policy.as_ref().unwrap().fill(&alice).unwrap();
    assert!(policy.contains("arn:aws:s3:::reports/a/*"), "{policy}");
    let Mapping::Rules(rules) = &profile.rules.mapping else { panic!("no rules") };
    assert_eq!(rules.len(), 2);
    assert_eq!((&*rules[0].claim, rules[0].match_type), ("custom:department", MatchType::Equals));
    assert_eq!(rules[1].value, "a \"quoted\" value,\nof two lines and a ${");
    assert!(matches!(&profile.rules.ambiguous, Ambiguous::AuthenticatedRole(Some(_))));
}

#[test]
fn assume_role_has_no_pool_and_all_the_rest() {
    let config = sound("ok-flows.toml");
    let profile = &config.broker.profiles["direct"];
    let (target, session) = (&profile.target, &profile.session);
    assert_eq!((target.flow, &*target.region, &*target.identity_pool_id), (Flow::AssumeRole, "eu-central-1", ""));
    assert_eq!((target.external_id.as_deref(), target.duration.as_secs()), (Some("tenant:1/a"), 900));
    assert!(profile.accept_access_tokens && session.source_identity.is_some());
    let mut tags: Vec<_> = session.tags.iter().map(|(key, _)| &**key).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["Team", "cost center", "groups"]);
    assert_eq!(session.transitive_tag_keys, ["Team"]);
    let groups: Vec<_> =
        profile.rules.groups.iter().map(|Group { name, precedence, .. }| (&**name, *precedence)).collect();
    assert_eq!(groups, [("editor", 2), ("admin", 1), ("größe", 2_147_483_647)]);
    let plain = &config.broker.profiles["plain"];
    let alice = claims(json!({ "sub": "11111111-2222-3333-4444-555555555555" }));
    assert_eq!(plain.session.name.fill(&alice).as_deref(), Ok("11111111-2222-3333-4444-555555555555"));
    assert!(!plain.accept_access_tokens && plain.target.external_id.is_none() && plain.session.tags.is_empty());
}

#[test]
fn the_other_rooms_hear_of_it() {
    let config = sound("ok-flows.toml");
    assert!(config.auth.access_tokens && config.upstream.own_identity);
    assert_eq!(config.upstream.pool_regions, ["us-east-1"]);
    assert_eq!(config.upstream.sts_regions, ["eu-central-1"]);
    // The address for all is that of STS too.
    assert_eq!(config.upstream.sts_endpoint_url.as_ref().map(url::Url::as_str), Some("http://127.0.0.1:5600/"));
    assert_eq!(config.audit, Some(audit::Config { destination: audit::Destination::Stdout, hashed_subjects: false }));
}

#[test]
fn without_a_region_sts_is_called_where_the_pool_is() {
    let config = sound("ok-regions.toml");
    assert_eq!(config.upstream.sts_regions, ["eu-west-1", "us-east-1"]);
    assert_eq!(config.upstream.pool_regions, ["ap-south-1", "eu-west-1", "us-east-1"]);
    assert_eq!(&*config.broker.profiles["there"].target.region, "eu-west-1");
    assert!(!config.upstream.own_identity);
}

#[test]
fn what_deserves_a_second_look_is_told_by_profile() {
    let config = sound("ok-flows.toml");
    let warnings = config.warnings();
    let begin = [
        r#"profiles.basic: rule 1: custom:department Equals "finance": users can write"#,
        r#"profiles.basic: rule 2: cognito:groups Contains "a \"quoted\" value,\nof"#,
        "profiles.direct: duration_seconds: SDKs come back at 15 minutes left, so that each call asks",
        "profiles.direct: session_name: it names no claim",
        "profiles.direct: source_identity: it names no claim",
        "profiles.plain: duration_seconds: AWS refuses more than 3600",
        r#"profiles.predicted: rule 1: custom:department NotEqual "finance": users can write"#,
    ];
    assert_eq!(warnings.len(), begin.len(), "{warnings:#?}");
    assert!(warnings.iter().zip(begin).all(|(warning, begin)| warning.starts_with(begin)), "{warnings:#?}");
    let lines: Vec<_> = warnings.iter().map(|warning| format!("# warning: {warning}")).collect();
    assert!(config.show().lines().zip(&lines).all(|(shown, line)| shown == line), "{}", config.show());
}

#[test]
fn a_policy_that_no_claim_fits_into_is_at_fault() {
    let policy = |bucket: usize| {
        let resource = format!("arn:aws:s3:::{}/{{{{sub}}}}", "b".repeat(bucket));
        let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Resource": resource }] });
        let profile = "[profiles.default]\nflow = \"assume-role\"\n[aws]\nregion = \"us-east-1\"\n";
        let text = file("ok-minimal.toml");
        let pool = text.split("[profiles").next().unwrap();
        let text = format!("{pool}{}", profile.replace("[aws]", &format!("session_policy = '{policy}'\n[aws]")));
        parse("test", &text, &no_env).map(|_| ()).map_err(|faults| faults.to_string())
    };
    let most =
        2048 - json!({ "Version": "2012-10-17", "Statement": [{ "Resource": "arn:aws:s3:::/x" }] }).to_string().len();
    assert_eq!(policy(most), Ok(()));
    // The text alone would fit; with one letter for the claim it does not.
    let fault = policy(most + 1).unwrap_err();
    assert!(fault.starts_with("test:7: profiles.default.session_policy: "), "{fault}");
    assert!(fault.ends_with("even the shortest claims make more of this one"), "{fault}");
    assert!(policy(most + 2).unwrap_err().ends_with(": a session policy may have 2,048 characters"));
}

#[test]
fn the_admin_token_is_read_and_never_shown() {
    let config = sound("ok-everything.toml");
    assert_eq!(config.server.admin_token.as_ref().unwrap().expose_secret(), TOKEN);
    let shown = config.show();
    assert!(!shown.contains(TOKEN), "{shown}");
    assert!(shown.ends_with("[admin]\ntoken_file = \"token\"\n# the token: (set)\n"), "{shown}");
    assert!(!format!("{:?}", config.server).contains(TOKEN));
}

#[test]
fn a_file_without_a_token_is_told_without_its_content() {
    let text = file("ok-minimal.toml") + "[admin]\ntoken_file = \"token\"\n";
    let parsed = |content: &[u8]| parse_with_files("test", &text, &no_env, &|_| Ok(content.to_vec()));
    for content in [
        &b""[..],
        b"\n",
        b"Hunter2 secret with spaces",
        b"Hunter2-secret-1\n\n",
        b" Hunter2-secret-1",
        b"Hunter2-secret-\xff-beyond",
        "Hunter2-secret-größe".as_bytes(),
        b"Hunter2-secret-\0-zero",
    ] {
        let told = parsed(content).err().unwrap().to_string();
        assert!(told.starts_with("test:8: admin.token_file: the file holds no token: 16 to 1024 "), "{told}");
        assert!(!told.contains("Hunter2"), "{told}");
    }
    for content in [&b"0123456789abcdef"[..], b"0123456789abcdef\n", b"0123456789abcdef\r\n"] {
        assert_eq!(parsed(content).ok().unwrap().server.admin_token.unwrap().expose_secret(), TOKEN);
    }
    // Without files, the text that names one is at fault.
    let told = parse("test", &text, &no_env).err().unwrap().to_string();
    assert!(told.starts_with("test:8: admin.token_file: the file cannot be read: "), "{told}");
}
