//! What is taken of AWS's replies, as a table; the calls themselves are tested over the wire in `tests/it`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;

use super::accept::{Parts, credentials, same_identity};
use super::identities::{Identities, user};
use super::{Class, Failure, Flow, Order, Target};
use crate::clock::Moment;
use crate::metrics::Operation;
use crate::model::{Credentials, IdentityId};
use crate::secret::CupToken;

const NOW: u64 = 1_800_000_000;
const ID: &str = "us-east-1:11111111-2222-3333-4444-555555555555";

fn now() -> Moment {
    Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW), boot: Duration::from_secs(5_000) }
}

fn target(identity_pool_id: &str, logins_key: Option<&str>) -> Arc<Target> {
    Arc::new(Target {
        flow: Flow::Enhanced,
        identity_pool_id: identity_pool_id.into(),
        logins_key: logins_key.map(Into::into),
        region: "us-east-1".into(),
        duration: Duration::from_secs(3_600),
        external_id: None,
    })
}

fn order() -> Order {
    Order {
        target: target("us-east-1:aaaa", None),
        issuer: "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEf123".into(),
        subject: "6f0c1e2a".into(),
        token: Some(CupToken::new("a.b.c")),
        role: None,
        session: Arc::default(),
    }
}

fn parts() -> Parts {
    Parts {
        access_key_id: Some("ASIAEXAMPLE".to_owned()),
        secret: Some("secret".to_owned()),
        session_token: Some("session".to_owned()),
        expiration: Some(DateTime::from_secs(NOW as i64 + 3_600)),
    }
}

fn accept(parts: Option<Parts>) -> Result<Credentials, Failure> {
    accept_at(parts, now())
}

fn accept_at(parts: Option<Parts>, now: Moment) -> Result<Credentials, Failure> {
    let sent = Moment { boot: now.boot - Duration::from_secs(2), ..now };
    let lifetime = (Duration::from_secs(3_600), sent);
    credentials(Operation::GetCredentialsForIdentity, parts, None, Some(IdentityId(ID.into())), lifetime, now)
}

#[test]
fn a_whole_reply_is_taken_with_its_own_expiration() {
    let taken = accept(Some(parts())).unwrap();
    assert_eq!(taken.access_key_id, "ASIAEXAMPLE");
    assert_eq!(taken.expires.wall(), now().wall + Duration::from_secs(3_600));
    assert!(taken.expires.remaining(now()) >= Duration::from_secs(3_600 - 3), "the call's two seconds and a fraction");
    assert_eq!((taken.role_arn, taken.identity_id), (None, Some(IdentityId(ID.into()))));
}

#[test]
fn a_clock_that_is_behind_makes_nothing_last_longer() {
    let behind = Moment { wall: now().wall - Duration::from_secs(3 * 3_600), ..now() };
    let taken = accept_at(Some(parts()), behind).unwrap();
    assert_eq!(taken.expires.boot() - now().boot, Duration::from_secs(3_600 - 2 - 1), "an hour since it was asked for");
    let later = Moment { boot: now().boot + Duration::from_secs(3_597), ..behind };
    assert!(taken.expires.passed(later));
    let ahead = Moment { wall: now().wall + Duration::from_secs(600), ..now() };
    let taken = accept_at(Some(parts()), ahead).unwrap();
    assert_eq!(taken.expires.remaining(ahead), Duration::from_secs(3_000));
}

#[test]
fn nothing_less_is() {
    let with = |change: fn(&mut Parts)| {
        let mut changed = parts();
        change(&mut changed);
        Some(changed)
    };
    let table = [
        ("no credentials", None),
        ("no key id", with(|c| c.access_key_id = None)),
        ("an empty key id", with(|c| c.access_key_id = Some(String::new()))),
        ("no secret", with(|c| c.secret = None)),
        ("an empty secret", with(|c| c.secret = Some(String::new()))),
        ("no session token", with(|c| c.session_token = None)),
        ("no expiration", with(|c| c.expiration = None)),
        ("expired just now", with(|c| c.expiration = Some(DateTime::from_secs(NOW as i64)))),
        ("the year 1970", with(|c| c.expiration = Some(DateTime::from_secs(0)))),
        ("before 1970", with(|c| c.expiration = Some(DateTime::from_secs(-9_000_000_000)))),
        ("the year 9999", with(|c| c.expiration = Some(DateTime::from_secs(253_402_300_799)))),
        ("milliseconds for seconds", with(|c| c.expiration = Some(DateTime::from_secs(NOW as i64 * 1_000)))),
        ("the end of numbers", with(|c| c.expiration = Some(DateTime::from_secs(i64::MAX)))),
    ];
    for (what, parts) in table {
        assert_eq!(accept(parts).err().map(|failure| failure.class), Some(Class::Invalid), "{what}");
    }
    let asked = IdentityId(ID.into());
    let operation = Operation::GetCredentialsForIdentity;
    assert!(same_identity(operation, Some(ID), &asked).is_ok());
    for told in [None, Some(""), Some("us-east-1:99999999-2222-3333-4444-555555555555")] {
        let refused = same_identity(operation, told, &asked).unwrap_err();
        assert_eq!((refused.class, refused.is_terminal()), (Class::Invalid, false), "{told:?}");
    }
}

#[test]
fn the_login_goes_under_its_issuer_unless_configured() {
    assert_eq!(order().logins_key(), "cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEf123");
    let own = Order { target: target("eu-west-1:aaaa", Some("own")), ..order() };
    assert_eq!((own.logins_key(), own.target.pool_region()), ("own", "eu-west-1"));
}

#[test]
fn an_identity_belongs_to_one_user_of_one_pool() {
    let identities = Identities::in_memory();
    let alice = user(&order());
    identities.keep(alice, IdentityId(ID.into()));
    let other = |change: fn(&mut Order)| {
        let mut order = order();
        change(&mut order);
        user(&order)
    };
    for stranger in [
        other(|order| order.subject = "6f0c1e2b".into()),
        other(|order| order.issuer = "https://other".into()),
        other(|order| order.target = target("us-east-1:bbbb", None)),
    ] {
        assert_eq!(identities.get(&stranger), None);
    }
    assert_eq!(identities.get(&other(|order| order.token = Some(CupToken::new("d.e.f")))), Some(IdentityId(ID.into())));
    identities.forget(&alice);
    assert_eq!(identities.get(&alice), None);
}
