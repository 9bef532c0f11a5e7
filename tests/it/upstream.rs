//! What happens between the program and AWS: counted at the proxy, bent by it. The emulator here is the embedded one;
//! `third_party.rs` does the same before emulators that we did not write.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::support::daemon::PATIENCE;
use crate::support::fault::{Fault, Gate, REQUEST_ID};
use crate::support::outage::is_bridged_to_the_end;
use crate::support::scene::{Scene, stranger, token};
use crate::support::settings::{HALF_PATIENT, IMPATIENT, PLENTY};

const EXCHANGE: &str = "GetCredentialsForIdentity";

#[tokio::test]
async fn sixty_four_cold_requests_are_one_exchange_and_another_user_is_another() {
    let scene = Scene::new().await;
    scene.proxy.bend(EXCHANGE, Fault::Slow(Duration::from_millis(100)));
    let alice = token("alice");
    let replies = join_all((0..64).map(|_| scene.ask("/v1/credentials", &alice))).await;
    let key = &replies[0].json()["AccessKeyId"];
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.json()["AccessKeyId"] == *key));
    assert_eq!((scene.proxy.calls("GetId"), scene.proxy.calls(EXCHANGE)), (1, 1));
    let bob = scene.ask("/v1/credentials", &token("bob")).await;
    assert_ne!(bob.json()["AccessKeyId"], *key);
    assert_eq!((scene.proxy.calls("GetId"), scene.proxy.calls(EXCHANGE)), (2, 2));
}

#[tokio::test]
async fn short_credentials_are_renewed_and_then_served_to_their_end() {
    let scene = Scene::with(&format!("---{HALF_PATIENT}"), "authenticated_role").await;
    scene.proxy.bend(EXCHANGE, Fault::Expires(9));
    let token = token("alice");
    let first = scene.ask("/v1/credentials", &token).await.json();
    let started = tokio::time::Instant::now();
    let mut seen = std::collections::HashSet::from([first["AccessKeyId"].to_string()]);
    while seen.len() < 4 {
        assert!(started.elapsed() < PATIENCE, "nothing is renewed");
        let reply = scene.ask("/v1/credentials", &token).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        seen.insert(reply.json()["AccessKeyId"].to_string());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        scene.metric("cupbearer_cache_lookups_total{result=\"miss\"}").await,
        1.0,
        "nobody waited for a renewal"
    );
    assert!(scene.metric("cupbearer_near_expiry_served_total").await > 10.0);

    scene.proxy.mend();
    scene.proxy.bend("*", Fault::Closes);
    assert!(is_bridged_to_the_end(scene.http, &token).await > 10);
}

/// Each row: what the pool says, what the caller hears, and the hint in the log.
fn aws_errors() -> Vec<(&'static str, Fault, (u16, &'static str), &'static str)> {
    let denied = (403, "UpstreamDenied");
    let later = (503, "UpstreamUnavailable");
    let refused = |code: &str, message: &str| Fault::aws(400, code, message);
    vec![
        (
            "GetId",
            refused("NotAuthorizedException", "Token is not from a supported provider of this identity pool."),
            denied,
            "app client",
        ),
        (
            "GetId",
            refused("ResourceNotFoundException", "IdentityPool 'us-east-1:x' not found."),
            denied,
            "wrong region",
        ),
        ("GetId", refused("TooManyRequestsException", "Rate exceeded"), later, "quota"),
        (
            EXCHANGE,
            refused(
                "InvalidIdentityPoolConfigurationException",
                "Invalid identity pool configuration. Check assigned IAM roles for this pool.",
            ),
            denied,
            "trust policy",
        ),
        (
            EXCHANGE,
            refused("NotAuthorizedException", "The ambiguous role mapping rules for: x denied this request."),
            denied,
            "precedences",
        ),
        (EXCHANGE, Fault::aws(500, "InternalErrorException", "oops"), later, "oops"),
        (EXCHANGE, Fault::Says(200, "<html>captive</html>".to_owned()), later, "UnreadableResponse"),
        (EXCHANGE, Fault::Says(200, "{}".to_owned()), later, "IdentityMismatch"),
        (EXCHANGE, Fault::WrongIdentity, later, "IdentityMismatch"),
        (EXCHANGE, Fault::Expires(-10), later, "expiration"),
        (EXCHANGE, Fault::Expires(10_000_000), later, "expiration"),
        (EXCHANGE, Fault::Closes, later, "ConnectionFailure"),
    ]
}

#[tokio::test]
async fn aws_errors_become_rows_with_hints_in_the_log() {
    let mismatches = join_all(aws_errors().into_iter().map(async |(operation, fault, (status, code), hint)| {
        let scene = Scene::with(&format!("---{HALF_PATIENT}"), "authenticated_role").await;
        scene.proxy.bend(operation, fault.clone());
        let before = scene.daemon.log().len();
        let reply = scene.ask("/v1/credentials", &token("alice")).await;
        assert_eq!((reply.status, &reply.json()["code"]), (status, &json!(code)), "{fault:?}");
        assert_eq!(reply.header("retry-after").is_some(), status == 503);
        let told = scene.daemon.wait_for(|daemon| {
            let log = daemon.log();
            let new = &log[before.min(log.len())..];
            (new.contains("refused") && new.contains(hint)).then(|| new.to_owned())
        });
        let told = told.await.unwrap_or_else(|| panic!("{fault:?} told no {hint}: {}", scene.daemon.log()));
        let named = matches!(fault, Fault::Says(..));
        assert_eq!(told.contains(REQUEST_ID), named, "the request id of AWS: {told}");
        // A failed exchange has left nothing behind that is served.
        assert_eq!(scene.metric("cupbearer_entries").await, 0.0, "{fault:?}");
        scene.metric("cupbearer_identity_mismatch_total").await
    }));
    assert_eq!(mismatches.await.iter().sum::<f64>(), 2.0);
}

#[tokio::test]
async fn an_answer_without_end_is_not_asked_for_again() {
    let scene = Scene::with(&format!("---{IMPATIENT}"), "authenticated_role").await;
    scene.proxy.bend(EXCHANGE, Fault::Says(200, " ".repeat(100_000)));
    let reply = scene.ask("/v1/credentials", &token("alice")).await;
    assert_eq!((reply.status, scene.proxy.calls(EXCHANGE)), (503, 1));
}

#[tokio::test]
async fn an_identity_that_aws_refuses_is_asked_for_once_more() {
    let scene = Scene::new().await;
    let alice = token("alice");
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    scene.proxy.bend(EXCHANGE, Fault::aws(400, "ResourceNotFoundException", "Identity 'us-east-1:x' not found."));
    assert_eq!(scene.ask("/v1/credentials/default/editor", &alice).await.status, 403);
    assert_eq!((scene.proxy.calls("GetId"), scene.proxy.calls(EXCHANGE)), (2, 2), "the same id is not tried again");
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 403);
    assert_eq!((scene.proxy.calls("GetId"), scene.proxy.calls(EXCHANGE)), (2, 3), "nor doubted again at once");
}

#[tokio::test]
async fn a_slow_upstream_holds_an_sdk_for_900_ms_and_its_retry_hits() {
    let more = "---[limits]\ncold_hold_ms = 900\nexchange_timeout_ms = 60_000\n";
    let scene = Scene::with(more, "authenticated_role").await;
    let gate = Gate::default();
    scene.proxy.bend(EXCHANGE, Fault::Held(gate.clone()));
    let alice = token("alice");
    let asked = tokio::time::Instant::now();
    let held = scene.ask("/v1/credentials", &alice).await;
    assert_eq!((held.status, held.header("retry-after")), (503, Some("1")));
    assert!(asked.elapsed() >= Duration::from_millis(900));
    gate.open();
    let mut reply = scene.ask("/v1/credentials", &alice).await;
    while reply.status == 503 {
        reply = scene.ask("/v1/credentials", &alice).await;
    }
    assert_eq!((reply.status, scene.proxy.calls(EXCHANGE)), (200, 1));
}

/// The machine behind a NAT's table that forgot us, or AWS's own, vanishes without a word, and with it all connections that
/// were kept open. One exchange finds out, whatever their number, and the next one has a new connection.
#[tokio::test]
async fn connections_that_have_gone_silent_cost_one_exchange() {
    let more = format!("---[limits]\ncold_hold_ms = 900\nexchange_timeout_ms = 3000\n{PLENTY}");
    let scene = Scene::with(&more, "authenticated_role").await;
    scene.proxy.bend("*", Fault::Slow(Duration::from_millis(200)));
    let warm = join_all((0..12).map(async |number| {
        come_through(&scene, &stranger(&format!("warm-{number}"))).await;
    }));
    warm.await;
    assert!(scene.proxy.most_at_once() >= 6, "as many connections are kept: {}", scene.proxy.most_at_once());
    scene.proxy.mend();
    scene.proxy.fall_silent();
    let failures = || scene.metric("cupbearer_refreshes_total{result=\"unavailable\"}");
    let (before, started) = (failures().await, tokio::time::Instant::now());
    come_through(&scene, &stranger("late")).await;
    let failed = failures().await - before;
    println!("figure: after 12 users' connections fell silent: {failed} exchanges failed, {:.1?}", started.elapsed());
    assert!((1.0..=3.0).contains(&failed), "{failed} exchanges found it out");
}

/// Asks until there is an answer.
async fn come_through(scene: &Scene, token: &str) {
    let started = tokio::time::Instant::now();
    while scene.ask("/v1/credentials", token).await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "it never came through");
    }
}
