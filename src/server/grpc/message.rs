//! A request's message, which has to come within a time: hyper and tonic wait for it without end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

/// Time for the whole message: a few hundred bytes.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The message. It fails when it is not whole in time.
pub(super) struct Message {
    body: Incoming,
    /// Set once it was waited for: most messages come with their headers.
    until: Option<Pin<Box<Sleep>>>,
}

impl Message {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, until: None }
    }
}

impl Body for Message {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(MESSAGE_TIMEOUT)));
        until.as_mut().poll(context).map(|()| Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
