//! AWS is slow, hangs, or loses connections (F3, F4), redirects, or answers for somebody else.

use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use serde_json::json;

use super::{EXCHANGE, hits};
use crate::support::daemon::PATIENCE;
use crate::support::fault::{Fault, Gate, Rate};
use crate::support::figures::Times;
use crate::support::scene::{Scene, stranger, token};
use crate::support::settings::{HALF_PATIENT, IMPATIENT, PLENTY};
use crate::support::trap::Trap;

/// How long a caller is held for a first answer, where a test does not say otherwise.
const HOLD: Duration = Duration::from_millis(900);

/// So many strangers ask at once; how long each was held.
async fn held(scene: &Scene, strangers: &[String]) -> Times {
    let asked = strangers.iter().map(async |token| {
        let asked = Instant::now();
        (scene.ask("/v1/credentials", token).await, asked.elapsed())
    });
    let mut held = Times::default();
    for (reply, took) in join_all(asked).await {
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{reply:?}");
        assert!(took >= HOLD, "an instant 503 burns an SDK's tries: {took:?}");
        held.add(took);
    }
    held
}

/// A machine that stands still for a second makes a wave of callers late, not every wave.
#[tokio::test]
async fn a_hanging_aws_delays_no_hit_and_a_cold_caller_comes_back_to_an_answer() {
    let more = format!("---[limits]\ncold_hold_ms = 900\nexchange_timeout_ms = 60_000\n{PLENTY}");
    let scene = Scene::with(&more, "authenticated_role").await;
    let alice = token("alice");
    while scene.ask("/v1/credentials", &alice).await.status == 503 {}
    let healthy = hits(&scene, &alice, 2_000).await;
    scene.proxy.bend("*", Fault::Hangs);
    let strangers: Vec<_> = (0..200).map(|number| stranger(&format!("cold-{number}"))).collect();
    let (mut cold, hanging) = tokio::join!(held(&scene, &strangers), hits(&scene, &alice, 2_000));
    let (before, during) = (healthy.percentile(99), hanging.percentile(99));
    println!("F3 hits, healthy: {healthy}; while AWS hangs and 200 wait: {hanging}");
    println!("F3 p99 of hits, hanging to healthy: {:.2}", during.as_secs_f64() / before.as_secs_f64());
    for wave in 1.. {
        println!("F3 cold callers held: {cold}; at most {} calls at once", scene.proxy.most_at_once());
        assert!(cold.max() < Duration::from_secs(30), "somebody was held until AWS was given up: {cold}");
        if cold.percentile(50) < HOLD + Duration::from_millis(300) {
            break;
        }
        assert!(wave < 6, "six waves were held for too long: {cold}");
        cold = held(&scene, &strangers[..50]).await;
    }
    assert!(during < HOLD / 2, "hits waited for AWS: {hanging}");
    assert!(scene.proxy.most_at_once() <= 64, "{} calls at once", scene.proxy.most_at_once());
    scene.proxy.mend();
    scene.proxy.hang_up();
    for token in &strangers[..10] {
        let mut tries = 1;
        while scene.ask("/v1/credentials", token).await.status != 200 {
            assert!(tries < 60, "it never came back");
            tries += 1;
        }
    }
}

/// An exchange that hangs is given up after its time, and the next one is another call.
#[tokio::test]
async fn an_exchange_that_hangs_is_given_up_and_tried_again() {
    let more = "---[limits]\ncold_hold_ms = 10\nexchange_timeout_ms = 1_000\n";
    let scene = Scene::with(more, "authenticated_role").await;
    scene.proxy.bend(EXCHANGE, Fault::Hangs);
    let (alice, started) = (token("alice"), Instant::now());
    let timeouts = async || scene.metric("cupbearer_refreshes_total{result=\"unavailable\"}").await;
    while timeouts().await < 2.0 {
        assert!(started.elapsed() < PATIENCE, "it is not given up, or not tried again");
        assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 503);
    }
    scene.proxy.mend();
    while scene.ask("/v1/credentials", &alice).await.status != 200 {
        assert!(started.elapsed() < PATIENCE * 2, "it never came back");
    }
    println!("F3 {} calls hung, each was given up", scene.proxy.calls(EXCHANGE) - 1);
}

/// A slow AWS answers after the caller has gone: what it says is kept for the caller's next try.
#[tokio::test]
async fn what_a_slow_or_trickling_aws_says_is_there_for_the_retry() {
    let table = [Fault::Held(Gate::default()), Fault::Trickles(40, Duration::from_millis(150))].into_iter();
    join_all(table.enumerate().map(async |(number, fault)| {
        let more = "---[limits]\ncold_hold_ms = 900\nexchange_timeout_ms = 60_000\n";
        let scene = Scene::with(more, "authenticated_role").await;
        scene.proxy.bend(EXCHANGE, fault.clone());
        let token = stranger(&format!("slow-{number}"));
        let first = scene.ask("/v1/credentials", &token).await;
        assert_eq!((first.status, first.header("retry-after")), (503, Some("1")), "{fault:?}");
        if let Fault::Held(gate) = &fault {
            gate.open();
        }
        let mut reply = scene.ask("/v1/credentials", &token).await;
        for _ in 0..50 {
            if reply.status == 200 {
                break;
            }
            reply = scene.ask("/v1/credentials", &token).await;
        }
        assert_eq!((reply.status, scene.proxy.calls(EXCHANGE)), (200, 1), "{fault:?}");
    }))
    .await;
}

/// Of a hundred calls thirty are cut in one of five ways. A caller tries three times, as SDKs do.
#[tokio::test]
async fn a_lossy_network_costs_no_hit_and_hardly_a_cold_answer() {
    let scene = Scene::with(&format!("---[refresh]\nat = 0.02\n{IMPATIENT}{PLENTY}"), "authenticated_role").await;
    scene.proxy.bend(EXCHANGE, Fault::Expires(60));
    let alice = token("alice");
    while scene.ask("/v1/credentials", &alice).await.status == 503 {}
    let cuts = || vec![Fault::Resets, Fault::Closes, Fault::CutAt(9), Fault::CutAt(150), Fault::CutAt(700)];
    scene.proxy.bend_some("GetId", Rate::Percent(30, 1), cuts());
    scene.proxy.bend_some(EXCHANGE, Rate::Percent(30, 2), cuts());
    let cold = stream::iter(0..300).map(async |number| {
        let token = stranger(&format!("lossy-{number}"));
        let mut answered = Vec::new();
        for _ in 0..3 {
            let asked = Instant::now();
            let reply = scene.ask("/v1/credentials", &token).await;
            answered.push((reply.status, asked.elapsed()));
            if reply.status == 200 {
                let sent = scene.ask("/v1/credentials", &token).await.json();
                assert_eq!(sent["AccessKeyId"], reply.json()["AccessKeyId"], "a reply of somebody else");
                break;
            }
            assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")));
        }
        answered
    });
    let (cold, cached) = tokio::join!(cold.buffer_unordered(16).collect::<Vec<_>>(), hits(&scene, &alice, 3_000));
    let bent = scene.proxy.bent("GetId") + scene.proxy.bent(EXCHANGE);
    let calls = scene.proxy.calls("GetId") + scene.proxy.calls(EXCHANGE);
    let at = |tries: usize| cold.iter().filter(|told| told.len() <= tries && told.last().unwrap().0 == 200).count();
    let mut times = Times::default();
    cold.iter().filter(|told| told[0].0 == 200).for_each(|told| times.add(told[0].1));
    println!("F4 {bent} of {calls} calls cut; cached: {cached}");
    println!("F4 of 300 cold callers OK at the first try {}, within three {}; first tries: {times}", at(1), at(3));
    assert!(bent * 100 >= calls * 20, "the network was lossy: {bent} of {calls}");
    assert!(at(1) >= 240, "at the first try: {}", at(1));
    assert!(at(3) >= 297, "within three tries: {}", at(3));
}

/// Where AWS sends us is not where we go: not over plain http, and not to a metadata service.
#[tokio::test]
async fn redirects_are_not_followed_and_cookies_not_kept() {
    let scene = Scene::with(&format!("---{HALF_PATIENT}"), "authenticated_role").await;
    let trap = Trap::set().await;
    for (number, to) in
        [format!("http://{}/", trap.address), "http://169.254.169.254/latest/meta-data/".to_owned()].iter().enumerate()
    {
        scene.proxy.bend("*", Fault::redirects(to));
        let reply = scene.ask("/v1/credentials", &stranger(&format!("sent-away-{number}"))).await;
        assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")), "{to}");
    }
    assert_eq!(trap.visits(), 0);
    scene.proxy.bend("*", Fault::Adds("set-cookie", "who=alice; Path=/".to_owned()));
    for user in ["alice", "bob"] {
        assert_eq!(scene.ask("/v1/credentials", &token(user)).await.status, 200);
    }
    let heads = [scene.proxy.heads("GetId"), scene.proxy.heads(EXCHANGE)].concat();
    assert!(heads.len() >= 6 && heads.iter().all(|head| !head.contains_key("cookie")));
}

/// Every second call is throttled, with and without a time to wait: nobody is denied for it, and all come through.
#[tokio::test]
async fn throttled_callers_are_told_to_come_again_and_come_through() {
    let scene = Scene::with(&format!("---{IMPATIENT}"), "authenticated_role").await;
    let throttled = vec![Fault::throttles(None), Fault::throttles(Some(1))];
    scene.proxy.bend_some(EXCHANGE, Rate::Every(2), throttled);
    let tries = join_all((0..6).map(async |number| {
        let token = stranger(&format!("throttled-{number}"));
        for tries in 1..90 {
            let reply = scene.ask("/v1/credentials", &token).await;
            if reply.status == 200 {
                return tries;
            }
            assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
        }
        panic!("number {number} never came through");
    }));
    let tries = tries.await;
    let calls = scene.proxy.calls(EXCHANGE);
    println!("F2 every second call throttled: 6 callers tried {tries:?} times; {calls} calls");
    assert!(tries.iter().any(|tries| *tries > 1), "nobody was throttled");
}
