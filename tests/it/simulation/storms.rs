//! Random faults on random users: nothing wrong is ever handed out, and nobody is stuck when it is over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cupbearer::broker::Limits;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::judge::{CANARY, JWT};
use super::people::Person;
use super::weather::Weather;
use super::world::{HOUR, Setup, World};
use super::{play, play_all};

/// What one run showed.
struct Tally {
    seed: u64,
    steps: u64,
    replies: u64,
    refusals: u64,
    exchanges: usize,
    /// What all of that comes to, in its order and with its times.
    trail: u64,
}

const SEEDS: u64 = 200;
const USERS: usize = 200;

/// So many replies has each run at least, and more than so many in the mean: hardly anything would be checked with less.
const FEWEST: u64 = 2_500;
const USUAL: u64 = 4_000;

/// The storm ends an hour before the run does.
const STORM: Duration = Duration::from_secs(5 * 3_600);
const RUN: Duration = Duration::from_secs(6 * 3_600);

/// The longest that anybody may have to wait for the first answer when all is well again: the longest pause after
/// failures is 75 s, and the rates have to recover.
const RECOVERY: Duration = Duration::from_secs(180);

async fn storm(seed: u64) -> Tally {
    let mut rng = StdRng::seed_from_u64(seed);
    let weather = Weather::storm(&mut rng, USERS, STORM);
    // A few seeds have more users than room.
    let entries = if seed % 8 == 7 { USERS / 2 } else { USERS * 2 };
    let limits = Limits { entries, ..Setup::fair(seed).limits };
    let setup = Setup { weather, limits, served_from: STORM + RECOVERY, ..Setup::fair(seed) };
    let (world, mut tasks) = World::new(setup).await;
    let mut people = tokio::task::JoinSet::new();
    (0..USERS).for_each(|user| drop(people.spawn(Person::drawn(&world, seed, user).live(RUN))));
    while !world.is_over(RUN) {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    people.abort_all();
    while let Some(ended) = people.join_next().await {
        let panicked = ended.is_err_and(|error| error.is_panic());
        world.judge.check(!panicked, || "a user's task panicked".to_owned());
    }
    // With the users gone, all that is held is let go: it lives for an hour, also if a clock three hours slow says four.
    tokio::time::sleep(HOUR + HOUR / 2).await;
    let entries = world.metrics.entries.get();
    world.judge.check(entries == 0, || format!("{entries} entries are kept for nobody"));
    // Sessions that nobody asks for any more are kept for longer.
    tokio::time::sleep(HOUR * 3).await;
    world.broker.observe();
    let sessions = world.metrics.sessions.get();
    world.judge.check(sessions == 0, || format!("{sessions} sessions are kept for nobody"));
    while let Some(ended) = tasks.try_join_next() {
        world.judge.check(false, || format!("a task of the broker has ended: {ended:?}"));
    }
    world.judge.close();
    let trail = world.judge.trail();
    let books = world.judge.books();
    let (replies, exchanges) = (books.replies, books.ledger.issued.len());
    Tally { seed, steps: books.steps, replies, refusals: books.errors.values().sum(), exchanges, trail }
}

/// What is logged at TRACE while `run` goes on.
fn logged<T>(run: impl FnOnce() -> T) -> (String, T) {
    let lines = Lines::default();
    let writer = lines.clone();
    // While there is only one subscriber, tracing asks for the interest in a line on the thread that comes by first, and
    // remembers its answer for all: one of another test, say, that has none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    let done = tracing::subscriber::with_default(subscriber.with_writer(move || writer.clone()).finish(), run);
    let lines = lines.0.lock().unwrap();
    (String::from_utf8_lossy(&lines).into_owned(), done)
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_log_of_a_storm_tells_a_secret() {
    for seed in 1_000..1_003 {
        let (log, tally) = logged(|| play(storm(seed)));
        assert!(log.contains("a refresh failed") && tally.replies > FEWEST, "seed {seed}: {} bytes of log", log.len());
        let secret = [CANARY, JWT].into_iter().find(|secret| log.contains(secret));
        let line = secret.and_then(|secret| log.lines().find(|line| line.contains(secret)));
        assert_eq!(line, None, "seed {seed}");
    }
}

#[test]
fn one_seed_is_one_run() {
    // The second one has more users than room: who is evicted is a matter of chance, too.
    for seed in [2_000, 2_007] {
        let [one, other] = [(); 2].map(|()| play(storm(seed)));
        assert_eq!(
            (one.steps, one.replies, one.exchanges),
            (other.steps, other.replies, other.exchanges),
            "seed {seed}"
        );
        assert_eq!(one.trail, other.trail, "seed {seed}");
    }
    assert_ne!(play(storm(2_001)).trail, play(storm(2_002)).trail);
}

#[test]
fn nothing_wrong_is_handed_out_in_any_weather() {
    let started = std::time::Instant::now();
    let tallies = play_all(SEEDS, |seed| play(storm(seed)));
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    println!(
        "figure: {} runs of {USERS} users and 6 h: {} steps, {} replies checked, 0 expired, 0 to another owner; \
         {} refusals, {} exchanges; {:.0} s",
        tallies.len(),
        sum(|tally| tally.steps),
        sum(|tally| tally.replies),
        sum(|tally| tally.refusals),
        sum(|tally| tally.exchanges as u64),
        started.elapsed().as_secs_f64(),
    );
    let fewest = tallies.iter().min_by_key(|tally| tally.replies).unwrap();
    println!("figure: the fewest replies of a run: {} (seed {})", fewest.replies, fewest.seed);
    assert!(fewest.replies > FEWEST, "seed {}: hardly anybody was served: {}", fewest.seed, fewest.replies);
    let mean = sum(|tally| tally.replies) / tallies.len() as u64;
    assert!(tallies.len() == 1 || mean > USUAL, "{mean} replies a run");
}
