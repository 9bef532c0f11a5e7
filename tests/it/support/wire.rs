//! A server's socket that ends or slows as told: what a broken network does to the bytes of an answer.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// What is to happen to the answer that comes next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// The connection ends after so many bytes.
    pub cut_at: Option<usize>,
    /// So many bytes at a time, each after this pause.
    pub trickle: Option<(usize, Duration)>,
    /// The end is a reset, not a close.
    pub reset: bool,
}

/// The plan, shared between the one who makes it and the socket.
pub type SharedPlan = Arc<Mutex<Plan>>;

/// The socket.
pub struct Wire {
    stream: TcpStream,
    plan: SharedPlan,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub fn new(stream: TcpStream, plan: SharedPlan) -> Self {
        Self { stream, plan, pause: None }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let plan = *self.plan.lock().unwrap();
        let most = plan.cut_at.unwrap_or(usize::MAX).min(plan.trickle.map_or(usize::MAX, |(bytes, _)| bytes));
        if most == 0 {
            return Poll::Ready(Err(io::Error::other("cut as told")));
        }
        if let Some((_, every)) = plan.trickle {
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[..bytes.len().min(most)]))?;
        if let Some(left) = &mut self.plan.lock().unwrap().cut_at {
            *left -= written;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.plan.lock().unwrap().reset {
            // A socket that closes without lingering sends a reset. One that is gone already needs none.
            self.stream.set_zero_linger().ok();
        }
    }
}
