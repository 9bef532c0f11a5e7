//! HTTP/2 frames, counted as they come in: who says much about the connection and asks little wants no answer, and h2
//! answers each PING and each SETTINGS. Such a one is read slowly before it is cut off, so that it cannot come back as fast
//! as it is sent away, and is told why. Knows no header.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::server::accept::FIRST_BYTE_TIMEOUT;
use crate::server::patient::pay;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frames that ask for nothing, beside those that requests and time pay for: a client sends a handful.
const SPARE: u32 = 1_000;

/// Such frames that each request pays for: window updates, a reset, a ping to measure the line.
const PER_REQUEST: u32 = 10;

/// Such frames that each second pays for: a watch lives for hours, and both sides ask meanwhile whether the other is there.
const PER_SECOND: u32 = 1;

/// A reset counts for more than its request has paid: who takes back whatever it asks for has nothing to spare in the end
/// (CVE-2023-44487), and who has lost its patience with a thousand calls that were under way begins anew.
const PER_RESET: u32 = PER_REQUEST + 1;

/// With less to spare than this a connection is read with a pause after each piece, for every frame in it that asks for nothing.
/// Sixty calls that are given up at once are still read within a fifth of a second.
const HASTE: u32 = SPARE - 100;
const PAUSE: Duration = Duration::from_millis(3);

/// The pause for each CONTINUATION but a request's first, with which the longest head is whole. h2 bears a handful.
const CONTINUED: Duration = Duration::from_millis(100);

/// The longest: an answer to a keep-alive may be behind it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is read at once, since h2 takes all frames that it has in one go: a request with its token, or a hundred small frames.
const PIECE: usize = 1024;

/// What a request takes of its connection's turn, of 128: each becomes a task, and one connection shall not put more of them
/// before other callers than this allows.
const OPERATIONS_A_REQUEST: usize = 32;

/// Length, type, flags and stream (RFC 9113 section 4.1).
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

/// GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 sections 6.8 and 7). Any request may have been heard, and none is to be sent again
/// unseen.
const CALM_DOWN: [u8; HEADER + 8] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11];

/// How long, and how much, one is listened to whose connection is over: a socket that is closed with bytes unread is reset,
/// and the peer might never see what it was told.
const FAREWELL: Duration = Duration::from_millis(500);
const FAREWELL_BYTES: u64 = 1024 * 1024;

/// A connection, from its preface on. Reading fails with [`io::ErrorKind::InvalidData`] in a flood.
pub(super) struct Frames<S> {
    stream: S,
    /// What hyper has not read yet of the preface.
    preface: &'static [u8],
    count: Count,
    pause: Option<Pin<Box<Sleep>>>,
    flooded: bool,
}

struct Count {
    /// Of the header that comes now.
    header: [u8; HEADER],
    known: usize,
    /// Bytes of the frame that are still to come.
    payload: usize,
    spare: u32,
    /// Time has paid until then.
    paid: Instant,
    /// Since the connection began.
    requests: usize,
    /// Of the request that came last.
    continued: u32,
    /// What is due before the next piece.
    pause: Duration,
}

impl<S> Frames<S> {
    fn new(stream: S) -> Self {
        let count = Count {
            header: [0; HEADER],
            known: 0,
            payload: 0,
            spare: SPARE,
            paid: Instant::now(),
            requests: 0,
            continued: 0,
            pause: Duration::ZERO,
        };
        Self { stream, preface: PREFACE, count, pause: None, flooded: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Waits for the preface (RFC 9113 section 3.4), for as long as a first byte may take: hyper waits for it without end.
    pub(super) async fn open(mut stream: S) -> Option<Self> {
        let mut preface = [0; PREFACE.len()];
        let read = tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.read_exact(&mut preface)).await;
        let spoken = matches!(read, Ok(Ok(_))) && preface == *PREFACE;
        spoken.then(|| Self::new(stream))
    }

    /// Takes leave of one whose connection hyper has given up. Who has flooded hears of it; should a frame have gone out in
    /// part, its peer did not read.
    pub(super) async fn farewell(mut self) {
        let told = async {
            if self.flooded {
                self.stream.write_all(&CALM_DOWN).await?;
            }
            self.stream.shutdown().await?;
            tokio::io::copy(&mut self.stream.take(FAREWELL_BYTES), &mut tokio::io::sink()).await
        };
        // Whoever is gone hears nothing.
        tokio::time::timeout(FAREWELL, told).await.ok();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.preface.is_empty() {
            let (now, later) = self.preface.split_at(self.preface.len().min(into.remaining()));
            into.put_slice(now);
            self.preface = later;
            return Poll::Ready(Ok(()));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let requests = self.count.requests;
        let mut part = ReadBuf::new(into.initialize_unfilled_to(PIECE.min(into.remaining())));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        self.count.pay_for_time(Instant::now());
        self.flooded |= !self.count.take(part.filled());
        let read = part.filled().len();
        into.advance(read);
        pay(OPERATIONS_A_REQUEST * (self.count.requests - requests), context);
        let pause = std::mem::take(&mut self.count.pause).min(LONGEST_PAUSE);
        if !pause.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        }
        Poll::Ready((!self.flooded).then_some(()).ok_or_else(|| io::ErrorKind::InvalidData.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Count {
    /// Gives what the seconds until `now` have paid for.
    fn pay_for_time(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.paid).as_secs();
        self.paid += Duration::from_secs(seconds);
        let paid = u32::try_from(seconds).unwrap_or(SPARE).saturating_mul(PER_SECOND);
        self.spare = self.spare.saturating_add(paid).min(SPARE);
    }

    /// Counts what begins in `bytes`; false when it is too much.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let part = (HEADER - self.known).min(bytes.len());
            self.header[self.known..self.known + part].copy_from_slice(&bytes[..part]);
            self.known += part;
            bytes = &bytes[part..];
            if self.known == HEADER {
                self.known = 0;
                let [high, middle, low, kind, ..] = self.header;
                self.payload = (usize::from(high) << 16) | (usize::from(middle) << 8) | usize::from(low);
                if !self.is_borne(kind) {
                    return false;
                }
            }
        }
        true
    }

    fn is_borne(&mut self, kind: u8) -> bool {
        match kind {
            HEADERS => {
                self.spare = (self.spare + PER_REQUEST).min(SPARE);
                self.requests += 1;
                self.continued = 0;
            }
            DATA if self.payload > 0 => {}
            _ => {
                let Some(spare) = self.spare.checked_sub(if kind == RST_STREAM { PER_RESET } else { 1 }) else {
                    return false;
                };
                self.spare = spare;
                self.continued += u32::from(kind == CONTINUATION);
                if kind == CONTINUATION && self.continued > 1 {
                    self.pause += CONTINUED;
                } else if spare < HASTE {
                    self.pause += PAUSE;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::DuplexStream;

    use super::*;

    const PING: u8 = 6;

    /// A connection whose preface was read.
    fn begun<S>(stream: S) -> Frames<S> {
        Frames { preface: &[], ..Frames::new(stream) }
    }

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        bytes.resize(HEADER + payload, 0xAA);
        bytes
    }

    fn borne(frames: &[Vec<u8>], piece: usize) -> bool {
        let Frames { mut count, .. } = begun(());
        frames.concat().chunks(piece).all(|bytes| count.take(bytes))
    }

    #[test]
    fn a_flood_is_noticed_however_it_is_cut() {
        for piece in [1, 7, 9, 10, 64, 100_000] {
            for (kind, payload) in [(PING, 8), (4, 0), (4, 6), (DATA, 0), (RST_STREAM, 4), (9, 300), (0xEE, 1)] {
                let most = if kind == RST_STREAM { 90 } else { 1_000 };
                assert!(borne(&vec![frame(kind, payload); most], piece), "{kind} {piece}");
                assert!(!borne(&vec![frame(kind, payload); most + 1], piece), "{kind} {piece}");
            }
            let call = [frame(HEADERS, 50), frame(DATA, 20), frame(8, 4), frame(8, 4), frame(PING, 8)];
            let calls: Vec<_> = std::iter::repeat_n(call, 1_000).flatten().collect();
            assert!(borne(&calls, piece), "requests pay for what belongs to them");
            let taken_back = [frame(HEADERS, 50), frame(RST_STREAM, 4)];
            let all: Vec<_> = std::iter::repeat_n(taken_back, 1_000).flatten().collect();
            assert!(!borne(&all, piece), "and no more than that");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_slowly_and_calls_are_not() {
        let call = [frame(HEADERS, 50), frame(DATA, 20), frame(8, 4), frame(8, 4), frame(PING, 8)].concat();
        let took = async |bytes: Vec<u8>| {
            let began = Instant::now();
            let (mut frames, mut buffer) = (begun(&bytes[..]), [0; 1024]);
            let ended = loop {
                match frames.read(&mut buffer).await {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(_) => break false,
                }
            };
            (ended, began.elapsed())
        };
        assert_eq!(took(call.repeat(1_000)).await, (true, Duration::ZERO));
        let head = |frames| [frame(HEADERS, 16_000), frame(CONTINUATION, 16_000).repeat(frames)].concat();
        assert_eq!(took(head(1)).await, (true, Duration::ZERO), "a head that is longer than a frame may be");
        assert_eq!(took(head(5)).await, (true, CONTINUED * 4));
        let (ended, pings) = took(frame(PING, 8).repeat(5_000)).await;
        assert!(!ended && pings >= PAUSE * (HASTE - 100) && pings <= PAUSE * SPARE, "{pings:?}");
        let (asked, given_up) = (frame(HEADERS, 50).repeat(64), frame(RST_STREAM, 4).repeat(64));
        let (ended, given_up) = took([asked, given_up].concat()).await;
        assert!(ended && given_up <= PAUSE * 64, "as many calls as a connection may have: {given_up:?}");
    }

    #[tokio::test]
    async fn one_who_asks_much_lets_others_have_a_turn() {
        let (ours, mut theirs) = tokio::io::duplex(1024 * 1024);
        theirs.write_all(&frame(HEADERS, 50).repeat(2_000)).await.unwrap();
        drop(theirs);
        let (mut frames, mut buffer) = (begun(ours), Vec::new());
        let mut reading = pin!(frames.read_to_end(&mut buffer));
        let mut turns = 1;
        let read = poll_fn(|context| {
            let read = reading.as_mut().poll(context);
            turns += usize::from(read.is_pending());
            read
        });
        assert_eq!(read.await.unwrap(), 2_000 * 59);
        // A piece is taken whole, and has seventeen of them.
        assert!(turns >= 2_000 / 18, "{turns}");
    }

    /// Whether all that is said so often, at this pace, is borne.
    async fn borne_for(said: &[u8], times: u64, pace: Duration) -> bool {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let says = async {
            for _ in 0..times {
                // One who is cut off has said enough.
                theirs.write_all(said).await.ok();
                tokio::time::sleep(pace).await;
            }
            drop(theirs);
        };
        let reads = async {
            let mut frames = begun(ours);
            tokio::io::copy(&mut frames, &mut tokio::io::sink()).await.is_ok()
        };
        tokio::join!(reads, says).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_kept_alive_for_a_day() {
        const DAY: u64 = 24 * 60 * 60;
        let (ping, pace) = (frame(PING, 8), Duration::from_secs(10));
        assert!(borne_for(&[ping.as_slice(), &ping].concat(), DAY / 10, pace).await, "theirs, and the answers to ours");
        assert!(borne_for(&ping.repeat(10), DAY / 10, pace).await, "one each second");
        assert!(!borne_for(&ping.repeat(11), DAY / 10, pace).await, "and no more");
        let Frames { mut count, .. } = begun(());
        tokio::time::sleep(Duration::from_secs(DAY)).await;
        count.pay_for_time(Instant::now());
        assert!(!count.take(&ping.repeat(1_001)), "a quiet day saves up nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn who_floods_is_told_so_and_who_does_not_read_is_not_waited_for() {
        let ended = async |said: Vec<u8>| -> (DuplexStream, Duration) {
            let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
            theirs.write_all(&said).await.unwrap();
            let mut frames = begun(ours);
            let read = tokio::time::timeout(PAUSE * SPARE, tokio::io::copy(&mut frames, &mut tokio::io::sink())).await;
            assert_eq!(read.is_ok(), said.len() > 10_000, "{read:?}");
            let began = Instant::now();
            frames.farewell().await;
            (theirs, began.elapsed())
        };
        for (said, told) in [(frame(PING, 8).repeat(2_000), &CALM_DOWN[..]), (frame(PING, 8), &[])] {
            let (mut theirs, took) = ended(said).await;
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.unwrap();
            assert_eq!((heard.as_slice(), took), (told, FAREWELL));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_is_passed_on() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(&[PREFACE.as_slice(), b"more"].concat()).await.unwrap();
        drop(theirs);
        let mut read = Vec::new();
        Frames::open(ours).await.unwrap().read_to_end(&mut read).await.unwrap();
        assert_eq!(read, [PREFACE.as_slice(), b"more"].concat());
        for said in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &PREFACE[..23]] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            theirs.write_all(said).await.unwrap();
            let began = Instant::now();
            assert!(Frames::open(ours).await.is_none() && began.elapsed() <= FIRST_BYTE_TIMEOUT, "{said:?}");
        }
    }
}
