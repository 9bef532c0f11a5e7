//! HTTP/2 frames, counted as they come in: who says much about the connection and asks little wants no answer, and h2
//! answers each PING and each SETTINGS. Knows no header.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Frames that ask for nothing, beside those that requests pay for: a client sends a handful.
const SPARE: u32 = 1_000;

/// Such frames that each request pays for: window updates, a reset, a ping to measure the line.
const PER_REQUEST: u32 = 10;

/// Length, type, flags and stream (RFC 9113 section 4.1).
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;

/// The reading end of a connection, after its preface. Fails with [`io::ErrorKind::InvalidData`] in a flood.
pub(super) struct Frames<R> {
    reader: R,
    count: Count,
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
        Self { reader, count: Count { header: [0; HEADER], known: 0, payload: 0, spare: SPARE } }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Frames<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, into))?;
        let sound = self.count.take(&into.filled()[before..]);
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
            _ => match self.spare.checked_sub(1) {
                Some(spare) => self.spare = spare,
                None => return false,
            },
        }
        true
    }
}

#[cfg(test)]
mod tests {
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
            for (kind, payload) in [(6, 8), (4, 0), (4, 6), (DATA, 0), (3, 4), (9, 300), (0xEE, 1)] {
                assert!(borne(&vec![frame(kind, payload); 1_000], piece), "{kind} {piece}");
                assert!(!borne(&vec![frame(kind, payload); 1_001], piece), "{kind} {piece}");
            }
            let call = [frame(HEADERS, 50), frame(DATA, 20), frame(8, 4), frame(8, 4), frame(6, 8)];
            let calls: Vec<_> = std::iter::repeat_n(call, 1_000).flatten().collect();
            assert!(borne(&calls, piece), "requests pay for what belongs to them");
        }
    }
}
