//! AWS answers, and the answer is wrong (F5): nothing of it is kept, what is held stays, and nothing grows.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use cupbearer::chance::Chance;
use cupbearer::clock::Clock;
use cupbearer::dev;
use cupbearer::metrics::Metrics;
use cupbearer::secret::CupToken;
use cupbearer::upstream::{Aws, Budget, Class, Config, Exchange, Flow, Identities, Order, Rates, Target};
use serde_json::{Value, json};

use super::EXCHANGE;
use crate::support::fault::{Fault, Rate, mixed, now_seconds};
use crate::support::scene::{EMULATOR, Scene, embedded, stranger, token};
use crate::support::settings::{HALF_PATIENT, PLENTY};

/// Twelve hours and room for unequal clocks: no credentials live longer.
const LONGEST_SECONDS: i64 = 13 * 3600;

fn at(pointer: &'static str, value: Value) -> Fault {
    Fault::json(pointer, move |body| *body.pointer_mut(pointer).unwrap() = value.clone())
}

fn without(parent: &'static str, name: &'static str) -> Fault {
    Fault::json(name, move |body| drop(body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name)))
}

/// Every row is an answer of which nothing may be kept.
fn table() -> Vec<Fault> {
    let expiration = |value| at("/Credentials/Expiration", value);
    let ok = |kind: &str, body: Vec<u8>| Fault::Answers(200, vec![("content-type", kind.to_owned())], body.into());
    let mut rows = vec![
        ok("application/x-amz-json-1.1", b"not JSON".to_vec()),
        ok("application/x-amz-json-1.1", Vec::new()),
        ok("application/x-amz-json-1.1", b"{}".to_vec()),
        ok("application/x-amz-json-1.1", b"[]".to_vec()),
        ok("application/x-amz-json-1.1", b"null".to_vec()),
        ok("text/html", b"<html>sign in to this hotel's network</html>".to_vec()),
        Fault::text("two documents", "{", "{}{"),
        Fault::text("a bare word", "\"Credentials\"", "Credentials"),
        Fault::WrongIdentity,
        without("", "IdentityId"),
        without("", "Credentials"),
        at("/Credentials", Value::Null),
        at("/Credentials", json!([])),
        at("/IdentityId", json!("")),
        expiration(json!(0)),
        expiration(json!(-1)),
        expiration(json!(now_seconds() - 1)),
        expiration(json!(253_402_300_799_u64)),
        expiration(json!(1e300)),
        expiration(json!((now_seconds() + 3600) * 1000)),
        expiration(json!("soon")),
        expiration(json!({})),
    ];
    rows.extend(["AccessKeyId", "SecretKey", "SessionToken", "Expiration"].map(|name| without("/Credentials", name)));
    for pointer in ["/Credentials/AccessKeyId", "/Credentials/SecretKey", "/Credentials/SessionToken"] {
        rows.extend([json!(""), json!(7), Value::Null, json!(["x"])].map(|value| at(pointer, value)));
    }
    rows
}

/// Thirty users hold credentials that are refreshed all the time, and every refresh is answered with a row of the
/// table: each goes on with what it holds, and a newcomer is told to come again.
#[tokio::test]
async fn no_wrong_answer_is_kept_and_what_is_held_stays() {
    let more = format!("---[refresh]\nat = 0.01\njitter = 0.0\nmin_remaining_seconds = 0\n{HALF_PATIENT}{PLENTY}");
    let scene = Scene::with(&more, "deny").await;
    scene.proxy.bend(EXCHANGE, Fault::Expires(100));
    let users: Vec<_> = (0..30).map(|number| stranger(&format!("holder-{number}"))).collect();
    let mut held = Vec::new();
    for user in &users {
        let reply = scene.ask("/v1/credentials/default/editor", user).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        held.push(reply.json()["AccessKeyId"].clone());
    }
    let rows = table();
    let number = rows.len();
    scene.proxy.bend_some(EXCHANGE, Rate::Always, rows);
    let started = Instant::now();
    while scene.proxy.bent(EXCHANGE) < number {
        assert!(started.elapsed() < Duration::from_secs(60), "only {} rows came up", scene.proxy.bent(EXCHANGE));
        for user in &users {
            assert_eq!(scene.ask("/v1/credentials/default/editor", user).await.status, 200);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut same = 0;
    for (user, key) in users.iter().zip(&held) {
        same += usize::from(scene.ask("/v1/credentials/default/editor", user).await.json()["AccessKeyId"] == *key);
    }
    let refreshed = scene.metric("cupbearer_refreshes_total{result=\"ok\"}").await;
    let mut refused = 0.0;
    while refused < number as f64 {
        // The last answers are still on their way when the proxy has counted them.
        assert!(started.elapsed() < Duration::from_secs(60), "{refused} of {number} were counted as invalid");
        refused = scene.metric("cupbearer_refreshes_total{result=\"invalid\"}").await;
    }
    println!("F5 {number} rows in {:?}: {refused} refused, {same} of 30 hold what they held", started.elapsed());
    let bent = scene.proxy.bent(EXCHANGE);
    // Those under way when the table was set were answered well.
    assert!(refreshed <= (scene.proxy.calls(EXCHANGE) - bent) as f64, "an answer of the table was kept");
    assert_eq!(scene.metric("cupbearer_entries").await, 30.0);
    assert_eq!(scene.metric("cupbearer_panics_total").await, 0.0);
    let cold = scene.ask("/v1/credentials/default/editor", &stranger("newcomer")).await;
    assert_eq!((cold.status, &cold.json()["code"]), (503, &json!("UpstreamUnavailable")));
}

/// An answer is read to 64 KiB, and not unpacked.
#[tokio::test]
async fn a_huge_answer_is_cut_off_and_a_packed_one_left_packed() {
    let scene = Scene::with(&format!("---{HALF_PATIENT}"), "authenticated_role").await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    let before = scene.daemon.memory_kib("VmHWM");
    let json = vec![("content-type", "application/x-amz-json-1.1".to_owned())];
    let packed = [json.clone(), vec![("content-encoding", "gzip".to_owned())]].concat();
    let padded = |size: usize| Fault::json("padded", move |body| body["Padding"] = "x".repeat(size).into());
    let table = [
        ("64 MiB of spaces", Fault::Answers(200, json, vec![b' '; 64 << 20].into())),
        ("a whole answer of 80 KiB", padded(80 << 10)),
        ("64 MiB, packed", Fault::Answers(200, packed, gzip(&vec![b' '; 64 << 20]).into())),
        ("an answer, packed", Fault::bytes("packed", gzip)),
    ];
    for (number, (name, fault)) in table.into_iter().enumerate() {
        for operation in ["GetId", EXCHANGE] {
            scene.proxy.bend(operation, fault.clone());
            let reply = scene.ask("/v1/credentials", &stranger(&format!("huge-{number}-{operation}"))).await;
            assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")), "{name}");
            scene.proxy.mend();
        }
    }
    let grown = scene.daemon.memory_kib("VmHWM") - before;
    println!("F5 huge answers: the most memory ever used grew by {grown} KiB");
    assert!(grown < 16 << 10, "{grown} KiB more for answers of 64 MiB");
    scene.proxy.bend(EXCHANGE, padded(32 << 10));
    assert_eq!(scene.ask("/v1/credentials", &stranger("large")).await.status, 200, "a large one is read");
    assert_eq!(scene.metric("cupbearer_refreshes_total{result=\"invalid\"}").await, 8.0);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let packed = child.wait_with_output().unwrap().stdout;
    writing.join().unwrap().unwrap();
    packed
}

/// Ten thousand answers, each spoilt at random, through the real SDK client. Some are whole by chance (a letter of a
/// secret is as good as another): what is taken must be whole by a judgement of the test's own.
#[tokio::test]
async fn ten_thousand_spoilt_answers_leave_nothing_behind() {
    const SEED: u64 = 0x00c0_ffee;
    let proxy = embedded().await;
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let often = 10_000;
    let rates = Rates {
        get_id: often,
        get_credentials_for_identity: often,
        get_open_id_token: often,
        assume_role: often,
        refresh_token: often,
    };
    let config = Config {
        pool_regions: vec![dev::REGION.to_owned()],
        sts_regions: Vec::new(),
        own_identity: false,
        cognito_identity_endpoint_url: Some(proxy.url.parse().unwrap()),
        sts_endpoint_url: None,
        call_timeout: Duration::from_secs(5),
        rates,
    };
    let clock = Clock::system();
    let known = Arc::new(Identities::in_memory());
    let budget = Arc::new(Budget::new(rates, clock.clone(), Chance::seeded(SEED)));
    let aws = Aws::new(&config, None, known, budget, clock, metrics).await;
    let order = order();
    let whole = aws.exchange(&order).await.unwrap();
    let identity = whole.identity_id.unwrap().0.to_string();

    let sent = Arc::new(Mutex::new((0, Vec::new())));
    let last = Arc::clone(&sent);
    let fault = Fault::bytes("spoilt", move |body| {
        let mut sent = last.lock().unwrap();
        sent.0 += 1;
        sent.1 = spoilt(body, mixed(SEED ^ sent.0));
        sent.1.clone()
    });
    proxy.bend(EXCHANGE, fault.clone());
    let (mut refused, mut taken, mut in_a_row) = (0, 0, 0);
    while refused + taken < 10_000 {
        let done = aws.exchange(&order).await;
        let (number, body) = sent.lock().unwrap().clone();
        let text = String::from_utf8_lossy(&body);
        match done {
            Ok(_) => {
                assert!(is_whole(&body, &identity), "seed {SEED:#x}, answer {number} was taken: {text}");
                taken += 1;
                in_a_row = 0;
            }
            Err(failure) => {
                assert_eq!(failure.class, Class::Invalid, "seed {SEED:#x}, answer {number}: {failure} for {text}");
                refused += 1;
                in_a_row += 1;
            }
        }
        if in_a_row == 2 {
            // A few more, and the budget takes AWS for down and lets a call through now and then.
            proxy.mend();
            assert!(aws.exchange(&order).await.is_ok(), "a good answer between");
            proxy.bend(EXCHANGE, fault.clone());
            in_a_row = 0;
        }
    }
    println!("F5 of 10000 spoilt answers {refused} were refused, {taken} were whole by chance");
    assert!(refused > 5_000, "{refused} were refused");
}

fn order() -> Order {
    let claims = EMULATOR.id_claims("alice", SystemTime::now()).unwrap();
    let text = |name: &str| claims[name].as_str().unwrap().into();
    Order {
        target: Arc::new(Target {
            flow: Flow::Enhanced,
            identity_pool_id: dev::IDENTITY_POOL_ID.into(),
            logins_key: None,
            region: dev::REGION.into(),
            duration: Duration::from_secs(3600),
            external_id: None,
        }),
        issuer: text("iss"),
        subject: text("sub"),
        token: Some(CupToken::new(&token("alice"))),
        role: None,
        session: Arc::default(),
    }
}

/// `body` with something wrong in it, the same for the same `chance`.
fn spoilt(body: &[u8], chance: u64) -> Vec<u8> {
    let mut spoilt = body.to_vec();
    let mut chance = chance;
    let mut next = |below: usize| {
        chance = mixed(chance);
        (chance % below.max(1) as u64) as usize
    };
    for _ in 0..=next(3) {
        let (place, length) = (next(spoilt.len()), 1 + next(40));
        let end = (place + length).min(spoilt.len());
        match next(6) {
            0 => spoilt.truncate(place),
            1 => drop(spoilt.drain(place..end)),
            2 => spoilt = [&spoilt[..end], &spoilt[place..]].concat(),
            3 => spoilt.iter_mut().skip(place).take(length).for_each(|byte| *byte = byte.wrapping_add(1)),
            4 => spoilt = member(&spoilt, place, next(9)),
            _ => spoilt.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << (length % 8)),
        }
        if spoilt.is_empty() {
            return spoilt;
        }
    }
    spoilt
}

/// One member of the answer has another value, or is gone, if the answer is JSON still.
fn member(body: &[u8], which: usize, kind: usize) -> Vec<u8> {
    let Ok(mut json) = serde_json::from_slice::<Value>(body) else { return body.to_vec() };
    let names = ["AccessKeyId", "SecretKey", "SessionToken", "Expiration"];
    let values = [
        Value::Null,
        json!(""),
        json!(0),
        json!(-1),
        json!(1e18),
        json!(true),
        json!({}),
        json!("2020-01-01T00:00:00Z"),
    ];
    let Some(members) = json.get_mut("Credentials").and_then(Value::as_object_mut) else { return body.to_vec() };
    let name = names[which % names.len()];
    match values.get(kind) {
        Some(value) => drop(members.insert(name.to_owned(), value.clone())),
        None => drop(members.remove(name)),
    }
    json.to_string().into_bytes()
}

/// Whether an answer is whole, alive and for `identity`, by what JSON and the service's documentation say.
fn is_whole(body: &[u8], identity: &str) -> bool {
    let Ok(json) = serde_json::from_slice::<Value>(body) else { return false };
    let held = &json["Credentials"];
    let texts = ["AccessKeyId", "SecretKey", "SessionToken"];
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let present = texts.iter().all(|name| held[*name].as_str().is_some_and(plain));
    let now = now_seconds() as f64;
    let alive = held["Expiration"].as_f64().is_some_and(|at| at > now - 1.0 && at <= now + LONGEST_SECONDS as f64);
    json["IdentityId"] == identity && present && alive
}
