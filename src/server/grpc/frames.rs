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

/// Frames that ask for nothing, beside those that requests pay for: a client sends a handful.
const SPARE: u32 = 1_000;

/// Such frames that each request pays for: window updates, a reset, a ping to measure the line.
const PER_REQUEST: u32 = 10;

/// A reset counts for more than its request has paid: who takes back whatever it asks for has nothing to spare in the end
/// (CVE-2023-44487), and who has lost its patience with a thousand calls that were under way begins anew.
const PER_RESET: u32 = PER_REQUEST + 1;

/// With less to spare than this a connection is read in pieces, with a pause after each for every frame that nothing paid for.
const HASTE: u32 = SPARE - 100;
const PIECE: usize = 1024;
const PAUSE: Duration = Duration::from_millis(1);

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
}

impl<R> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, count: Count { header: [0; HEADER], known: 0, payload: 0, spare: SPARE }, pause: None }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Frames<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let (before, spare) = (into.filled().len(), self.count.spare);
        if spare >= HASTE {
            ready!(Pin::new(&mut self.reader).poll_read(context, into))?;
        } else {
            let mut piece = [0; PIECE];
            let mut part = ReadBuf::new(&mut piece[..PIECE.min(into.remaining())]);
            ready!(Pin::new(&mut self.reader).poll_read(context, &mut part))?;
            into.put_slice(part.filled());
        }
        let sound = self.count.take(&into.filled()[before..]);
        if spare < HASTE && self.count.spare < spare {
            self.pause = Some(Box::pin(tokio::time::sleep(PAUSE * (spare - self.count.spare))));
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
            HEADERS => self.spare = (self.spare + PER_REQUEST).min(SPARE),
            DATA if self.payload > 0 => {}
            _ => match self.spare.checked_sub(if kind == RST_STREAM { PER_RESET } else { 1 }) {
                Some(spare) => self.spare = spare,
                None => return false,
            },
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

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
    }
}
