//! HTTP/2 against itself: resets, floods of frames that ask for nothing, headers that grow when they are read, streams
//! without end (A35, A36, A37, A39).

use std::time::Duration;

use futures::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Ground;
use super::wire::*;
use crate::support::fault::Fault;
use crate::support::scene::stranger;

/// Long enough for any answer that comes at all.
const WAIT: Duration = Duration::from_secs(10);

/// Enough to be told from a busy connection.
const ROUNDS: usize = 20_000;

/// More answers than a test waits for.
const ALL: usize = usize::MAX;

fn stream(number: u32) -> u32 {
    2 * number + 1
}

#[tokio::test]
async fn who_opens_and_resets_is_told_to_calm_down() {
    let mut ground = Ground::new().await;
    let (grpc, good) = (ground.scene.grpc, format!("Bearer {}", ground.good));
    let cancel = 8_u32.to_be_bytes();
    for (name, fields) in [("no token", call(grpc, &[])), ("a good token", call(grpc, &[("authorization", &good)]))] {
        for flags in [END_HEADERS, END_HEADERS | END_STREAM] {
            let ended = flood(grpc, &[], ROUNDS, (WAIT, ALL), |number| {
                let reset = frame(RST_STREAM, 0, stream(number), &cancel);
                [frame(HEADERS, flags, stream(number), &fields), reset].concat()
            })
            .await;
            let told = (ended.rounds, ended.goaway, ended.took);
            assert!(ended.closed && ended.goaway == Some(ENHANCE_YOUR_CALM), "A35 {name}, {flags}: {told:?}");
            println!("A35 {name}: closed after {told:?} (rounds sent, GOAWAY, time)");
        }
    }
    ground.after("A35", 4).await;
}

/// Calls of newcomers, each given up soon after it has come, while AWS hangs: what goes on without them is what the rates
/// allow, and it ends.
#[tokio::test]
async fn calls_that_are_given_up_come_to_little_at_aws() {
    const NEWCOMERS: usize = 1_200;
    /// Calls that are not given up yet.
    const PATIENT: u32 = 8;
    /// Those of GetId in any second, and of exchanges at once, unless the configuration says otherwise.
    const RATE: u64 = 5;
    const AT_ONCE: usize = 64;
    let mut ground = Ground::new().await;
    let grpc = ground.scene.grpc;
    let newcomers: Vec<_> =
        (0..NEWCOMERS).map(|number| format!("Bearer {}", stranger(&format!("cold-{number}")))).collect();
    let proxy = &ground.scene.proxy;
    proxy.bend("*", Fault::Hangs);
    let (before, began) = (proxy.calls("GetId"), std::time::Instant::now());
    let started = || (proxy.calls("GetId") - before) as u64;
    let allowed = || RATE * (began.elapsed().as_secs() + 2);
    let ended = flood(grpc, &[], NEWCOMERS, (WAIT, ALL), |number| {
        let fields = call(grpc, &[("authorization", &newcomers[number as usize])]);
        let asked =
            [frame(HEADERS, END_HEADERS, stream(number), &fields), frame(DATA, END_STREAM, stream(number), &[0; 5])];
        let given_up =
            number.checked_sub(PATIENT).map(|early| frame(RST_STREAM, 0, stream(early), &8_u32.to_be_bytes()));
        [asked.concat(), given_up.unwrap_or_default()].concat()
    })
    .await;
    let told = (ended.rounds, ended.goaway, ended.took);
    assert!(ended.closed && ended.goaway == Some(ENHANCE_YOUR_CALM), "A35: {told:?}");
    assert!((1..=allowed()).contains(&started()), "A35: {} calls after {:?}", started(), began.elapsed());
    proxy.mend();
    let mut last = (0, std::time::Instant::now());
    while proxy.under_way() > 0 || last.1.elapsed() < Duration::from_secs(3) {
        if last.0 != proxy.calls_to_aws() {
            last = (proxy.calls_to_aws(), std::time::Instant::now());
        }
        assert!(began.elapsed() < 6 * WAIT, "A35: {} calls, and no end", started());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (calls, most) = (proxy.calls_to_aws() - ground.calls, proxy.most_at_once());
    println!("A35 newcomers: {told:?} (rounds sent, GOAWAY, time), {} of {NEWCOMERS} begun, {most} at once", started());
    assert!(started() <= allowed() && most <= AT_ONCE, "A35: {} calls, {most} at once", started());
    ground.after_calls("A35", NEWCOMERS, calls).await;
}

/// The frames of one round, by the number of the round.
type Round = Box<dyn Fn(u32) -> Vec<u8>>;

fn fixed(bytes: Vec<u8>) -> Round {
    Box::new(move |_| bytes.clone())
}

/// Floods in which a rule is broken before anything is too much, or after which nothing more is wanted.
const OTHERWISE: [(&str, u32); 4] = [
    ("SETTINGS that acknowledge", PROTOCOL_ERROR),
    ("GOAWAY", NO_ERROR),
    ("a window of zero for each stream", PROTOCOL_ERROR),
    ("DATA after the end", PROTOCOL_ERROR),
];

#[tokio::test]
async fn floods_of_frames_end_the_connection() {
    let mut ground = Ground::new().await;
    let grpc = ground.scene.grpc;
    let fields = call(grpc, &[]);
    let open = frame(HEADERS, END_HEADERS, 1, &fields);
    let after = |frames: Vec<u8>| -> Round {
        let open = open.clone();
        Box::new(move |number| if number == 0 { open.clone() } else { frames.clone() })
    };
    let half_open = frame(HEADERS, 0, 1, &fields);
    let each = |then: fn(u32) -> Vec<u8>| -> Round {
        let fields = fields.clone();
        Box::new(move |number| [frame(HEADERS, END_HEADERS, stream(number), &fields), then(stream(number))].concat())
    };
    let continued = |payload: Vec<u8>| -> Round {
        let half_open = half_open.clone();
        Box::new(move |number| if number == 0 { half_open.clone() } else { frame(CONTINUATION, 0, 1, &payload) })
    };
    let fields = call(grpc, &[("content-length", "5")]);
    let unkept: Round = Box::new(move |number| {
        let data = frame(DATA, END_STREAM, stream(number), b"x");
        [frame(HEADERS, END_HEADERS, stream(number), &fields), data].concat()
    });
    let table: Vec<(&str, Round)> = vec![
        ("PING", fixed(frame(PING, 0, 0, &[7; 8]))),
        ("PING that acknowledges", fixed(frame(PING, 1, 0, &[7; 8]))),
        ("SETTINGS", fixed(frame(SETTINGS, 0, 0, &[]))),
        ("SETTINGS with a window", fixed(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0x40, 0]))),
        ("SETTINGS that acknowledge", fixed(frame(SETTINGS, 1, 0, &[]))),
        (
            "SETTINGS of a table that shrinks and grows",
            fixed([frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]), frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0x10, 0])].concat()),
        ),
        ("PRIORITY", fixed(frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 7]))),
        ("WINDOW_UPDATE", fixed(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ("unknown frames", fixed(frame(0xEE, 0, 0, b"x"))),
        ("GOAWAY", fixed(frame(GOAWAY, 0, 0, &[0; 8]))),
        ("empty DATA", after(frame(DATA, 0, 1, &[]))),
        ("padded empty DATA", after(frame(DATA, 8, 1, &[255; 256]))),
        ("CONTINUATION without fields", continued(Vec::new())),
        ("CONTINUATION with fields", continued(block(&[("x", &"y".repeat(4_000))]))),
        ("CONTINUATION of one field", continued(vec![0x40])),
        ("a window of zero for each stream", each(|stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4]))),
        (
            "a window too large for each stream",
            each(|stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])),
        ),
        (
            "each stream a priority of itself",
            each(|stream| frame(PRIORITY, 0, stream, &[stream.to_be_bytes().to_vec(), vec![7]].concat())),
        ),
        (
            "DATA after the end",
            each(|stream| [frame(DATA, END_STREAM, stream, &[0; 5]), frame(DATA, 0, stream, b"more")].concat()),
        ),
        ("a content-length that is not kept", unkept),
    ];
    for (name, round) in &table {
        let ended = flood(grpc, &[], ROUNDS, (WAIT, ALL), round).await;
        let told = (ended.rounds, ended.goaway, ended.took);
        let wanted = OTHERWISE.iter().find(|(other, _)| other == name).map_or(ENHANCE_YOUR_CALM, |(_, code)| *code);
        assert!(ended.closed && ended.goaway == Some(wanted), "A36 {name}: {told:?}");
        println!("A36 {name}: closed after {told:?} (rounds sent, GOAWAY, time)");
    }
    ground.after("A36", table.len()).await;
}

/// Frames that break a rule: the connection ends at once.
#[tokio::test]
async fn a_broken_rule_ends_the_connection() {
    let mut ground = Ground::new().await;
    let fields = call(ground.scene.grpc, &[]);
    let head = |id: u32| frame(HEADERS, END_HEADERS | END_STREAM, id, &fields);
    let mut huge = frame(DATA, 0, 1, &[]);
    huge[..3].copy_from_slice(&[0xff, 0xff, 0xff]);
    huge.extend(vec![0; 20_000]);
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("DATA on no stream", frame(DATA, 0, 0, b"x")),
        ("DATA on a stream that was never opened", frame(DATA, 0, 5, b"x")),
        ("HEADERS on no stream", frame(HEADERS, END_HEADERS, 0, &fields)),
        ("a server's stream", head(2)),
        ("an older stream", [head(5), head(3)].concat()),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("RST_STREAM of no stream", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("RST_STREAM of an idle one", frame(RST_STREAM, 0, 9, &[0; 4])),
        ("RST_STREAM of three bytes", [head(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat()),
        ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("SETTINGS that acknowledge and set", frame(SETTINGS, 1, 0, &[0, 4, 0, 0, 0, 1])),
        ("a window over 2^31", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("frames smaller than they may be", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("PING of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("a window of zero for all", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window too large for all", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &fields)),
        (
            "a frame between HEADERS and CONTINUATION",
            [frame(HEADERS, 0, 1, &fields), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        ("padding longer than its frame", frame(HEADERS, END_HEADERS | 8, 1, &[255, 1, 2])),
        ("a frame larger than allowed", huge),
        ("fields out of no table", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0x0f])),
        ("field number zero", frame(HEADERS, END_HEADERS, 1, &[0x80])),
        ("a table larger than allowed", frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xff, 0xff, 0x7f])),
        ("a length without end", frame(HEADERS, END_HEADERS, 1, &[0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("Huffman's end within", frame(HEADERS, END_HEADERS, 1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff])),
    ];
    for (name, bytes) in &table {
        let ended = flood(ground.scene.grpc, &[], 1, (WAIT, ALL), |_| bytes.clone()).await;
        assert!(ended.closed && ended.goaway.is_none_or(|code| code != 0), "A36 {name}: {ended:?}");
    }
    ground.after("A36", table.len()).await;
    println!("A36: {} broken rules, each the end of its connection", table.len());
}

/// One long field that is put into the table and then named again and again, a byte each (RFC 7541 section 6.1).
fn bomb(fields: &[u8]) -> Vec<u8> {
    let mut bomb = fields.to_vec();
    bomb.push(0x40);
    number(&mut bomb, 7, 0, 1);
    bomb.push(b'x');
    number(&mut bomb, 7, 0, 3_900);
    bomb.extend(vec![b'y'; 3_900]);
    bomb.extend(vec![0xbe; 8_000]);
    bomb
}

/// Heads that are refused while they are read, or once they have been: no stream of theirs comes to be.
#[tokio::test]
async fn headers_that_grow_are_refused() {
    let mut ground = Ground::new().await;
    let grpc = ground.scene.grpc;
    let fields = call(grpc, &[]);
    let bomb = bomb(&fields);
    let long = "y".repeat(1_300);
    let wide = block(&[("x", long.as_str()); 12]);
    let many = block(&vec![("x", ""); 4_000]);
    let pieces = |piece: &[u8], count: usize| {
        let mut bytes = frame(HEADERS, 0, 1, &fields);
        for number in 0..count {
            bytes.extend(frame(CONTINUATION, if number + 1 == count { END_HEADERS } else { 0 }, 1, piece));
        }
        bytes
    };
    let authority = grpc.to_string();
    let good = format!("Bearer {}", ground.good);
    let own = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", super::caller::GET_CREDENTIALS),
        (":authority", authority.as_str()),
    ];
    let rest = [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", good.as_str())];
    let message = frame(DATA, END_STREAM, 1, &[0; 5]);
    let ask = |fields: &[(&str, &str)]| {
        [frame(HEADERS, END_HEADERS, 1, &block(&[fields, &rest].concat())), message.clone()].concat()
    };
    let with = |more: &[(&str, &str)]| ask(&[own.as_slice(), more].concat());
    let [method, scheme, path, _] = own;
    let sound = flood(grpc, &[], 1, (WAIT, 2), |_| with(&[])).await;
    assert!(sound.heads.len() == 2 && sound.data > 100, "all the others differ from this one: {sound:?}");
    let table: Vec<(&str, Vec<u8>, Heard)> = vec![
        ("a bomb", frame(HEADERS, END_HEADERS, 1, &bomb), Heard::Gone(ENHANCE_YOUR_CALM)),
        ("many bytes", pieces(&wide, 3), Heard::TooLarge),
        ("very many bytes", pieces(&wide, 60), Heard::Gone(ENHANCE_YOUR_CALM)),
        ("many fields", pieces(&many, 3), Heard::Gone(ENHANCE_YOUR_CALM)),
        ("a million fields", pieces(&many, 250), Heard::Gone(ENHANCE_YOUR_CALM)),
        ("a hundred fields", with(&[("x", "y"); 100]), Heard::Grpc(8)),
        ("capital letters", with(&[("X-Up", "y")]), Heard::Gone(PROTOCOL_ERROR)),
        ("two paths", with(&[(":path", "/x")]), Heard::Reset(PROTOCOL_ERROR)),
        ("an unknown pseudo-field", with(&[(":x", "y")]), Heard::Gone(PROTOCOL_ERROR)),
        ("a pseudo-field at the end", ask(&[("x", "y"), own[0], own[1], own[2], own[3]]), Heard::Reset(PROTOCOL_ERROR)),
        ("no path", ask(&[method, scheme, own[3]]), Heard::Reset(PROTOCOL_ERROR)),
        ("no method", ask(&own[1..]), Heard::Reset(PROTOCOL_ERROR)),
        ("an empty path", ask(&[method, scheme, (":path", ""), own[3]]), Heard::Reset(PROTOCOL_ERROR)),
        ("a status", with(&[(":status", "200")]), Heard::Reset(PROTOCOL_ERROR)),
        ("Connection", with(&[("connection", "close")]), Heard::Reset(PROTOCOL_ERROR)),
        ("Transfer-Encoding", with(&[("transfer-encoding", "chunked")]), Heard::Reset(PROTOCOL_ERROR)),
        ("TE: gzip", with(&[("te", "gzip")]), Heard::Reset(PROTOCOL_ERROR)),
        ("a line break in a value", with(&[("x", "a\r\nb: c")]), Heard::Gone(PROTOCOL_ERROR)),
        ("a NUL in a value", with(&[("x", "a\0b")]), Heard::Gone(PROTOCOL_ERROR)),
        ("another authority", ask(&[method, scheme, path, (":authority", "evil.example")]), Heard::Grpc(7)),
        ("no authority and another host", ask(&[method, scheme, path, ("host", "evil.example")]), Heard::Grpc(7)),
        ("two hosts", with(&[("host", &authority), ("host", "evil.example")]), Heard::Grpc(3)),
        ("a browser's header", with(&[("origin", "https://evil.example")]), Heard::Grpc(7)),
    ];
    for (name, bytes, wanted) in &table {
        let ended = flood(grpc, &[], 1, (WAIT, 1), |_| bytes.clone()).await;
        let heard = Heard::of(&ended);
        assert!(heard.as_ref() == Some(wanted) && ended.data == 0, "A37 {name}: {heard:?}: {ended:?}");
    }
    ground.after("A37", table.len()).await;
    ground.told("A37");
}

/// What one hears whose head is refused.
#[derive(Debug, PartialEq)]
enum Heard {
    /// The connection has ended, for this reason.
    Gone(u32),
    /// The stream was reset, for this reason.
    Reset(u32),
    /// 431 of HTTP.
    TooLarge,
    /// A status of gRPC, and no message.
    Grpc(u32),
}

impl Heard {
    fn of(ended: &Ended) -> Option<Self> {
        // `:status` is number 8 of the fixed table.
        let too_large = [vec![0x48], digits(431)].concat();
        let said = |head: &Vec<u8>| match grpc_status(head) {
            None if head.starts_with(&too_large) => Some(Self::TooLarge),
            status => status.map(Self::Grpc),
        };
        let reset = || ended.resets.first().map(|(_, code)| Self::Reset(*code));
        ended.heads.first().and_then(said).or_else(reset).or_else(|| ended.goaway.map(Self::Gone))
    }
}

/// Ten thousand streams on one connection; streams that are never ended, never read, or both.
#[tokio::test]
async fn streams_are_few_and_do_not_last() {
    let mut ground = Ground::new().await;
    let (grpc, good) = (ground.scene.grpc, format!("Bearer {}", ground.good));
    let (silent, asking) = (call(grpc, &[]), call(grpc, &[("authorization", &good)]));
    let open = |number: u32| frame(HEADERS, END_HEADERS, stream(number), &silent);
    let ended = flood(grpc, &[], 10_000, (WAIT, ALL), open).await;
    assert!(
        ended.closed && ended.resets.len() < 2_000,
        "A39 ten thousand streams: {:?}",
        (ended.closed, ended.resets.len())
    );
    let refused = flood(grpc, &[], 100, (Duration::from_secs(1), 36), open).await;
    assert!(refused.resets.len() >= 36, "A39 over 64 streams: {:?}", refused.resets);

    // 64 streams each, all good, none read: a window of zero holds the answers. And streams that never end.
    let no_window = [0, 4, 0, 0, 0, 0];
    let unread = join_all((0..20).map(|_| {
        flood(grpc, &no_window, 64, (2 * WAIT, ALL), |number| {
            let message = frame(DATA, END_STREAM, stream(number), &[0; 5]);
            [frame(HEADERS, END_HEADERS, stream(number), &asking), message].concat()
        })
    }));
    let endless = join_all((0..20).map(|_| flood(grpc, &[], 60, (WAIT, 60), open)));
    let started = std::time::Instant::now();
    let (unread, endless) = tokio::join!(unread, endless);
    let longest = unread.iter().map(|ended| ended.took).max();
    assert!(unread.iter().all(|ended| ended.closed), "A39: an answer that nobody reads is kept");
    println!("A39 20 connections with 64 answers each that nobody reads: closed after {longest:?} at most");
    for ended in &endless {
        assert!(ended.closed || ended.heads.len() + ended.resets.len() >= 60, "A39 without end: {ended:?}");
    }
    println!("A39 1200 messages that never come: given up after {:?}", started.elapsed());
    ground.after("A39", 4).await;
}

/// A thousand connections with an answer each that nobody reads: what they hold is little, and is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_reads_holds_little() {
    const CONNECTIONS: usize = 1_000;
    const MOST_KIB: u64 = 128;
    // The usual limit of a shell is 1,024 files.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let mut ground = Ground::new().await;
    let (grpc, good) = (ground.scene.grpc, format!("Bearer {}", ground.good));
    let ask =
        [frame(HEADERS, END_HEADERS, 1, &call(grpc, &[("authorization", &good)])), frame(DATA, END_STREAM, 1, &[0; 5])];
    let (ask, before) = (ask.concat(), ground.scene.daemon.memory_kib("VmRSS"));
    let answered = r#"cupbearer_requests_total{listener="grpc",outcome="ok"}"#;
    let so_far = ground.scene.metric(answered).await;
    let held =
        join_all((0..CONNECTIONS).map(|_| flood(grpc, &[0, 4, 0, 0, 0, 0], 1, (2 * WAIT, ALL), |_| ask.clone())));
    let watched = async {
        let (began, mut most) = (std::time::Instant::now(), before);
        while ground.scene.metric(answered).await - so_far < CONNECTIONS as f64 {
            assert!(began.elapsed() < 2 * WAIT, "A39: not all of them were answered");
            most = most.max(ground.scene.daemon.memory_kib("VmRSS"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        most.max(ground.scene.daemon.memory_kib("VmRSS"))
    };
    let (held, most) = tokio::join!(held, watched);
    let each = most.saturating_sub(before) / CONNECTIONS as u64;
    println!("A39 {CONNECTIONS} connections with an answer each that nobody reads: {each} KiB each");
    assert!(held.iter().all(|ended| ended.closed), "A39: an answer that nobody reads is kept");
    assert!(each < MOST_KIB, "A39: {each} KiB for each connection");
    ground.after("A39", CONNECTIONS).await;
}
