//! Callers who never read, and callers who speak something else (A41, and what A26 to A30 have in common with them).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Ground;
use super::wire::{PREFACE, SETTINGS, frame};

/// Far above the doors' own five seconds, for a machine that stands still now and then.
const LONGEST: Duration = Duration::from_secs(15);

/// How long it takes to be sent away after `bytes`.
async fn sent_away(door: SocketAddr, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(door).await.unwrap();
    let came = Instant::now();
    // One who is sent away while still speaking has been answered.
    stream.write_all(bytes).await.ok();
    let end = async { while matches!(stream.read(&mut [0; 4_096]).await, Ok(1..)) {} };
    tokio::time::timeout(2 * LONGEST, end).await.unwrap_or_else(|_| panic!("kept: {bytes:?}"));
    came.elapsed()
}

#[tokio::test]
async fn who_speaks_something_else_is_sent_away() {
    let mut ground = Ground::new().await;
    let (http, grpc, admin) = (ground.scene.http, ground.scene.grpc, ground.scene.admin);
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend((0..505_u32).map(|number| u8::try_from(number.wrapping_mul(2_654_435_761) >> 24).unwrap()));
    let noise: Vec<u8> =
        (1..=40_000_u32).map(|number| u8::try_from(number.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let get = b"GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".to_vec();
    let inputs: Vec<Vec<u8>> = vec![
        hello.clone(),
        hello[..5].to_vec(),
        noise.clone(),
        noise[..24].to_vec(),
        vec![0; 24],
        vec![0xff; 24],
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"\x05\x01\x00".to_vec(),
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        b"EHLO evil.example\r\n".to_vec(),
        b"PROXY TCP4 10.0.0.1 127.0.0.1 1 2\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".to_vec(),
        b"\r\n\r\n\r\n\r\n".to_vec(),
    ];
    let doors = [http, grpc, admin];
    let mut cases: Vec<_> = doors.iter().flat_map(|door| inputs.iter().map(|bytes| (*door, bytes.clone()))).collect();
    cases.push((grpc, get));
    cases.push((grpc, b"GET / HTTP/1.0\r\n\r\n".to_vec()));
    cases.push((http, [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()));
    let times = join_all(cases.iter().map(|(door, bytes)| sent_away(*door, bytes))).await;
    let longest = times.iter().max().unwrap();
    println!("A41 {} strangers on three doors: sent away within {longest:?}", cases.len());
    assert!(*longest < LONGEST, "{longest:?}");
    ground.after("A41", cases.len()).await;
}

/// Asks and asks, and reads nothing: the answers fill the buffers between, and then the door gives up.
#[tokio::test]
async fn who_never_reads_is_sent_away() {
    let mut ground = Ground::new().await;
    let ask = format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n\r\n",
        ground.scene.http, ground.good
    );
    let asks = ask.repeat(20);
    let stuck = join_all((0..8).map(async |_| {
        let mut stream = TcpStream::connect(ground.scene.http).await.unwrap();
        let came = Instant::now();
        while stream.write_all(asks.as_bytes()).await.is_ok() {
            assert!(came.elapsed() < 4 * LONGEST, "who never reads is kept");
        }
        came.elapsed()
    }));
    let stuck = tokio::time::timeout(4 * LONGEST, stuck).await.expect("who never reads is kept");
    println!("A39 8 callers who read nothing: sent away after {:?} at most", stuck.iter().max().unwrap());
    ground.after("A39", 8).await;
}
