//! What is taken of AWS's replies, as a table; the calls themselves are tested over the wire in `tests/it`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_cognitoidentity::operation::get_credentials_for_identity::GetCredentialsForIdentityOutput;
use aws_sdk_cognitoidentity::types::Credentials as AwsCredentials;
use aws_smithy_types::DateTime;

use super::cognito::accept;
use super::identities::{Identities, user};
use super::{Class, Order, Target};
use crate::clock::Moment;
use crate::model::{IdentityId, RoleArn};
use crate::secret::CupToken;

const NOW: u64 = 1_800_000_000;
const ID: &str = "us-east-1:11111111-2222-3333-4444-555555555555";

fn now() -> Moment {
    Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW), boot: Duration::from_secs(5_000) }
}

fn order(custom_role: Option<RoleArn>) -> Order {
    Order {
        target: Arc::new(Target { identity_pool_id: "us-east-1:aaaa".into(), logins_key: None }),
        issuer: "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEf123".into(),
        subject: "6f0c1e2a".into(),
        token: CupToken::new("a.b.c"),
        custom_role,
    }
}

fn credentials() -> AwsCredentials {
    AwsCredentials::builder()
        .access_key_id("ASIAEXAMPLE")
        .secret_key("secret")
        .session_token("session")
        .expiration(DateTime::from_secs(NOW as i64 + 3_600))
        .build()
}

fn reply(id: Option<&str>, credentials: Option<AwsCredentials>) -> GetCredentialsForIdentityOutput {
    GetCredentialsForIdentityOutput::builder()
        .set_identity_id(id.map(ToOwned::to_owned))
        .set_credentials(credentials)
        .build()
}

#[test]
fn a_whole_reply_is_taken_with_its_own_expiration() {
    let role = RoleArn::new("arn:aws:iam::111122223333:role/admin");
    let asked = IdentityId(ID.into());
    let taken = accept(reply(Some(ID), Some(credentials())), &order(Some(role.clone())), &asked, now()).unwrap();
    assert_eq!(taken.access_key_id, "ASIAEXAMPLE");
    assert_eq!(taken.expires.remaining(now()), Duration::from_secs(3_600));
    assert_eq!((taken.role_arn, taken.identity_id), (Some(role), Some(asked.clone())));
    let unasked = accept(reply(Some(ID), Some(credentials())), &order(None), &asked, now()).unwrap();
    assert_eq!(unasked.role_arn, None, "a role that Cognito chose is not guessed");
}

#[test]
fn nothing_less_is() {
    let with = |change: fn(&mut AwsCredentials)| {
        let mut changed = credentials();
        change(&mut changed);
        reply(Some(ID), Some(changed))
    };
    let table = [
        ("no credentials", reply(Some(ID), None)),
        ("no identity", reply(None, Some(credentials()))),
        ("another identity", reply(Some("us-east-1:99999999-2222-3333-4444-555555555555"), Some(credentials()))),
        ("no key id", with(|c| c.access_key_id = None)),
        ("an empty key id", with(|c| c.access_key_id = Some(String::new()))),
        ("no secret", with(|c| c.secret_key = None)),
        ("an empty secret", with(|c| c.secret_key = Some(String::new()))),
        ("no session token", with(|c| c.session_token = None)),
        ("no expiration", with(|c| c.expiration = None)),
        ("expired just now", with(|c| c.expiration = Some(DateTime::from_secs(NOW as i64)))),
        ("the year 1970", with(|c| c.expiration = Some(DateTime::from_secs(0)))),
        ("before 1970", with(|c| c.expiration = Some(DateTime::from_secs(-9_000_000_000)))),
        ("the year 9999", with(|c| c.expiration = Some(DateTime::from_secs(253_402_300_799)))),
        ("milliseconds for seconds", with(|c| c.expiration = Some(DateTime::from_secs(NOW as i64 * 1_000)))),
        ("the end of numbers", with(|c| c.expiration = Some(DateTime::from_secs(i64::MAX)))),
    ];
    for (what, reply) in table {
        let refused = accept(reply, &order(None), &IdentityId(ID.into()), now()).err();
        assert_eq!(refused.map(|failure| failure.class), Some(Class::Invalid), "{what}");
    }
}

#[test]
fn the_login_goes_under_its_issuer_unless_configured() {
    assert_eq!(order(None).logins_key(), "cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEf123");
    let target = Target { identity_pool_id: "eu-west-1:aaaa".into(), logins_key: Some("own".into()) };
    let own = Order { target: Arc::new(target), ..order(None) };
    assert_eq!((own.logins_key(), own.target.region()), ("own", "eu-west-1"));
}

#[test]
fn an_identity_belongs_to_one_user_of_one_pool() {
    let identities = Identities::new();
    let alice = user(&order(None));
    identities.keep(alice, IdentityId(ID.into()));
    let other = |change: fn(&mut Order)| {
        let mut order = order(None);
        change(&mut order);
        user(&order)
    };
    for stranger in [
        other(|order| order.subject = "6f0c1e2b".into()),
        other(|order| order.issuer = "https://other".into()),
        other(|order| order.target = Arc::new(Target { identity_pool_id: "us-east-1:bbbb".into(), logins_key: None })),
    ] {
        assert_eq!(identities.get(&stranger), None);
    }
    assert_eq!(identities.get(&other(|order| order.token = CupToken::new("d.e.f"))), Some(IdentityId(ID.into())));
    identities.forget(&alice);
    assert_eq!(identities.get(&alice), None);
}
