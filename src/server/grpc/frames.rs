//! HTTP/2 frames, counted as they come in: who says much about the connection and asks little wants no answer, and h2
//! answers each PING and each SETTINGS. Such a one is read slowly before it is cut off, so that it cannot come back as fast
//! as it is sent away. Knows no header.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

use crate::server::patient::pay;

/// Frames that ask for nothing, beside those that requests pay for: a client sends a handful.
const SPARE: u32 = 1_000;

/// Such frames that each request pays for: window updates, a reset, a ping to measure the line.
const PER_REQUEST: u32 = 10;

/// A reset counts for more than its request has paid: who takes back whatever it asks for has nothing to spare in the end
/// (CVE-2023-44487), and who has lost its patience with a thousand calls that were under way begins anew.
const PER_RESET: u32 = PER_REQUEST + 1;

/// With less to spare than this a connection is read with a pause after each piece, for every frame in it that asks for nothing.
/// Sixty calls that are given up at once are still read within a fifth of a second.
const HASTE: u32 = SPARE - 100;
const PAUSE: Duration = Duration::from_millis(3);

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

/// The reading end of a connection, after its preface. Fails with [`io::ErrorKind::InvalidData`] in a flood.
pub(super) struct Frames<R> {
    reader: R,
    count: Count,
    pause: Option<Pin<Box<Sleep>>>,
}

struct Count {
    /// Of the header that comes now.
    header: [u8; HEADER],
    known: usize,
    /// Bytes of the frame that are still to come.
    payload: usize,
    spare: u32,
    /// Since the connection began: requests, and frames that ask for nothing.
    requests: usize,
    others: u32,
}

impl<R> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            count: Count { header: [0; HEADER], known: 0, payload: 0, spare: SPARE, requests: 0, others: 0 },
            pause: None,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Frames<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let (requests, others) = (self.count.requests, self.count.others);
        let mut part = ReadBuf::new(into.initialize_unfilled_to(PIECE.min(into.remaining())));
        ready!(Pin::new(&mut self.reader).poll_read(context, &mut part))?;
        let sound = self.count.take(part.filled());
        let read = part.filled().len();
        into.advance(read);
        pay(OPERATIONS_A_REQUEST * (self.count.requests - requests), context);
        let others = self.count.others.wrapping_sub(others);
        if self.count.spare < HASTE && others > 0 {
            self.pause = Some(Box::pin(tokio::time::sleep(PAUSE * others)));
        }
        Poll::Ready(sound.then_some(()).ok_or_else(|| io::ErrorKind::InvalidData.into()))
    }
}

impl Count {
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
            }
            DATA if self.payload > 0 => {}
            _ => match self.spare.checked_sub(if kind == RST_STREAM { PER_RESET } else { 1 }) {
                Some(spare) => {
                    self.spare = spare;
                    self.others = self.others.wrapping_add(1);
                }
                None => return false,
            },
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        bytes.resize(HEADER + payload, 0xAA);
        bytes
    }

    fn borne(frames: &[Vec<u8>], piece: usize) -> bool {
        let Frames { mut count, .. } = Frames::new(());
        frames.concat().chunks(piece).all(|bytes| count.take(bytes))
    }

    #[test]
    fn a_flood_is_noticed_however_it_is_cut() {
        for piece in [1, 7, 9, 10, 64, 100_000] {
            for (kind, payload) in [(6, 8), (4, 0), (4, 6), (DATA, 0), (RST_STREAM, 4), (9, 300), (0xEE, 1)] {
                let most = if kind == RST_STREAM { 90 } else { 1_000 };
                assert!(borne(&vec![frame(kind, payload); most], piece), "{kind} {piece}");
                assert!(!borne(&vec![frame(kind, payload); most + 1], piece), "{kind} {piece}");
            }
            let call = [frame(HEADERS, 50), frame(DATA, 20), frame(8, 4), frame(8, 4), frame(6, 8)];
            let calls: Vec<_> = std::iter::repeat_n(call, 1_000).flatten().collect();
            assert!(borne(&calls, piece), "requests pay for what belongs to them");
            let taken_back = [frame(HEADERS, 50), frame(RST_STREAM, 4)];
            let all: Vec<_> = std::iter::repeat_n(taken_back, 1_000).flatten().collect();
            assert!(!borne(&all, piece), "and no more than that");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_slowly_and_calls_are_not() {
        let call = [frame(HEADERS, 50), frame(DATA, 20), frame(8, 4), frame(8, 4), frame(6, 8)].concat();
        let took = async |bytes: Vec<u8>| {
            let began = tokio::time::Instant::now();
            let (mut frames, mut buffer) = (Frames::new(&bytes[..]), [0; 1024]);
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
        let (ended, pings) = took(frame(6, 8).repeat(5_000)).await;
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
        let (mut frames, mut buffer) = (Frames::new(ours), Vec::new());
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
}
