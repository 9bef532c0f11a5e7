//! The only reader of a clock. Knows nothing of what the times are for.
//!
//! Two clocks are read at once. The wall clock is what AWS means by an expiration, but it can be set back; the
//! boot-time clock (`CLOCK_BOOTTIME`) counts suspends and cannot be set, but knows no date. A credential is dead as
//! soon as *either* says so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The date, as AWS and token issuers mean it.
    pub wall: SystemTime,
    /// Time since the machine booted, suspends included.
    pub boot: Duration,
}

/// The end of a thing's life, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    wall: SystemTime,
    boot: Duration,
}

/// Where moments come from: the machine, or a test that steers them.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Simulated(Arc<Simulated>),
}

/// A clock that follows tokio's (paused) time and can be set off from it.
#[derive(Debug)]
struct Simulated {
    epoch: SystemTime,
    started: tokio::time::Instant,
    wall_step_ms: AtomicI64,
    boot_step_ms: AtomicI64,
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `epoch` now and runs with tokio's time, paused or not.
    pub fn simulated(epoch: SystemTime) -> Self {
        Self(Source::Simulated(Arc::new(Simulated {
            epoch,
            started: tokio::time::Instant::now(),
            wall_step_ms: AtomicI64::new(0),
            boot_step_ms: AtomicI64::new(0),
        })))
    }

    /// Steps a simulated wall clock by `ms`, as an administrator or NTP would; the machine's clock is left alone.
    pub fn step_wall_ms(&self, ms: i64) {
        if let Source::Simulated(simulated) = &self.0 {
            simulated.wall_step_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }

    /// Lets a simulated machine sleep for `ms`: both clocks go on, tokio's does not. The machine's is left alone.
    pub fn suspend_ms(&self, ms: i64) {
        if let Source::Simulated(simulated) = &self.0 {
            simulated.boot_step_ms.fetch_add(ms, Ordering::Relaxed);
            simulated.wall_step_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System => Moment { wall: system_wall(), boot: system_boot() },
            Source::Simulated(simulated) => simulated.now(),
        }
    }

    /// Reads the boot-time clock alone.
    pub fn boot(&self) -> Duration {
        match &self.0 {
            Source::System => system_boot(),
            Source::Simulated(simulated) => simulated.now().boot,
        }
    }
}

impl Simulated {
    /// The simulated machine has been up for this long when the test begins, so that no arithmetic meets zero.
    const UPTIME: Duration = Duration::from_secs(86_400);

    fn now(&self) -> Moment {
        let elapsed = self.started.elapsed();
        let wall = shift(self.wall_step_ms.load(Ordering::Relaxed));
        let boot = shift(self.boot_step_ms.load(Ordering::Relaxed));
        Moment { wall: self.epoch + elapsed + wall.0 - wall.1, boot: Self::UPTIME + elapsed + boot.0 - boot.1 }
    }
}

impl Expiry {
    /// A life that ends at `wall`, seen at `now`: the boot-time deadline is the time that was left then.
    pub fn at(wall: SystemTime, now: Moment) -> Self {
        let left = wall.duration_since(now.wall).unwrap_or_default();
        Self { wall, boot: now.boot + left }
    }

    /// The same life, which lasts no longer than `longest` from `now` on, whatever the date says: a wall clock that is
    /// behind makes the date look further away than it is.
    #[must_use]
    pub fn within(self, longest: Duration, now: Moment) -> Self {
        Self { boot: self.boot.min(now.boot + longest), ..self }
    }

    /// The date on which this life ends.
    pub fn wall(&self) -> SystemTime {
        self.wall
    }

    /// The boot-time deadline.
    pub fn boot(&self) -> Duration {
        self.boot
    }

    /// Whether either clock has reached its end.
    pub fn passed(&self, now: Moment) -> bool {
        now.wall >= self.wall || now.boot >= self.boot
    }

    /// What is left, by the more pessimistic clock; zero once passed.
    pub fn remaining(&self, now: Moment) -> Duration {
        let by_wall = self.wall.duration_since(now.wall).unwrap_or_default();
        by_wall.min(self.boot.saturating_sub(now.boot))
    }
}

/// `at` as RFC 3339 in whole seconds with `Z`: the one form that every AWS SDK parses.
pub fn rfc3339(at: SystemTime) -> String {
    let whole = OffsetDateTime::from(at).replace_nanosecond(0);
    whole.ok().and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Seconds since 1970, cut to whole ones; 0 before it.
pub fn epoch_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339(self.wall))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn system_wall() -> SystemTime {
    SystemTime::now()
}

fn system_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A signed shift as (forward, backward), since `SystemTime` takes unsigned steps only.
fn shift(ms: i64) -> (Duration, Duration) {
    let size = Duration::from_millis(ms.unsigned_abs());
    if ms >= 0 { (size, Duration::ZERO) } else { (Duration::ZERO, size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

    fn after(seconds: u64) -> SystemTime {
        EPOCH + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn either_clock_ends_a_life() {
        let clock = Clock::simulated(after(1_000_000));
        let expiry = Expiry::at(after(1_000_060), clock.now());
        assert!(!expiry.passed(clock.now()));
        assert_eq!(expiry.remaining(clock.now()), Duration::from_secs(60));

        clock.step_wall_ms(-3_600_000);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(expiry.passed(clock.now()), "a wall clock that was set back extends nothing");

        let second = Expiry::at(clock.now().wall + Duration::from_secs(60), clock.now());
        clock.step_wall_ms(60_000);
        assert!(second.passed(clock.now()), "the wall clock alone ends a life too");

        let third = Expiry::at(clock.now().wall + Duration::from_secs(60), clock.now());
        clock.suspend_ms(61_000);
        assert!(third.passed(clock.now()), "a suspend counts");
        assert_eq!(third.remaining(clock.now()), Duration::ZERO);
    }

    #[test]
    fn boot_time_runs_and_dates_have_one_form() {
        let first = Clock::system().now();
        assert!(Clock::system().now().boot >= first.boot);
        assert_eq!(rfc3339(after(1_700_000_000) + Duration::from_millis(999)), "2023-11-14T22:13:20Z");
        assert_eq!(epoch_seconds(after(7)), 7);
    }
}
