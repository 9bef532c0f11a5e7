//! The true time, which AWS has and the machine may not, and the keys that the user pool publishes at it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use cupbearer::auth::{FetchKeys, Fetching};
use cupbearer::clock::Clock;
use cupbearer::metrics::Operation;
use tokio::time::Instant;
use url::Url;

use super::tokens;
use super::weather::{Event, Trouble, Weather};

/// When every run begins, in true seconds since 1970.
pub const START: u64 = 1_800_000_000;

/// What is so, whatever the machine's clocks say.
pub struct Truth {
    pub clock: Clock,
    pub weather: Weather,
    started: Instant,
    /// How far the machine's wall clock is ahead of the true time.
    ahead_ms: AtomicI64,
    stepped: Mutex<Option<Instant>>,
}

impl Truth {
    pub fn new(weather: Weather) -> Self {
        let clock = Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(START));
        Self { clock, weather, started: Instant::now(), ahead_ms: AtomicI64::new(0), stepped: Mutex::default() }
    }

    /// How long the run has been going on, suspends apart.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The true date.
    pub fn now(&self) -> SystemTime {
        let (wall, ahead) = (self.clock.now().wall, self.ahead_ms.load(Ordering::Relaxed));
        let size = Duration::from_millis(ahead.unsigned_abs());
        if ahead >= 0 { wall - size } else { wall + size }
    }

    /// The same in whole seconds since 1970.
    pub fn seconds(&self) -> u64 {
        self.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Sets the machine's wall clock.
    pub fn step_wall(&self, ms: i64) {
        self.clock.step_wall_ms(ms);
        self.ahead_ms.fetch_add(ms, Ordering::Relaxed);
        self.note_step();
    }

    /// Lets the machine sleep.
    pub fn suspend(&self, ms: i64) {
        self.clock.suspend_ms(ms);
        self.note_step();
    }

    /// Whether a clock was stepped at this very moment: what was right when it was sent may not be right any more when
    /// it is received, with no time in between.
    pub fn just_stepped(&self) -> bool {
        *self.stepped.lock().unwrap() == Some(Instant::now())
    }

    /// Whether the machine's wall clock is right, and always was.
    pub fn was_always_right(&self) -> bool {
        !self.weather.events.iter().any(|(_, event)| matches!(event, Event::StepWall(_)))
    }

    /// Whether the machine never sleeps, so that timers keep to the true time.
    pub fn was_awake(&self) -> bool {
        !self.weather.events.iter().any(|(_, event)| matches!(event, Event::Suspend(_)))
    }

    /// Which key signs at `at`, in true seconds.
    pub fn signer(&self, at: u64) -> usize {
        self.weather.rotation.map_or(0, |(from, _)| usize::from(at >= START + from.as_secs()))
    }

    /// From when on, in true seconds, the first key is not to be trusted any more.
    pub fn withdrawn(&self) -> Option<u64> {
        self.weather.rotation.and_then(|(_, until)| Some(START + until?.as_secs()))
    }

    fn note_step(&self) {
        *self.stepped.lock().unwrap() = Some(Instant::now());
    }

    /// The keys in the key set now: the next one is published half an hour before it signs.
    fn published(&self) -> &'static [usize] {
        let now = self.seconds();
        let next = self.signer(now + 1_800) == 1;
        match (next, self.withdrawn().is_some_and(|at| now >= at)) {
            (false, _) => &[0],
            (true, false) => &[0, 1],
            (true, true) => &[1],
        }
    }
}

impl FetchKeys for Truth {
    fn fetch<'a>(&'a self, _url: &'a Url) -> Fetching<'a> {
        let mut troubles = self.weather.troubles(Operation::Jwks, self.elapsed());
        let down = troubles.any(|trouble| matches!(trouble, Trouble::NoKeys | Trouble::Outage));
        let document =
            if down { Err("as the weather has it".to_owned()) } else { Ok(tokens::key_set(self.published())) };
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            document
        })
    }
}
