//! A day of ten thousand users.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::people::{Manner, Person};
use super::weather::{Event, Fault, Trouble, Weather};
use super::world::{HOUR, RATES, Setup, World};
use super::{play, tokens};

const USERS: usize = 10_000;
const DAY: Duration = Duration::from_secs(86_400);

/// Of real time.
const MOST: Duration = Duration::from_secs(180);

/// Outages, throttling, a slow hour, a purge and a machine that sleeps.
fn weather() -> Weather {
    let fault = |hour: f64, hours: f64, trouble| {
        let from = HOUR.mul_f64(hour);
        Fault { from, until: from + HOUR.mul_f64(hours), only: None, trouble }
    };
    Weather {
        faults: vec![
            fault(5.0, 0.5, Trouble::Outage),
            fault(8.0, 0.2, Trouble::Capacity(8)),
            fault(11.0, 1.0, Trouble::Slow(Duration::from_millis(1_500))),
            fault(14.0, 0.1, Trouble::Hang),
            fault(16.0, 0.5, Trouble::Throttles { share: 0.5, retry_after: Some(Duration::from_secs(5)) }),
        ],
        events: vec![
            (HOUR * 3, Event::PurgeUser(17)),
            (HOUR * 9, Event::RemakePool),
            (HOUR * 18, Event::PurgeAll),
            (HOUR * 19, Event::Suspend(600_000)),
        ],
        rotation: None,
    }
}

/// Everybody works for eight hours, with an SDK that comes back when 15 minutes are left.
async fn day() {
    let setup = Setup { weather: weather(), served_from: HOUR * 20, ..Setup::fair(0) };
    let (world, _tasks) = World::new(setup).await;
    let mut people = tokio::task::JoinSet::new();
    let mut rng = StdRng::seed_from_u64(0);
    for user in 0..USERS {
        let begins = HOUR.mul_f64(rng.random_range(0.0..15.5));
        let person = Person {
            manner: Manner::Holder { back_at: Duration::from_secs(900) },
            token_life: 86_400,
            is_late: false,
            demoted: None,
            one_token: true,
            ..Person::drawn(&world, 0, user)
        };
        people.spawn(async move {
            tokio::time::sleep(begins).await;
            person.live(begins + HOUR * 8).await;
        });
    }
    while !world.is_over(DAY) {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    drop(people);
    world.judge.close();
    let books = world.judge.books();
    println!(
        "figure: {USERS} users in a day: {} replies checked, 0 expired, 0 to another owner; {} refusals, {} exchanges, \
         {} calls",
        books.replies,
        books.errors.values().sum::<u64>(),
        books.ledger.issued.len(),
        books.ledger.sent.len(),
    );
    assert!(books.replies >= USERS as u64 * 8, "{} replies", books.replies);
    let share = books.ledger.sent.len() as f64 / (DAY.as_secs_f64() * f64::from(RATES.get_credentials_for_identity));
    assert!(share < 0.5, "an SDK costs two exchanges an hour: {share:.2} of the budget");
}

#[test]
fn ten_thousand_users_live_through_a_day() {
    let started = std::time::Instant::now();
    tokens::sign_ahead((0..USERS).map(tokens::terms_for_a_day).collect());
    play(day());
    println!("figure: the day took {:.0} s", started.elapsed().as_secs_f64());
    // A minute in a build that is optimised; three times as long in one that is not, beside other tests.
    assert!(started.elapsed() < MOST, "the day took {:?}", started.elapsed());
}
