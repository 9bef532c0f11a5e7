//! What is held, counted for people: by profile, and by the time that is left. Names no user.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::broker::entries::{Entries, Entry, Stage};
use crate::broker::wishes::Wish;
use crate::broker::{Broker, overloaded};
use crate::clock::Moment;
use crate::error::Error;
use crate::upstream::Flow;

/// What is held at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// By the profile's name.
    pub profiles: BTreeMap<String, Tally>,
    /// Entries with credentials by the time that these have left: how many are below each of [`REMAINING`], and below
    /// no shorter one; in the last place those beyond all of them.
    pub remaining: [usize; REMAINING.len() + 1],
}

/// The entries of one profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// That hold credentials.
    pub held: usize,
    /// Whose exchange is queued or under way.
    pub under_way: usize,
    /// Whose last exchange failed.
    pub failing: usize,
}

/// The bounds of [`Survey::remaining`].
pub const REMAINING: [Duration; 5] = [minutes(5), minutes(15), minutes(20), minutes(40), minutes(60)];

impl Broker {
    /// What is held, counted by the refresher itself: it is asked for by people, not for each request.
    ///
    /// # Errors
    /// [`Kind::UpstreamUnavailable`](crate::error::Kind::UpstreamUnavailable) when the refresher takes no wishes.
    pub async fn survey(&self) -> Result<Survey, Error> {
        let (done, counted) = oneshot::channel();
        self.wishes.send(Wish::Survey(done)).await.map_err(|_| overloaded())?;
        counted.await.map_err(|_| overloaded())
    }

    /// The profiles in force, with their flows, by name.
    pub fn profiles(&self) -> BTreeMap<String, Flow> {
        let rulebook = self.rulebook.load();
        rulebook.profiles().iter().map(|(name, profile)| (name.clone(), profile.target.flow)).collect()
    }
}

impl Survey {
    /// What all `entries` hold.
    pub(super) fn of(entries: &Entries, now: Moment) -> Self {
        let mut survey = Self::default();
        entries.all().for_each(|entry| survey.count(entry, now));
        survey
    }

    /// Counts `entry`, under its profile.
    fn count(&mut self, entry: &Entry, now: Moment) {
        let held = entry.slot.held().filter(|held| !held.credentials.expires.passed(now));
        // A name is copied once for each profile, not for each entry.
        if !self.profiles.contains_key(&entry.wanted.ask.profile) {
            self.profiles.insert(entry.wanted.ask.profile.clone(), Tally::default());
        }
        if let Some(tally) = self.profiles.get_mut(&entry.wanted.ask.profile) {
            tally.held += usize::from(held.is_some());
            tally.under_way += usize::from(entry.stage != Stage::Idle);
            tally.failing += usize::from(entry.failures > 0);
        }
        if let Some(held) = held {
            let left = held.credentials.expires.remaining(now);
            self.remaining[REMAINING.partition_point(|bound| *bound <= left)] += 1;
        }
    }
}

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}
