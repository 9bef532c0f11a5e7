//! Too many connections, too slow ones, too many at once for the same (F13, F15, F16, F17).

use std::process::Command;
use std::time::{Duration, Instant};

use cupbearer::server::proto::{CredentialBrokerClient, GetCredentialsRequest};
use futures::future::join_all;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use super::{EXCHANGE, hits};
use crate::support::daemon::PATIENCE;
use crate::support::dawdler::{BY_GRPC, BY_HTTP, is_sent_away};
use crate::support::fault::Fault;
use crate::support::figures::Times;
use crate::support::http;
use crate::support::line::Line;
use crate::support::scene::{Scene, embedded, stranger, token};
use crate::support::settings::Settings;

/// The program under `ulimit -n`.
fn with_few_files(arguments: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 256 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_cupbearer")]);
    command.args(arguments).env_clear();
    command
}

/// Two thousand connections come to a program that may have 256 files open: those who are in are served, the admin door
/// answers, AWS is reached, and when the crowd has gone anybody may come again.
#[tokio::test]
async fn a_crowd_beyond_the_file_limit_harms_nobody_who_is_in() {
    let proxy = embedded().await;
    let text = Settings::new(&proxy.url).text();
    let mut scene = Scene::started_by(proxy, &text, with_few_files).await;
    scene.daemon.ready().await;
    let alice = token("alice");
    let mut line = Line::open(scene.http).await.unwrap();
    assert_eq!(line.ask("/v1/credentials", &alice).await.unwrap().status, 200);
    let mut crowd = Vec::new();
    let (mut asked, mut newcomers) = (0, 0);
    for number in 0..2_000 {
        let door = if number % 2 == 0 { scene.http } else { scene.grpc };
        crowd.push(TcpStream::connect(door).await.unwrap());
        if number % 50 == 0 {
            assert_eq!(line.ask("/v1/credentials", &alice).await.unwrap().status, 200, "one who is in");
            let live = http::get(scene.admin, "/livez", &[]).await;
            assert_eq!(live.status, 200, "the admin door, with {number} connections: {live:?}");
            asked += 1;
        }
        if number % 500 == 499 {
            let cold = line.ask("/v1/credentials", &stranger(&format!("newcomer-{number}"))).await.unwrap();
            assert_eq!(cold.status, 200, "AWS is reached: {cold:?}");
            newcomers += 1;
        }
    }
    let (worked, looked) = (scene.daemon.cpu_time(), Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let share = (scene.daemon.cpu_time() - worked).as_secs_f64() / looked.elapsed().as_secs_f64();
    // Its own count: nobody but root sees the files of a process that gives nothing away.
    let open = scene.metric("process_open_fds").await;
    drop(crowd);
    let left = Instant::now();
    while scene.ask("/v1/credentials", &alice).await.status != 200 {
        assert!(left.elapsed() < Duration::from_secs(20), "nobody is let in any more");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "F13 2000 connects, {open} of 256 files open at the end; {asked} hits and probes, {newcomers} exchanges OK"
    );
    println!("F13 {:.1} % of a processor with the crowd at the doors", share * 100.0);
    assert!(share < 0.5, "it spins: {share:.2} of a processor");
    println!("F13 let in again {:?} after the crowd left", left.elapsed());
    assert!(open > 0.0 && open < 256.0);
    scene.daemon.terminate();
    assert_eq!(scene.daemon.ended().await.code(), Some(0));
}

/// A thousand connections, idle or not, and one more: it is told so, and the others notice nothing.
#[tokio::test]
async fn the_one_over_the_limit_is_told_and_the_others_are_served() {
    let scene = Scene::with("---[limits]\nconnections = 300\n", "authenticated_role").await;
    let alice = token("alice");
    let mut lines = join_all((0..300).map(|_| Line::open(scene.http))).await;
    for line in &mut lines {
        // One that is answered is in, and not merely in the backlog.
        assert_eq!(line.as_mut().unwrap().ask("/v1/credentials", &alice).await.unwrap().status, 200);
    }
    let asked = Instant::now();
    let over = scene.ask("/v1/credentials", &alice).await;
    let took = asked.elapsed();
    assert_eq!((over.status, over.header("retry-after")), (503, Some("1")), "{over:?}");
    let mut times = Times::default();
    for line in &mut lines {
        let asked = Instant::now();
        assert_eq!(line.as_mut().unwrap().ask("/v1/credentials", &alice).await.unwrap().status, 200);
        times.add(asked.elapsed());
    }
    assert_eq!(http::get(scene.admin, "/readyz", &[]).await.status, 200);
    println!("F15 one over 300 is told in {took:?}; the 300: {times}");
}

/// Silent ones, and those who say a byte now and then, on both doors. One whose request is answered may be silent for longer.
#[tokio::test]
async fn slow_callers_are_sent_away_and_delay_nobody() {
    let scene = Scene::new().await;
    let alice = token("alice");
    let healthy = hits(&scene, &alice, 1_000).await;
    let mut kept = Line::open(scene.http).await.unwrap();
    assert_eq!(kept.ask("/v1/credentials", &alice).await.unwrap().status, 200);
    let by_http = BY_HTTP.map(|speech| (scene.http, speech));
    let table = [&by_http[..], &BY_GRPC.map(|speech| (scene.grpc, speech))].concat();
    let slow = join_all((0..200).map(async |number| {
        let (door, speech) = table[number % table.len()];
        is_sent_away(TcpStream::connect(door).await.unwrap(), speech).await
    }));
    let (slow, during) = tokio::join!(slow, hits(&scene, &alice, 3_000));
    let mut times = Times::default();
    slow.into_iter().for_each(|took| times.add(took));
    println!("F16 200 slow callers sent away: {times}; hits before {healthy}, meanwhile {during}");
    assert_eq!(
        kept.ask("/v1/credentials", &alice).await.map(|reply| reply.status).ok(),
        Some(200),
        "it was cut while idle"
    );
    // Five seconds, on a machine that has time.
    assert!(times.percentile(50) < Duration::from_secs(10) && times.max() < Duration::from_secs(20), "{times}");
}

/// A hundred who ask over gRPC and take no byte of the answer: their HTTP/2 windows are closed. They get theirs never,
/// and hold up nobody, not even the end.
#[tokio::test]
async fn who_takes_no_answer_delays_nobody() {
    let mut scene = Scene::new().await;
    let alice = token("alice");
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    let before = scene.daemon.memory_kib("VmRSS");
    let mut closed = JoinSet::new();
    for _ in 0..100 {
        let (address, alice) = (format!("http://{}", scene.grpc), alice.clone());
        closed.spawn(async move {
            let endpoint = Endpoint::from_shared(address).unwrap().initial_stream_window_size(0);
            let mut client = CredentialBrokerClient::new(endpoint.connect().await.unwrap());
            let mut request = tonic::Request::new(GetCredentialsRequest::default());
            request.metadata_mut().insert("authorization", alice.parse().unwrap());
            client.get_credentials(request).await
        });
    }
    let answered = "cupbearer_requests_total{listener=\"grpc\",outcome=\"ok\"}";
    let started = Instant::now();
    while scene.metric(answered).await < 100.0 {
        assert!(started.elapsed() < PATIENCE, "they are not answered");
    }
    let during = hits(&scene, &alice, 1_000).await;
    assert!(closed.try_join_next().is_none(), "an answer came through a closed window");
    let grown = scene.daemon.memory_kib("VmRSS").saturating_sub(before);
    println!("F16 100 answers that nobody takes: {grown} KiB more; hits meanwhile {during}");
    assert!(grown < 32 << 10, "{grown} KiB");
    scene.daemon.terminate();
    assert_eq!(scene.daemon.ended().await.code(), Some(0), "they held the end up");
}

/// Five hundred ask for the same and it is fetched once, though the first of them hangs up.
#[tokio::test]
async fn a_herd_is_one_exchange_whoever_leaves() {
    let scene = Scene::new().await;
    scene.proxy.bend(EXCHANGE, Fault::Slow(Duration::from_millis(400)));
    let alice = token("alice");
    let mut leader = Line::open(scene.http).await.unwrap();
    leader.send("/v1/credentials", &alice).await.unwrap();
    while scene.proxy.calls(EXCHANGE) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut herd = join_all((0..500).map(|_| Line::open(scene.http))).await;
    for line in &mut herd {
        line.as_mut().unwrap().send("/v1/credentials", &alice).await.unwrap();
    }
    drop(leader);
    let mut keys = std::collections::BTreeSet::new();
    for line in &mut herd {
        let reply = line.as_mut().unwrap().receive().await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        keys.insert(reply.json()["AccessKeyId"].to_string());
    }
    println!("F17 500 followers of one who left: {} exchange, {} answer", scene.proxy.calls(EXCHANGE), keys.len());
    assert_eq!((scene.proxy.calls("GetId"), scene.proxy.calls(EXCHANGE), keys.len()), (1, 1, 1));
}

/// A refusal is shared, too, and remembered for a while: the herd's next try costs nothing.
#[tokio::test]
async fn a_herd_shares_one_refusal() {
    let scene = Scene::new().await;
    scene.proxy.bend("GetId", Fault::aws(400, "NotAuthorizedException", "Token is not from a supported provider."));
    let alice = token("alice");
    let started = Instant::now();
    for _ in 0..2 {
        let replies = join_all((0..100).map(|_| scene.ask("/v1/credentials", &alice))).await;
        for reply in replies {
            assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("UpstreamDenied")));
        }
    }
    let (calls, seconds) = (scene.proxy.calls("GetId"), started.elapsed().as_secs());
    // A refusal is remembered for a second at least.
    assert!(calls as u64 <= 1 + seconds, "{calls} calls for 200 refusals in {seconds} s");
}
