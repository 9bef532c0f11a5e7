//! What goes wrong, and when: a schedule that is drawn from the seed before the run, or written by a scenario.

use std::time::Duration;

use cupbearer::metrics::Operation;
use cupbearer::upstream::Class;
use rand::Rng;
use rand::rngs::StdRng;

/// What is wrong with AWS for a while.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Connections are refused at once.
    Outage,
    /// Connections are taken and nothing is ever answered.
    Hang,
    /// Answers take this much longer.
    Slow(Duration),
    /// This share of the calls is throttled, with or without word of when to come back.
    Throttles { share: f64, retry_after: Option<Duration> },
    /// No more than so many calls of each API are taken in a second; the others are throttled.
    Capacity(usize),
    /// This share of the calls fails in this way.
    Fails { share: f64, class: Class },
    /// This share of the replies is somebody else's.
    Misdelivers { share: f64 },
    /// The key set cannot be fetched.
    NoKeys,
}

/// Trouble with a beginning and an end, counted from the start of the run, and perhaps for one API alone.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub from: Duration,
    pub until: Duration,
    pub only: Option<Operation>,
    pub trouble: Trouble,
}

/// What happens at one moment.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The machine's wall clock is set by so many milliseconds; AWS's is not.
    StepWall(i64),
    /// The machine sleeps for so many milliseconds.
    Suspend(i64),
    /// Every identity of the pool is made anew: old IdentityIds are unknown to it.
    RemakePool,
    /// An operator drops all that is held.
    PurgeAll,
    /// An operator drops what is held for one user.
    PurgeUser(usize),
}

/// A run's weather.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    pub faults: Vec<Fault>,
    /// In order.
    pub events: Vec<(Duration, Event)>,
    /// When the user pool signs with another key, and when, if ever, it takes the old one back.
    pub rotation: Option<(Duration, Option<Duration>)>,
}

const MINUTE: Duration = Duration::from_secs(60);
const THREE_HOURS_MS: i64 = 3 * 3_600_000;

impl Weather {
    /// AWS is down in this time.
    pub fn outage(from: Duration, until: Duration) -> Self {
        let fault = Fault { from, until, only: None, trouble: Trouble::Outage };
        Self { faults: vec![fault], ..Self::default() }
    }

    /// Nothing is spared. All of it is over at `until`.
    pub fn storm(rng: &mut StdRng, users: usize, until: Duration) -> Self {
        let mut weather = Self::default();
        for _ in 0..rng.random_range(3..9) {
            weather.faults.push(fault(rng, until));
        }
        for _ in 0..rng.random_range(1..5) {
            let at = until.mul_f64(rng.random_range(0.05..0.95));
            weather.events.extend(event(rng, users, at, until));
        }
        weather.events.sort_by_key(|(at, _)| *at);
        if rng.random_bool(0.6) {
            // To the half-hour, so that runs share their tokens.
            let at = MINUTE * 30 * rng.random_range(2..6);
            weather.rotation = Some((at, rng.random_bool(0.5).then(|| at + MINUTE * 60)));
        }
        weather
    }

    /// Whether the key set can be fetched at all times.
    pub fn has_keys(&self) -> bool {
        let hides = |fault: &Fault| match fault.trouble {
            Trouble::NoKeys => true,
            Trouble::Outage => fault.only.is_none(),
            _ => false,
        };
        !self.faults.iter().any(hides)
    }

    /// What troubles a call of `operation` at `now`.
    pub fn troubles(&self, operation: Operation, now: Duration) -> impl Iterator<Item = Trouble> {
        let active = move |fault: &&Fault| {
            (fault.from..fault.until).contains(&now) && fault.only.is_none_or(|only| only == operation)
        };
        self.faults.iter().filter(active).map(|fault| fault.trouble)
    }
}

fn fault(rng: &mut StdRng, until: Duration) -> Fault {
    let trouble = trouble(rng);
    let longest = match trouble {
        Trouble::Outage | Trouble::NoKeys => MINUTE * 90,
        _ => MINUTE * 30,
    };
    let from = until.mul_f64(rng.random_range(0.0..0.95));
    let until = until.min(from + longest.mul_f64(rng.random_range(0.01..1.0)));
    const OPERATIONS: [Operation; 4] = [
        Operation::GetId,
        Operation::GetCredentialsForIdentity,
        Operation::GetOpenIdToken,
        Operation::AssumeRoleWithWebIdentity,
    ];
    let only = rng.random_bool(0.3).then(|| OPERATIONS[rng.random_range(0..OPERATIONS.len())]);
    let only = only.filter(|_| !matches!(trouble, Trouble::NoKeys));
    Fault { from, until, only, trouble }
}

fn trouble(rng: &mut StdRng) -> Trouble {
    let share = rng.random_range(0.1..=1.0);
    match rng.random_range(0..11) {
        0 | 1 => Trouble::Outage,
        2 => Trouble::Hang,
        3 => Trouble::Slow(Duration::from_millis(rng.random_range(300..6_000))),
        4 => Trouble::Throttles { share, retry_after: None },
        5 => Trouble::Throttles { share, retry_after: Some(Duration::from_secs(rng.random_range(1..30))) },
        6 => Trouble::Capacity(rng.random_range(1..10)),
        7 => Trouble::Fails { share, class: Class::Unavailable },
        8 => {
            let class = if rng.random_bool(0.5) { Class::Denied } else { Class::Invalid };
            Trouble::Fails { share, class }
        }
        9 => Trouble::Misdelivers { share },
        _ => Trouble::NoKeys,
    }
}

fn event(rng: &mut StdRng, users: usize, at: Duration, until: Duration) -> Vec<(Duration, Event)> {
    match rng.random_range(0..6) {
        0 | 1 => {
            // Somebody sets it right again, at the latest when the storm is over.
            let back = until.min(at + MINUTE.mul_f64(rng.random_range(1.0..90.0)));
            let ms = if rng.random_bool(0.5) { THREE_HOURS_MS } else { -THREE_HOURS_MS };
            vec![(at, Event::StepWall(ms)), (back, Event::StepWall(-ms))]
        }
        2 => vec![(at, Event::Suspend(rng.random_range(60_000..3 * 3_600_000)))],
        3 => vec![(at, Event::RemakePool)],
        4 => vec![(at, Event::PurgeAll)],
        _ => (0..5).map(|_| (at, Event::PurgeUser(rng.random_range(0..users)))).collect(),
    }
}
