//! HTTP/1 in its one spelling. A lone LF may stand for CRLF, says RFC 9112 (section 2.2), and hyper lets it; whoever stands
//! between us and a caller may read the same bytes as another request. Knows no header.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection on which every LF follows a CR; one that does not is read as NUL, which no part of a head may hold, so that
/// the request is refused as malformed. In a body it is read so as well: see [`as_sent`].
pub(super) struct Lines<S> {
    stream: S,
    /// The last byte that was read.
    last: u8,
}

impl<S> Lines<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, last: 0 }
    }

    fn check(&mut self, bytes: &mut [u8]) {
        let mut checked = 0;
        while let Some(found) = memchr(b'\n', &bytes[checked..]) {
            let place = checked + found;
            let before = place.checked_sub(1).map_or(self.last, |before| bytes[before]);
            if before != b'\r' {
                bytes[place] = 0;
            }
            checked = place + 1;
        }
        self.last = bytes.last().copied().unwrap_or(self.last);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lines<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        self.check(&mut into.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lines<S> {
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

/// A body as it was sent, of a kind that holds no NUL of its own: JSON escapes it.
pub(super) fn as_sent(body: &[u8]) -> Vec<u8> {
    body.iter().map(|byte| if *byte == 0 { b'\n' } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_line_feed_is_no_line_break() {
        let checked = |pieces: &[&str]| {
            let mut lines = Lines::new(());
            let mut all = Vec::new();
            for piece in pieces {
                let mut bytes = piece.as_bytes().to_vec();
                lines.check(&mut bytes);
                all.extend(bytes);
            }
            String::from_utf8(all).unwrap()
        };
        assert_eq!(checked(&["a\r\nb\r\n\r\n"]), "a\r\nb\r\n\r\n");
        assert_eq!(checked(&["a\r", "\nb"]), "a\r\nb", "across reads");
        assert_eq!(checked(&["\na\nb\r\n\n"]), "\0a\0b\r\n\0");
        assert_eq!(checked(&["a", "\n"]), "a\0");
        let body = "{\n  \"all\": true\r\n}\n";
        assert_eq!(as_sent(checked(&[body]).as_bytes()), body.as_bytes());
    }
}
