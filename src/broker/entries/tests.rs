//! The books, without a refresher.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Entries, Wanted};
use crate::broker::key::{Key, Subject};
use crate::chance::Chance;
use crate::clock::Moment;
use crate::upstream::{Flow, Target};

fn wanted(handle: &str) -> Wanted {
    let target = Target {
        flow: Flow::Enhanced,
        identity_pool_id: "us-east-1:0".into(),
        logins_key: None,
        region: "us-east-1".into(),
        duration: Duration::from_secs(3_600),
        external_id: None,
    };
    Wanted {
        planned: 0,
        ask: Arc::default(),
        subject: Subject::guest("test", handle),
        target: Arc::new(target),
        issuer: "".into(),
        user: handle.into(),
        client_id: "".into(),
        role: None,
        session: Arc::default(),
    }
}

fn key(handle: &str) -> Key {
    Key::guest("test", "us-east-1:0", handle)
}

#[test]
fn void_times_do_not_pile_up_and_the_others_stay() {
    let mut entries = Entries::new(10, 10, Chance::seeded(0));
    for handle in ["alice", "bob"] {
        entries.insert(key(handle), wanted(handle));
    }
    entries.look_at(key("bob"), Duration::from_secs(7));
    for due in (1_000..100_000).rev() {
        entries.look_at(key("alice"), Duration::from_secs(due));
    }
    assert!(entries.due.len() <= 1_032, "{}", entries.due.len());
    let now = Moment { wall: SystemTime::UNIX_EPOCH, boot: Duration::from_secs(1_000) };
    let due = [("bob", 7), ("alice", 1_000)].map(|(handle, due)| Some((key(handle), Duration::from_secs(due))));
    assert_eq!([entries.pop_due(now), entries.pop_due(now)], due);
    assert_eq!(entries.pop_due(now), None);
}
