//! One accept loop for all doors: how many may come in, how long they may be silent, how they are sent home. Knows no
//! request.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::metrics::Metrics;
use crate::server::lines::Lines;
use crate::server::listen::Listen;
use crate::server::patient::{Patient, Whole};
use crate::server::{Limits, MAX_HEADERS, Phase, Places, stopping};

/// Time for a new connection to say its first byte.
pub(super) const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the requests that are under way when everything stops.
const LAST_REQUESTS: Duration = Duration::from_secs(6);

/// Pause after the operating system refused a connection, out of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that are taken one after the other. Then those that are there have their turn, or a burst of new ones would
/// keep them waiting for as long as it takes to serve each.
const ACCEPTS_A_TURN: u32 = 8;

/// Room for the request line beside the headers.
const REQUEST_LINE_BYTES: usize = 8 * 1024;

/// How many may be told at once at one door that the house is full, and for how long; the others are just cut off.
/// Few, since each takes a descriptor that the limit does not count.
const REFUSALS: usize = 16;
const REFUSAL_TIME: Duration = Duration::from_millis(500);

/// What one who comes in over the limit reads, whichever protocol it speaks.
const FULL_HOUSE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncache-control: no-store\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// One door's connections.
pub struct Connections {
    places: Arc<Places>,
    /// What is left to this door alone once the others have taken all.
    reserve: Option<Arc<Places>>,
    /// None at a door whose callers would not understand it.
    refusals: Option<Arc<Semaphore>>,
    metrics: Arc<Metrics>,
    phase: watch::Receiver<Phase>,
}

impl Connections {
    /// As many as there are `places`, which several doors may share; panics are counted in `metrics`, and `phase` says
    /// when to stop.
    pub fn new(places: Arc<Places>, metrics: Arc<Metrics>, phase: watch::Receiver<Phase>) -> Self {
        Self { places, reserve: None, refusals: Some(Arc::new(Semaphore::new(REFUSALS))), metrics, phase }
    }

    /// The same, with so many places more that are this door's own.
    #[must_use]
    pub(super) fn with_reserve(self, places: usize) -> Self {
        Self { reserve: Some(Arc::new(Places::new(places))), ..self }
    }

    /// The same, at a door that speaks TLS: who comes in over the limit would have to shake hands to be told so.
    #[must_use]
    pub(super) fn encrypted(self, encrypted: bool) -> Self {
        Self { refusals: self.refusals.filter(|_| !encrypted), ..self }
    }

    /// Takes connections from `listener` and gives each to `serve`, until the phase is [`Phase::Stopping`] and the
    /// last one has ended, or its time is up.
    pub async fn serve<L, F, S>(self, listener: L, serve: F)
    where
        L: Listen,
        F: Fn(L::Stream, watch::Receiver<Phase>) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        let mut served = JoinSet::new();
        let mut phase = self.phase.clone();
        let mut turn = 0;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(stream) => {
                        self.admit(&mut served, stream, &serve);
                        turn = (turn + 1) % ACCEPTS_A_TURN;
                        if turn == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    Err(error) => {
                        warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = served.join_next() => self.reap(&ended),
                () = stopping(&mut phase) => break,
            }
        }
        drop(listener);
        let all = async {
            while let Some(ended) = served.join_next().await {
                self.reap(&ended);
            }
        };
        if tokio::time::timeout(LAST_REQUESTS, all).await.is_err() {
            warn!("connections were still open at the end and are cut");
        }
    }

    fn admit<C, F, S>(&self, served: &mut JoinSet<()>, stream: C, serve: &F)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Fn(C, watch::Receiver<Phase>) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        let place = self.places.take().or_else(|| self.reserve.as_ref()?.take());
        let Some(place) = place else {
            let place = self.refusals.as_ref().and_then(|places| Arc::clone(places).try_acquire_owned().ok());
            if let Some(place) = place {
                served.spawn(async move {
                    tokio::time::timeout(REFUSAL_TIME, refuse(stream)).await.ok();
                    drop(place);
                });
            }
            return;
        };
        let serving = serve(stream, self.phase.clone());
        served.spawn(async move {
            serving.await;
            drop(place);
        });
    }

    fn reap(&self, ended: &Result<(), tokio::task::JoinError>) {
        if ended.as_ref().is_err_and(tokio::task::JoinError::is_panic) {
            self.metrics.panics.inc();
        }
    }
}

/// Says that the house is full, and reads what comes until the peer closes: a socket that is closed with bytes unread
/// is reset, and the peer might never see what it was told.
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.write_all(FULL_HOUSE).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// Waits for the first byte of a new connection, and no longer than a caller needs: hyper's own deadlines begin with
/// the first request.
async fn speaks(stream: &TcpStream) -> bool {
    matches!(tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut [0])).await, Ok(Ok(1)))
}

/// Serves HTTP/1.1 on `stream`, once it has spoken.
pub async fn serve_http1<F, S>(stream: TcpStream, limits: Limits, phase: watch::Receiver<Phase>, answer: F)
where
    F: Fn(Request<Incoming>) -> S,
    S: Future<Output = Response<Full<Bytes>>>,
{
    if speaks(&stream).await {
        serve_spoken(stream, limits, phase, answer).await;
    }
}

/// The same for a door that is strict about line breaks.
pub(super) async fn serve_http1_heads<F, S>(stream: TcpStream, limits: Limits, phase: watch::Receiver<Phase>, answer: F)
where
    F: Fn(Request<Incoming>) -> S,
    S: Future<Output = Response<Full<Bytes>>>,
{
    if speaks(&stream).await {
        serve_spoken(Lines::new(stream), limits, phase, answer).await;
    }
}

/// The same for a stream that has spoken: `http1` alone, since hyper-util's builder for either protocol has no deadline before
/// it knows which one it is. The deadlines are those of [`Patient`].
pub(super) async fn serve_spoken<F, S>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
    answer: F,
) where
    F: Fn(Request<Incoming>) -> S,
    S: Future<Output = Response<Full<Bytes>>>,
{
    let whole = Whole::default();
    let service = service_fn(|request| {
        whole.tell();
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let serving = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(limits.header_bytes + REQUEST_LINE_BYTES)
        .serve_connection(TokioIo::new(Patient::of_heads(stream, whole.clone())), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopping(&mut phase) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}
