//! Many entries: they spread, and as they come near what the budget carries, they are refreshed later.

use std::collections::BTreeMap;
use std::time::Duration;

use cupbearer::metrics::Operation::GetCredentialsForIdentity;

use super::cloud::{Sky, most_in_a_second, rates};

const MINUTE: Duration = Duration::from_secs(60);

/// The ages at which each user's credentials were renewed, from the `from`-th call on, in seconds.
fn ages(sky: &Sky, from: usize) -> Vec<u64> {
    let mut last: BTreeMap<String, Duration> = BTreeMap::new();
    let calls = sky.cloud.calls.lock().unwrap();
    let mut ages = Vec::new();
    for (number, (operation, at, user)) in calls.iter().enumerate() {
        if *operation == GetCredentialsForIdentity
            && let Some(before) = last.insert(user.clone(), *at)
            && number >= from
        {
            ages.push((*at - before).as_secs());
        }
    }
    ages
}

#[tokio::test(start_paused = true)]
async fn a_cohort_of_one_second_spreads_over_a_fifth_of_the_lifetime() {
    const USERS: usize = 4_000;
    let sky = Sky::new(rates(10_000)).await;
    sky.warm(USERS).await;
    sky.read(USERS).await;
    let before = sky.cloud.count();
    tokio::time::sleep(23 * MINUTE).await;
    let ages = ages(&sky, before);
    assert_eq!(ages.len(), USERS, "everybody once");
    let (first, last) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
    assert!(*last <= 22 * 60 && last - first >= 3_600 / 5, "from {first} to {last} s");
    let mut by_minute = BTreeMap::new();
    ages.iter().for_each(|age| *by_minute.entry(age / 60).or_insert(0) += 1);
    let most = by_minute.values().max().unwrap();
    assert!(*most <= USERS / 12 * 2, "{most} in one of 12 minutes: {by_minute:?}");
}

/// 1,800 entries and one call a second: at a third of the lifetime that would be 1.5 a second.
#[tokio::test(start_paused = true)]
async fn the_schedule_slides_where_the_budget_is_small() {
    const USERS: usize = 1_800;
    let sky = Sky::new(rates(1)).await;
    sky.warm(USERS).await;
    let mut least = Duration::MAX;
    let mut settled = 0;
    for minute in (0..5 * 60).step_by(5) {
        if minute == 2 * 60 {
            settled = sky.cloud.count();
        }
        // As the lines of the first round are worked off, the runway is short; afterwards it has to be there.
        let remaining = sky.read(USERS).await;
        if settled > 0 {
            least = least.min(remaining);
        }
        tokio::time::sleep(5 * MINUTE).await;
    }
    assert!(least >= 20 * MINUTE, "a reply had only {least:?} left");
    let ages = ages(&sky, settled);
    let mean = ages.iter().sum::<u64>() / ages.len() as u64;
    assert!((1_700..=2_160).contains(&mean), "refreshed at half of the lifetime or a little later: {mean} s");
    assert!(most_in_a_second(&sky.cloud.times(GetCredentialsForIdentity, 0)) <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_goes_takes_the_slide_with_it() {
    let sky = Sky::new(rates(1)).await;
    sky.warm(1_800).await;
    // Nobody asks for these any more; twenty go on.
    for _ in 0..4 * 60 {
        sky.read(20).await;
        tokio::time::sleep(MINUTE).await;
    }
    let settled = sky.cloud.count();
    for _ in 0..3 * 60 {
        sky.read(20).await;
        tokio::time::sleep(MINUTE).await;
    }
    let ages = ages(&sky, settled);
    let mean = ages.iter().sum::<u64>() / ages.len() as u64;
    assert!((1_150..=1_300).contains(&mean), "at a third again: {mean} s");
    assert_eq!(sky.metrics.entries.get(), 20);
}
