//! A connection whose peer has to take what it is sent, to finish what it begins, and to let others have their turn: hyper
//! waits without end for one who never reads, its deadline for a head runs while a connection is idle and costs a timer for
//! each request, and it reads for as long as there is something. Knows no protocol.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;
use tokio::time::Sleep;

/// Time for a peer to make room for a byte more. An answer is smaller than the buffers between us, so that one who reads at
/// all never meets it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the rest of a request's head, once it has begun.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it is looked whether an idle connection has said anything since; it may be idle for up to twice as long. More
/// than the pools of clients keep one (90 s at most), so that it is they who close.
const IDLE_LOOK: Duration = Duration::from_secs(100);

/// Bytes that use up as much of a task's turn as an operation does, of which tokio gives it 128: 16 KiB, some ten requests
/// with their tokens or a thousand frames, and then whoever else has something to say is heard. By operations alone it would
/// be a megabyte, and milliseconds.
const BYTES_AN_OPERATION: usize = 128;

/// The connection. A write, a head or an idle time that takes too long fails with [`io::ErrorKind::TimedOut`].
pub(super) struct Patient<S> {
    stream: S,
    /// Set while a write waits.
    write_until: Option<Pin<Box<Sleep>>>,
    /// Whether a head has begun and is not whole; never, where nobody tells.
    begun: bool,
    whole: Option<Whole>,
    /// Set while a head that has begun waits.
    head_until: Option<Pin<Box<Sleep>>>,
    /// One for as long as the connection lives.
    look: Option<Pin<Box<Sleep>>>,
    /// Nothing was read since the last look.
    quiet: bool,
}

/// How a connection is told that what was read of it is a request, whole.
#[derive(Clone, Default)]
pub(super) struct Whole(Arc<AtomicBool>);

impl Whole {
    /// Until the next byte, nothing is waited for. Relaxed: the task of the connection alone says and hears it.
    pub(super) fn tell(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S> Patient<S> {
    /// Writes alone are bounded.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, write_until: None, begun: false, whole: None, head_until: None, look: None, quiet: false }
    }

    /// The first head begins at once; `whole` tells of its end, and of each one's after it.
    pub(super) fn of_heads(stream: S, whole: Whole) -> Self {
        Self { begun: true, whole: Some(whole), ..Self::new(stream) }
    }

    /// What a write came to, unless it waits for too long.
    fn patiently<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_until = None;
            return written;
        }
        let until = self.write_until.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        until.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Notes what the peer has done, before what a read came to is seen. A head that comes in one piece sets no timer.
    fn note(&mut self, has_come: bool) {
        let Some(Whole(whole)) = &self.whole else { return };
        self.quiet &= !has_come;
        if whole.swap(false, Ordering::Relaxed) {
            (self.begun, self.head_until) = (false, None);
        }
        self.begun |= has_come;
    }

    /// Waits for the rest of a head, or for the next one to begin.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.begun {
            let until = self.head_until.get_or_insert_with(|| Box::pin(tokio::time::sleep(HEAD_TIMEOUT)));
            return until.as_mut().poll(context);
        }
        let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(IDLE_LOOK)));
        while look.as_mut().poll(context).is_ready() {
            if self.quiet {
                return Poll::Ready(());
            }
            self.quiet = true;
            look.as_mut().set(tokio::time::sleep(IDLE_LOOK));
        }
        Poll::Pending
    }
}

/// Takes so many operations from the task's turn. Once that is used up, the next read waits until others had theirs.
pub(super) fn pay(operations: usize, context: &mut Context<'_>) {
    for _ in 0..operations {
        match coop::poll_proceed(context) {
            Poll::Ready(operation) => operation.made_progress(),
            Poll::Pending => return,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let bytes = into.filled().len() - before;
        pay(bytes / BYTES_AN_OPERATION, context);
        self.note(bytes > 0);
        if read.is_ready() || self.whole.is_none() {
            return read;
        }
        self.wait(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patiently(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.patiently(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.patiently(shut, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.patiently(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_reads_is_waited_for_and_who_does_not_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Patient::new(ours);
        let reads = async {
            for _ in 0..10 {
                tokio::time::sleep(WRITE_TIMEOUT / 2).await;
                theirs.read_exact(&mut [0; 64]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[7; 640]), reads);
        written.unwrap();
        ours.write_all(&[7; 64]).await.unwrap();
        let error = ours.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_has_to_end_and_the_next_may_take_its_time() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let whole = Whole::default();
        let mut ours = Patient::of_heads(ours, whole.clone());
        let mut byte = [0];
        for _ in 0..3 {
            theirs.write_all(b"he").await.unwrap();
            ours.read_exact(&mut byte).await.unwrap();
            ours.read_exact(&mut byte).await.unwrap();
            whole.tell();
            let idle = tokio::time::timeout(IDLE_LOOK, ours.read(&mut byte)).await;
            assert!(idle.is_err(), "{idle:?}");
        }
        let trickles = async {
            loop {
                theirs.write_all(b"h").await.unwrap();
                tokio::time::sleep(HEAD_TIMEOUT / 4).await;
            }
        };
        let reads = async {
            let begun = tokio::time::Instant::now();
            loop {
                if let Err(error) = ours.read(&mut byte).await {
                    return (error.kind(), begun.elapsed());
                }
            }
        };
        let (error, took) = tokio::select! { ended = reads => ended, () = trickles => unreachable!() };
        assert_eq!((error, took), (io::ErrorKind::TimedOut, HEAD_TIMEOUT));
    }

    #[tokio::test]
    async fn one_who_has_much_to_say_lets_others_have_a_turn() {
        let (ours, mut theirs) = tokio::io::duplex(1024 * 1024);
        theirs.write_all(&[7; 512 * 1024]).await.unwrap();
        let mut ours = Patient::new(ours);
        let mut turns = vec![0];
        let mut piece = [0; 4096];
        for _ in 0..128 {
            let mut reading = pin!(ours.read_exact(&mut piece));
            std::future::poll_fn(|context| {
                let read = reading.as_mut().poll(context);
                if read.is_pending() {
                    turns.push(0);
                }
                read
            })
            .await
            .unwrap();
            *turns.last_mut().unwrap() += piece.len();
        }
        let most = 128 * BYTES_AN_OPERATION;
        assert!(turns.iter().all(|bytes| *bytes <= most), "{turns:?}");
        assert!(turns.len() >= 512 * 1024 / most, "{turns:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_says_nothing_for_long_is_left() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let whole = Whole::default();
        let mut ours = Patient::of_heads(ours, whole.clone());
        whole.tell();
        let begun = tokio::time::Instant::now();
        let error = ours.read(&mut [0]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, IDLE_LOOK * 2));
    }
}
