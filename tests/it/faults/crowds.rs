//! Too many connections, too slow ones, too many at once for the same (F13, F15, F16, F17).

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{EXCHANGE, hits};
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
    let pid = scene.daemon.pid();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    drop(crowd);
    let left = Instant::now();
    while scene.ask("/v1/credentials", &alice).await.status != 200 {
        assert!(left.elapsed() < Duration::from_secs(20), "nobody is let in any more");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "F13 2000 connects, {open} of 256 files open at the end; {asked} hits and probes, {newcomers} exchanges OK"
    );
    println!("F13 let in again {:?} after the crowd left", left.elapsed());
    assert!(open < 256);
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

/// Says a little now and then, and waits to be sent away; says after how long that was.
async fn is_sent_away(door: SocketAddr, first: &'static [u8], then: &'static [u8]) -> Duration {
    let mut stream = TcpStream::connect(door).await.unwrap();
    let came = Instant::now();
    stream.write_all(first).await.unwrap();
    let mut buffer = [0; 1_024];
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => if !matches!(read, Ok(1..)) { return came.elapsed() },
            () = tokio::time::sleep(Duration::from_millis(400)) => {
                if !then.is_empty() && stream.write_all(then).await.is_err() { return came.elapsed() }
            }
        }
        assert!(came.elapsed() < Duration::from_secs(30), "never sent away: {first:?}");
    }
}

/// Silent ones, and those who say a byte now and then, on both doors.
#[tokio::test]
async fn slow_callers_are_sent_away_and_delay_nobody() {
    let scene = Scene::new().await;
    let alice = token("alice");
    let healthy = hits(&scene, &alice, 1_000).await;
    let table: [(SocketAddr, &[u8], &[u8]); 5] = [
        (scene.http, b"", b""),
        (scene.grpc, b"", b""),
        (scene.http, b"GET /v1/credentials HTTP/1.1\r\nHost: local", b"h"),
        (scene.http, b"GET /v1/cred", b""),
        (scene.grpc, b"PRI * HTTP/2.0", b""),
    ];
    let slow = join_all((0..200).map(|number| {
        let (door, first, then) = table[number % table.len()];
        is_sent_away(door, first, then)
    }));
    let (slow, during) = tokio::join!(slow, hits(&scene, &alice, 3_000));
    let mut times = Times::default();
    slow.into_iter().for_each(|took| times.add(took));
    println!("F16 200 slow callers sent away: {times}; hits before {healthy}, meanwhile {during}");
    // Five seconds, on a machine that has time.
    assert!(times.percentile(50) < Duration::from_secs(10) && times.max() < Duration::from_secs(20), "{times}");
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
