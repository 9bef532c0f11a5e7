//! The machine's wall clock is five minutes off, either way, and nobody puts it right: nobody who signs in as users do is
//! refused, and nothing lives longer than AWS says. The judge looks at AWS's own clock.

use std::time::Duration;

use super::people::{Manner, Person};
use super::weather::{Event, Weather};
use super::world::{HOUR, Setup, World};
use super::{play, play_all};

const USERS: usize = 60;
const FIVE_MINUTES_MS: i64 = 300_000;

/// Six hours with tokens of an hour, of which each user has a new one after nine tenths of it; how many replies there were,
/// and how many refusals.
async fn off_by(ms: i64, seed: u64) -> (u64, u64) {
    let weather = Weather { events: vec![(Duration::ZERO, Event::StepWall(ms))], ..Weather::default() };
    let (world, _tasks) = World::new(Setup { weather, ..Setup::fair(seed) }).await;
    let mut people = tokio::task::JoinSet::new();
    for user in 0..USERS {
        let gap = Duration::from_secs(20 + user as u64);
        // New ones come at different times: a token is asked with at every age, from its first second on.
        let drawn = Person::drawn(&world, seed, user);
        let person =
            Person { manner: Manner::Caller { gap }, token_life: 3_600, is_late: false, demoted: None, ..drawn };
        people.spawn(person.live(HOUR * 6));
    }
    while people.join_next().await.is_some() {}
    world.judge.close();
    let books = world.judge.books();
    (books.replies, books.errors.values().sum())
}

#[test]
fn five_minutes_off_nobody_is_refused_and_nothing_lives_longer() {
    for ms in [-FIVE_MINUTES_MS, FIVE_MINUTES_MS] {
        let runs = play_all(5, |seed| (seed, play(off_by(ms, seed))));
        for (seed, (replies, refused)) in &runs {
            assert!(*replies > 10_000 && *refused == 0, "seed {seed}: {replies} replies, {refused} refused");
        }
        let replies: u64 = runs.iter().map(|(_, (replies, _))| replies).sum();
        println!("figure: the clock {} s off: {replies} replies checked, 0 expired, 0 refused", ms / 1_000);
    }
}
