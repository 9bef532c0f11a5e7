//! Unauthenticated identities: on their own path, for handles that callers name, never as a fallback. The entry is one
//! like any other; what stands for its login never ends.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::entries::Wanted;
use crate::broker::key::{Key, Subject};
use crate::broker::{Broker, Decision, Grant};
use crate::clock::{Expiry, Moment};
use crate::error::Error;
use crate::metrics::Lookup;
use crate::model::Ask;
use crate::roles::Reason;

/// A guest has no login that could end: longer than any process runs.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Broker {
    pub(super) async fn answer_guest(&self, name: &str, handle: &str, holder: bool) -> Result<Grant, Error> {
        let rulebook = self.rulebook.load_full();
        let profile = rulebook.profile(name)?;
        profile.admit_guests()?;
        let (key, now) = (Key::guest(name, &profile.target.identity_pool_id, handle), self.clock.now());
        let decision = |hit| Decision { flow: profile.target.flow, reason: Reason::PoolDecides, hit };
        if let Some((_, credentials)) = self.take(&key, holder, now) {
            self.metrics.looked_up(Lookup::Hit);
            return Ok(self.grant(credentials, None, decision(true)));
        }
        self.metrics.looked_up(Lookup::Miss);
        let wanted = Wanted {
            planned: rulebook.generation,
            ask: Arc::new(Ask { profile: name.to_owned(), ..Ask::default() }),
            subject: Subject::guest(name, handle),
            target: Arc::clone(&profile.target),
            issuer: "".into(),
            user: handle.into(),
            client_id: "".into(),
            role: None,
            session: Arc::default(),
        };
        let credentials = self.ask_refresher(key, None, forever(now), wanted, holder).await?;
        Ok(self.grant(credentials, None, decision(false)))
    }
}

fn forever(now: Moment) -> Expiry {
    Expiry::at(now.wall + FOREVER, now)
}
