//! When to refresh, when to try again, when to let go. Pure: times and flags in, a step out.
//!
//! All times are of the boot-time clock. The reasons for the numbers: an AWS SDK comes back when its credentials have
//! 15 minutes left (the newest Java SDK: 60, for sessions over 90 minutes) and then asks on every call, so that what
//! it gets has to have more left than that; and what was refreshed early outlives an outage.

use std::time::Duration;

use crate::clock::{Expiry, Moment};
use crate::upstream::Class;

/// The fractions and floors of `[refresh]`.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Part of the lifetime after which credentials that are asked for are refreshed.
    pub at: f64,
    /// Part by which each entry's points differ from the mean, so that a cohort spreads.
    pub jitter: f64,
    /// Part of the lifetime after which credentials that an SDK holds are refreshed though nobody asked.
    pub latest_at: f64,
    /// What a reply should have left, where the lifetime allows it.
    pub min_remaining: Duration,
}

/// Above this lifetime SDKs come back earlier than 15 minutes before the end.
const LONG_SESSION: Duration = Duration::from_secs(2 * 3600);

/// What a reply from a long session should have left: 60 minutes for the newest Java SDK, and slack.
const LONG_SESSION_REMAINING: Duration = Duration::from_secs(65 * 60);

/// The last refresh of a login's life happens within this time before its end.
const LAST_MINUTES: Duration = Duration::from_secs(5 * 60);

impl LoginLife {
    /// Whether the login is in its last minutes, when AWS's clock may already count it as expired.
    pub(super) fn is_ending(&self, now: Moment) -> bool {
        self.expires.remaining(now) <= LAST_MINUTES
    }
}

/// The two points of one set of credentials at which a refresh may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Points {
    /// For credentials that were asked for since they came in.
    pub(super) early: Duration,
    /// For credentials that an SDK got and will come back for.
    pub(super) late: Duration,
}

/// What the schedule has to know of an entry that has credentials.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) received: Duration,
    pub(super) expires: Expiry,
    pub(super) points: Points,
    /// The login, if there still is one.
    pub(super) login: Option<LoginLife>,
    /// When the credentials that were last handed out end.
    pub(super) handed_out_until: Duration,
    /// Whether anybody asked since the credentials came in.
    pub(super) asked: bool,
    /// Whether one who will come back got them.
    pub(super) holder: bool,
    /// Not before this, after a failure.
    pub(super) retry_at: Option<Duration>,
    /// The entry's own place in the spread, from -1 to 1.
    pub(super) spread: f64,
}

/// From when to when a login is of use.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoginLife {
    /// When it was first seen.
    pub(super) seen: Duration,
    pub(super) expires: Expiry,
}

/// What to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Exchange now.
    Refresh,
    /// Look again at this time.
    Sleep(Duration),
    /// Nobody needs it any more: drop and wipe it.
    Bury,
}

/// What else the points depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    /// Whether these are the entry's first credentials, which may have come in together with thousands of others'.
    pub(super) first: bool,
    /// The part of a lifetime that the budget takes to refresh everybody once.
    pub(super) crowding: f64,
}

/// The first refreshes of those that came in together are spread over this part of the lifetime, towards its beginning: a
/// fifth, and a little more, since the first and the last of a cohort are not at its very ends. It costs each of them half
/// as much once, and nothing of what it has left.
const FIRST_SPREAD: f64 = 0.22;

/// How much of the budget the schedule may fill before it slides: the rest is for callers, and for what fails.
const FILL: f64 = 0.9;

impl Policy {
    /// The longest time that credentials of such a `lifetime` are kept before a refresh is due.
    pub fn latest(&self, lifetime: Duration) -> Duration {
        lifetime.mul_f64(self.latest_at).min(self.before_remaining(lifetime))
    }

    /// How old credentials may get before they have less left than a reply should have. Those that are born with less
    /// than twice that have no such age: they would be refreshed all the time.
    fn before_remaining(&self, lifetime: Duration) -> Duration {
        let keep = if lifetime > LONG_SESSION { LONG_SESSION_REMAINING } else { self.min_remaining };
        if lifetime >= keep * 2 { lifetime - keep } else { lifetime }
    }
}

/// The points for credentials that came in at `received`.
///
/// They are fractions of the lifetime, moved forward where less than `min_remaining` would be left. When the budget
/// cannot refresh everybody at the early point, that slides towards the late one, which the budget must be able to
/// carry: the configuration is refused otherwise.
pub(super) fn points(policy: &Policy, received: Moment, expires: &Expiry, spread: f64, crowd: Crowd) -> Points {
    let lifetime = expires.remaining(received);
    let at = policy.at.max((crowd.crowding / FILL).min(policy.latest_at));
    let jitter = policy.jitter;
    let (early_band, late_band) =
        if crowd.first { (FIRST_SPREAD, FIRST_SPREAD) } else { (2.0 * jitter * at, jitter * policy.latest_at) };
    // To one side only: latest_at is a limit, and at the other end of the band there is most left to bridge an outage.
    let towards_the_beginning = (1.0 - spread) / 2.0;
    let spread_from = |last: f64, band: f64| last - band.min(last * 0.6) * towards_the_beginning;
    let early = spread_from((at * (1.0 + jitter)).min(policy.latest_at), early_band);
    let late = spread_from(policy.latest_at, late_band).max(early);
    let latest = policy.before_remaining(lifetime);
    let (early, late) = (lifetime.mul_f64(early).min(latest), lifetime.mul_f64(late).min(latest));
    Points { early: received.boot + early, late: received.boot + late }
}

/// When credentials are of use to nobody any more: those that were handed out have ended, and so has the time in which the
/// present ones, which may have come in a minute ago, would be handed to one who comes back late. What is left of them after
/// their late point is less than a reply should have, so that a new exchange serves whoever comes then better. To keep
/// them takes no call: without having been asked for they are not refreshed.
pub(super) fn end(expires: &Expiry, handed_out_until: Duration, points: &Points) -> Duration {
    expires.boot().min(handed_out_until.max(points.late))
}

/// The step for an entry with credentials, at `now`.
pub(super) fn step(now: Moment, state: &State) -> Step {
    let end = end(&state.expires, state.handed_out_until, &state.points);
    if state.expires.passed(now) || now.boot >= end {
        return Step::Bury;
    }
    let look = |at: Duration| Step::Sleep(at.min(end));
    // What is refreshed is what somebody holds.
    let login = state.login.filter(|login| !login.expires.passed(now) && now.boot < state.handed_out_until);
    let Some(login) = login else { return look(end) };
    let until_login_ends = end.min(login.expires.boot());
    match due(state, &login, now) {
        Some(due) if due >= until_login_ends => look(until_login_ends),
        Some(due) if due <= now.boot => Step::Refresh,
        Some(due) => look(due),
        None => look(until_login_ends),
    }
}

/// When the next refresh is due, if one is.
fn due(state: &State, login: &LoginLife, now: Moment) -> Option<Duration> {
    let due = if state.asked {
        state.points.early
    } else if now.boot < state.points.early {
        // Whether it will have been asked for by then is not known yet: look again at the early point.
        state.points.early
    } else if state.holder {
        state.points.late
    } else {
        return None;
    };
    let last = last_refresh(state, login);
    // Credentials that came in within the login's last minutes are its last ones, and those that nobody will come back
    // for get no last refresh.
    let unwanted = !state.asked && !state.holder && now.boot >= last;
    if state.received >= last || unwanted {
        return None;
    }
    let due = if due > last { last } else { due };
    Some(state.retry_at.map_or(due, |retry| due.max(retry)))
}

/// The time of the last refresh that `login` is good for: within its last five minutes, or its last quarter where it
/// is short; each entry at its own. It depends on nothing that a refresh changes, or there would always be a next one.
fn last_refresh(state: &State, login: &LoginLife) -> Duration {
    let end = login.expires.boot();
    let window = LAST_MINUTES.min(end.saturating_sub(login.seen) / 4);
    end.saturating_sub(window.mul_f64(0.6 + 0.4 * state.spread))
}

/// The pause after the `failures`-th failure in a row. It doubles from a start that depends on the class; entries
/// without credentials have somebody waiting, so that theirs ends at 10 s. `spread` is between -1 and 1.
pub(super) fn retry_pause(class: Class, failures: u32, holds: bool, spread: f64) -> Duration {
    let first = match class {
        Class::Unavailable => 1.0,
        Class::Throttled | Class::Invalid => 2.0,
        Class::Denied => 5.0,
    };
    let longest = if holds { 60.0 } else { 8.0 };
    let doubled = first * f64::from(1_u32 << failures.saturating_sub(1).min(10));
    let spread_out = doubled.min(longest) * (1.0 + 0.25 * spread);
    Duration::from_secs_f64(spread_out.max(1.0))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy =
        Policy { at: 1.0 / 3.0, jitter: 0.1, latest_at: 0.6, min_remaining: Duration::from_secs(1200) };

    const QUIET: Crowd = Crowd { first: false, crowding: 0.0 };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn moment(seconds: u64) -> Moment {
        Moment { wall: SystemTime::UNIX_EPOCH + secs(seconds), boot: secs(seconds) }
    }

    fn expiry(at: u64, seen: u64) -> Expiry {
        Expiry::at(moment(at).wall, moment(seen))
    }

    /// A login seen at 10,000.
    fn login(until: u64) -> LoginLife {
        LoginLife { seen: secs(10_000), expires: expiry(until, 10_000) }
    }

    /// Credentials received at 10,000 that live for an hour, with a login for a day.
    fn hour(asked: bool, holder: bool) -> State {
        let expires = expiry(13_600, 10_000);
        State {
            received: secs(10_000),
            expires,
            points: points(&POLICY, moment(10_000), &expires, 0.0, QUIET),
            login: Some(login(100_000)),
            handed_out_until: secs(13_600),
            asked,
            holder,
            retry_at: None,
            spread: 0.0,
        }
    }

    #[test]
    fn points_by_lifetime() {
        let table = [
            // lifetime, early, late: the fractions
            (90, 30, 51),
            (900, 300, 513),
            (3_600, 1_200, 2_052),
            // 20 minutes stay: the late point moves forward
            (2_400, 800, 1_200),
            // over two hours 65 minutes stay
            (9_000, 3_000, 5_100),
            (43_200, 14_400, 24_624),
        ];
        for (lifetime, early, late) in table {
            let found = points(&POLICY, moment(0), &expiry(lifetime, 0), 0.0, QUIET);
            assert_eq!((found.early.as_secs(), found.late.as_secs()), (early, late), "{lifetime}");
        }
    }

    #[test]
    fn who_asked_decides_when() {
        let asked = hour(true, false);
        assert_eq!(step(moment(11_199), &asked), Step::Sleep(secs(11_200)));
        assert_eq!(step(moment(11_200), &asked), Step::Refresh);
        let held = hour(false, true);
        assert_eq!(step(moment(11_199), &held), Step::Sleep(secs(11_200)), "it may be asked for by then");
        assert_eq!(step(moment(11_200), &held), Step::Sleep(secs(12_052)));
        assert_eq!(step(moment(12_052), &held), Step::Refresh);
        let once = hour(false, false);
        assert_eq!(step(moment(11_200), &once), Step::Sleep(secs(13_600)));
        assert_eq!(step(moment(13_600), &once), Step::Bury);
    }

    #[test]
    fn an_entry_ends_with_what_it_last_handed_out_or_when_its_own_have_become_old() {
        let unused = State { handed_out_until: secs(12_000), ..hour(false, false) };
        assert_eq!(step(moment(11_200), &unused), Step::Sleep(secs(12_052)));
        assert_eq!(step(moment(12_051), &unused), Step::Sleep(secs(12_052)));
        assert_eq!(step(moment(12_052), &unused), Step::Bury);
        let used = State { handed_out_until: secs(12_500), ..unused };
        assert_eq!(step(moment(12_052), &used), Step::Sleep(secs(12_500)));
        assert_eq!(step(moment(12_500), &used), Step::Bury);
        let held = State { holder: true, handed_out_until: secs(11_000), ..unused };
        assert_eq!(step(moment(12_000), &held), Step::Sleep(secs(12_052)), "nobody holds any: not refreshed");
        assert_eq!(step(moment(12_052), &held), Step::Bury);
    }

    #[test]
    fn the_last_refresh_is_late_in_the_logins_life() {
        let ending = State { login: Some(login(11_000)), ..hour(true, false) };
        let last = 11_000 - 150;
        assert_eq!(step(moment(10_001), &ending), Step::Sleep(secs(last)));
        assert_eq!(step(moment(last), &ending), Step::Refresh);
        let once = State { asked: false, ..ending };
        assert_eq!(step(moment(last), &once), Step::Sleep(secs(11_000)), "nobody comes back for these");
        let refreshed = State { received: secs(last), ..ending };
        assert_eq!(step(moment(last + 1), &refreshed), Step::Sleep(secs(11_000)), "once is enough");
        let wiped = State { login: None, ..ending };
        assert_eq!(step(moment(11_500), &wiped), Step::Sleep(secs(13_600)), "no login, no refresh");
    }

    #[test]
    fn pauses_grow_within_bounds() {
        assert_eq!(retry_pause(Class::Unavailable, 1, true, 0.0), secs(1));
        assert_eq!(retry_pause(Class::Unavailable, 4, true, 0.0), secs(8));
        assert_eq!(retry_pause(Class::Unavailable, 40, true, 0.0), secs(60));
        assert_eq!(retry_pause(Class::Denied, 40, false, 1.0), secs(10));
        assert_eq!(retry_pause(Class::Unavailable, 1, false, -1.0), secs(1));
    }

    /// Where the early and the late point of an hour's credentials lie, from one end of the spread to the other.
    fn band(crowd: Crowd) -> [(u64, u64); 2] {
        let found = [-1.0, 1.0].map(|spread| points(&POLICY, moment(0), &expiry(3_600, 0), spread, crowd));
        [found.map(|points| points.early.as_secs()).into(), found.map(|points| points.late.as_secs()).into()]
    }

    #[test]
    fn a_cohort_spreads_and_a_crowd_slides() {
        let table = [
            (false, 0.0, [(1_080, 1_320), (1_944, 2_160)]),
            // over a fifth of the lifetime, and nothing later than without
            (true, 0.0, [(528, 1_320), (1_368, 2_160)]),
            // a third is room enough
            (false, 0.29, [(1_080, 1_320), (1_944, 2_160)]),
            (false, 0.45, [(1_620, 1_980), (1_944, 2_160)]),
            (true, 0.45, [(1_188, 1_980), (1_368, 2_160)]),
            // never later than latest_at
            (false, 0.6, [(1_728, 2_160), (1_944, 2_160)]),
            (false, 2.0, [(1_728, 2_160), (1_944, 2_160)]),
            (true, 2.0, [(1_368, 2_160), (1_368, 2_160)]),
        ];
        for (first, crowding, wanted) in table {
            assert_eq!(band(Crowd { first, crowding }), wanted, "{first} {crowding}");
        }
    }

    proptest! {
        /// Never at or after either end, never before the retry time, and every sleep leads somewhere.
        #[test]
        fn a_refresh_is_always_of_use(
            lifetime in 1_u64..50_000, login in 0_u64..90_000, handed in 0_u64..60_000, at in 0_u64..60_000,
            asked: bool, holder: bool, first: bool, crowding in 0.0_f64..3.0, retry in prop::option::of(0_u64..60_000), spread in -1.0_f64..=1.0,
        ) {
            let start = 10_000;
            let expires = expiry(start + lifetime, start);
            let state = State {
                received: secs(start),
                expires,
                points: points(&POLICY, moment(start), &expires, spread, Crowd { first, crowding }),
                login: Some(LoginLife { seen: secs(start), expires: expiry(start + login, start) }),
                handed_out_until: secs(start + handed),
                asked, holder, spread,
                retry_at: retry.map(|seconds| secs(start + seconds)),
            };
            let now = moment(start + at);
            match step(now, &state) {
                Step::Refresh => {
                    prop_assert!(!expires.passed(now));
                    prop_assert!(at < login && at < handed);
                    prop_assert!(retry.is_none_or(|retry| at >= retry));
                    prop_assert!(asked || holder);
                }
                Step::Sleep(until) => prop_assert!(until > now.boot),
                Step::Bury => prop_assert!(at >= lifetime.min(handed) && (at >= lifetime || now.boot >= state.points.late)),
            }
        }

        /// The mean stays where it is and nobody leaves the band.
        #[test]
        fn jitter_keeps_to_its_band(spread in -1.0_f64..=1.0) {
            let found = points(&POLICY, moment(0), &expiry(3_600, 0), spread, QUIET);
            prop_assert!((1_080..=1_320).contains(&found.early.as_secs()));
            prop_assert!((1_943..=2_160).contains(&found.late.as_secs()));
        }
    }
}
