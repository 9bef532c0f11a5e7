//! What AWS sees: never more than the rates, whoever asks, whatever it answers; and callers go before refreshes.

use std::collections::VecDeque;
use std::time::Duration;

use cupbearer::error::Kind;
use cupbearer::metrics::Operation::{GetCredentialsForIdentity, GetId};
use cupbearer::upstream::{Class, Rates};

use super::cloud::{BROKEN, DENIED, RATES, Sky, THROTTLED, most_in_a_second, rates};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The value of a series.
fn metric(sky: &Sky, series: &str) -> f64 {
    let text = sky.metrics.render().unwrap();
    let line = text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_cold_users_all_come_through_at_the_pace_of_the_scarcest_call() {
    let sky = Sky::new(RATES).await;
    let started = tokio::time::Instant::now();
    sky.warm(10_000).await;
    let took = started.elapsed().as_secs();
    assert!((1_995..=2_010).contains(&took), "10,000 calls of GetId at 5 a second: {took} s");
    for (operation, limit) in [(GetId, 5), (GetCredentialsForIdentity, 20)] {
        assert!(most_in_a_second(&sky.cloud.times(operation, 0)) <= limit, "{operation:?}");
    }
    assert_eq!(sky.cloud.times(GetId, 0).len(), 10_000);
    for result in ["throttled", "unavailable", "invalid", "denied"] {
        assert_eq!(metric(&sky, &format!("cupbearer_refreshes_total{{result=\"{result}\"}}")), 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_cold_hold_up_nobody_whose_identity_is_known() {
    let sky = Sky::new(Rates { get_id: 1, ..RATES }).await;
    *sky.cloud.lifetime.lock().unwrap() = Duration::from_secs(900);
    sky.warm(20).await;
    let herd = (20..1_000).map(|guest| sky.ask(guest, Duration::from_secs(5_000)));
    let readers = async {
        for _ in 0..60 {
            tokio::time::sleep(MINUTE).await;
            sky.read(20).await;
        }
    };
    tokio::select! {
        () = readers => {}
        _ = futures::future::join_all(herd) => {}
    }
}

/// A cold exchange that waits for GetId has no place at the next API, which is quick and has other things to do.
#[tokio::test(start_paused = true)]
async fn a_slow_get_id_starves_no_refresh() {
    let sky = Sky::new(Rates { get_id: 20, ..RATES }).await;
    *sky.cloud.lifetime.lock().unwrap() = Duration::from_secs(900);
    sky.warm(100).await;
    *sky.cloud.get_id_delay.lock().unwrap() = Some(Duration::from_millis(4_900));
    let herd = (100..20_000).map(|guest| sky.ask(guest, Duration::from_secs(5_000)));
    let readers = async {
        for _ in 0..30 {
            tokio::time::sleep(MINUTE).await;
            sky.read(100).await;
        }
    };
    tokio::select! {
        () = readers => {}
        _ = futures::future::join_all(herd) => panic!("the herd was to last"),
    }
    let cold = sky.cloud.times(GetId, 0).len() - 100;
    assert!(cold >= 30 * 60 * 3, "and the cold come through as well as GetId lets them: {cold}");
    assert!(most_in_a_second(&sky.cloud.times(GetCredentialsForIdentity, 0)) <= 20);
}

/// AWS counts by region, and so does the budget: what one region is asked is not taken from another.
#[tokio::test(start_paused = true)]
async fn each_region_has_a_budget_of_its_own() {
    let sky = Sky::new(rates(2)).await;
    let started = tokio::time::Instant::now();
    let near = async {
        futures::future::join_all((0..40).map(|guest| sky.ask(guest, MINUTE))).await;
        started.elapsed()
    };
    let far = async {
        futures::future::join_all((40..50).map(|guest| sky.ask_for("far", guest, MINUTE))).await;
        started.elapsed()
    };
    let (near, far) = tokio::join!(near, far);
    assert!((19..=21).contains(&near.as_secs()), "40 calls at 2 a second: {near:?}");
    assert!((4..=5).contains(&far.as_secs()), "10 calls at 2 a second: {far:?}");
    let calls = sky.cloud.calls.lock().unwrap().clone();
    let of = |guests: std::ops::Range<usize>| -> Vec<Duration> {
        let own = |subject: &str| guests.contains(&subject.trim_start_matches("guest-").parse().unwrap());
        let credentials = calls.iter().filter(|(operation, ..)| *operation == GetCredentialsForIdentity);
        credentials.filter(|(_, _, subject)| own(subject)).map(|(_, at, _)| *at).collect()
    };
    assert_eq!((most_in_a_second(&of(0..40)), most_in_a_second(&of(40..50))), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn who_hung_up_for_good_is_given_up_and_who_waits_is_not() {
    let sky = Sky::new(Rates { get_id: 1, ..RATES }).await;
    let gone = (0..100).map(|guest| sky.ask(guest, Duration::from_millis(900)));
    futures::future::join_all(gone).await;
    let patient = (100..130).map(|guest| sky.ask(guest, MINUTE));
    let done = futures::future::join_all(patient).await;
    assert!(done.iter().all(|(_, done)| done.is_ok()));
    let calls = sky.cloud.times(GetId, 0).len();
    assert!((40..=52).contains(&calls), "{calls}: thirty who waited, and those of the first seconds");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(sky.cloud.times(GetId, 0).len(), calls);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_probed_bridged_and_made_up_for_while_callers_go_first() {
    const USERS: usize = 10_000;
    let sky = Sky::new(rates(20)).await;
    sky.warm(USERS).await;
    sky.read(USERS).await;
    // Two rounds of refreshes, so that the phases are mixed.
    for _ in 0..8 {
        tokio::time::sleep(10 * MINUTE).await;
        sky.read(USERS).await;
    }
    let before = sky.cloud.count();
    sky.cloud.set(|_, _| BROKEN);
    for _ in 0..9 {
        tokio::time::sleep(4 * MINUTE).await;
        sky.read(USERS).await;
    }
    let attempts = sky.cloud.count() - before;
    let most = 36 * 60 + 64;
    assert!(attempts <= most, "{attempts} calls in 36 minutes, and {most} would be one a second and those under way");

    let before = sky.cloud.count();
    sky.cloud.set(|_, _| Ok(()));
    let mut waits = Vec::new();
    for guest in USERS..USERS + 400 {
        let (took, done) = sky.ask(guest, 5 * SECOND).await;
        assert!(done.is_ok());
        // Two calls of 50 ms are no queue.
        waits.push(took.saturating_sub(Duration::from_millis(100)));
        tokio::time::sleep(SECOND.saturating_sub(took)).await;
        if guest % 100 == 0 {
            sky.read(USERS).await;
        }
    }
    waits.sort();
    assert!(waits[waits.len() * 99 / 100] <= SECOND, "p99 of the wait in the queue: {:?}", waits[395]);
    // N / cap are 500 s.
    tokio::time::sleep(100 * SECOND).await;
    let calls = sky.cloud.calls.lock().unwrap()[before..].to_vec();
    let refreshed: std::collections::HashSet<_> = calls.iter().map(|(_, _, user)| user).collect();
    assert!(refreshed.len() >= USERS * 95 / 100, "{} users within 500 s", refreshed.len());
    assert!(most_in_a_second(&sky.cloud.times(GetCredentialsForIdentity, 0)) <= 20);
    sky.read(USERS).await;
}

#[tokio::test(start_paused = true)]
async fn half_a_quota_is_found_and_kept_to() {
    const USERS: usize = 600;
    let sky = Sky::new(rates(20)).await;
    *sky.cloud.lifetime.lock().unwrap() = Duration::from_secs(90);
    let mut taken = VecDeque::new();
    sky.cloud.set(move |operation, now| {
        taken.retain(|at: &Duration| *at + SECOND > now);
        if operation != GetCredentialsForIdentity || taken.len() < 10 {
            taken.push_back(now);
            return Ok(());
        }
        THROTTLED
    });
    for second in 0..1_200_usize {
        // Twenty users a second, each again after half a minute: twice what AWS bears.
        for guest in 0..20 {
            sky.ask((second * 20 + guest) % USERS, Duration::ZERO).await.1.ok();
        }
        tokio::time::sleep(SECOND).await;
    }
    let count = |outcome: &str| {
        let series = format!(
            "cupbearer_upstream_requests_total{{operation=\"GetCredentialsForIdentity\",outcome=\"{outcome}\"}}"
        );
        metric(&sky, &series)
    };
    let (good, refused) = (count("ok"), count("throttled"));
    let per_success = (good + refused) / good;
    assert!(per_success <= 1.10, "{per_success:.3} attempts for each success");
    assert!(good >= 1_200.0 * 10.0 * 0.6, "and most of the quota is used: {good}");
}

#[tokio::test(start_paused = true)]
async fn throttled_without_end_it_calls_ever_less() {
    let sky = Sky::new(rates(20)).await;
    sky.warm(200).await;
    sky.read(200).await;
    sky.cloud.set(|_, _| THROTTLED);
    let before = sky.cloud.count();
    tokio::time::sleep(40 * MINUTE).await;
    let times = sky.cloud.times(GetCredentialsForIdentity, before);
    assert!(most_in_a_second(&times) <= 20);
    assert!((500..=2_500).contains(&times.len()), "about one call a second: {}", times.len());
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_aws_asks_for_is_kept_by_all() {
    let sky = Sky::new(RATES).await;
    sky.warm(5).await;
    tokio::time::sleep(2 * SECOND).await;
    let mut first = true;
    sky.cloud.set(move |operation, _| {
        let refuses = operation == GetCredentialsForIdentity && std::mem::take(&mut first);
        if refuses { Err((Class::Throttled, false, Some(30 * SECOND))) } else { Ok(()) }
    });
    let before = sky.cloud.count();
    let (_, refused) = sky.ask(5, SECOND).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::UpstreamUnavailable);
    let asked = sky.clock.now().boot;
    let mut waiting: Vec<_> = (5..20).map(|guest| sky.ask(guest, 60 * SECOND)).collect();
    waiting.push(sky.ask(20, 60 * SECOND));
    let done = futures::future::join_all(waiting).await;
    assert!(done[1..].iter().all(|(_, done)| done.is_ok()), "{done:?}");
    let times = sky.cloud.times(GetCredentialsForIdentity, before);
    assert!(times[1] >= asked + 29 * SECOND, "the second call came {:?} later", times[1] - asked);
    assert!(times.len() >= 15, "and then they went on: {}", times.len());
}

#[tokio::test(start_paused = true)]
async fn a_refused_user_leaves_get_id_to_others() {
    let sky = Sky::new(RATES).await;
    sky.cloud.set(|operation, _| if operation == GetId { Ok(()) } else { DENIED });
    let calls = |operation| sky.cloud.times(operation, 0).len();
    for _ in 0..20 {
        let (_, refused) = sky.ask(0, SECOND).await;
        assert_eq!(refused.unwrap_err().kind(), Kind::UpstreamDenied);
        tokio::time::sleep(12 * SECOND).await;
    }
    assert_eq!((calls(GetId), calls(GetCredentialsForIdentity)), (1, 20), "the identity was confirmed once");
    tokio::time::sleep(2 * MINUTE).await;
    sky.ask(0, SECOND).await.1.unwrap_err();
    assert_eq!((calls(GetId), calls(GetCredentialsForIdentity)), (2, 21), "confirmed again, and not tried again");

    tokio::time::sleep(12 * SECOND).await;
    sky.cloud.set(|operation, _| if operation == GetId { DENIED } else { Ok(()) });
    assert!(sky.ask(0, SECOND).await.1.is_ok(), "and then taken without GetId");
}

#[tokio::test(start_paused = true)]
async fn three_broken_connections_in_ten_are_hidden_from_callers() {
    const USERS: usize = 2_000;
    let sky = Sky::new(rates(20)).await;
    let mut state = 1_u64;
    sky.cloud.set(move |_, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (state >> 33) % 10 < 3 { BROKEN } else { Ok(()) }
    });
    let mut good = 0;
    for guest in 0..USERS {
        let (took, done) = sky.ask(guest, Duration::from_millis(900)).await;
        assert!(took <= Duration::from_millis(900));
        good += usize::from(done.is_ok());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(good * 100 >= USERS * 99, "{good} of {USERS} within 900 ms");
    assert!(most_in_a_second(&sky.cloud.times(GetCredentialsForIdentity, 0)) <= 20, "second tries are counted");
}

#[tokio::test(start_paused = true)]
async fn when_all_connections_break_second_tries_end() {
    let sky = Sky::new(rates(100)).await;
    sky.cloud.set(|_, _| BROKEN);
    let asked = (0..1_000).map(|guest| sky.ask(guest, 10 * SECOND));
    futures::future::join_all(asked).await;
    let calls = sky.cloud.count();
    assert!(calls <= 64 + 20 + 12, "those under way, the store of second tries, and a probe a second: {calls}");
}
