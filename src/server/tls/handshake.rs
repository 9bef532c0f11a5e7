//! The beginning of a connection under TLS, and how long it may take. Knows no protocol above it.

use std::io;
use std::sync::Arc;

use http::HeaderMap;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Card, Tls};
use crate::error::{Error, Kind};
use crate::metrics::Listener;
use crate::server::House;
use crate::server::accept::FIRST_BYTE_TIMEOUT;

/// Shakes hands on `stream`, for as long as a first byte may take, and then waits as long for the first byte under TLS.
/// None for one who does not come so far. It is for the connection's own task: a handshake takes a millisecond of work,
/// and as many journeys as the caller likes.
pub(in crate::server) async fn greet(
    house: &House,
    listener: Listener,
    stream: TcpStream,
    tls: Arc<Tls>,
) -> Option<(TlsStream<TcpStream>, Card)> {
    let config = Arc::clone(if listener == Listener::Grpc { &tls.grpc } else { &tls.http });
    let shaken = timeout(FIRST_BYTE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await.ok()?;
    let mut stream = shaken.map_err(|error| tell(house, listener, &error)).ok()?;
    let spoken = timeout(FIRST_BYTE_TIMEOUT, stream.fill_buf()).await;
    let has_spoken = matches!(spoken, Ok(Ok(bytes)) if !bytes.is_empty());
    has_spoken.then(|| {
        let card = Card::shown(&stream, tls);
        (stream, card)
    })
}

/// One that just goes away, as probes do, is not worth a line.
fn tell(house: &House, listener: Listener, error: &io::Error) {
    if error.kind() == io::ErrorKind::InvalidData {
        let error = Error::new(Kind::InvalidRequest, format!("the TLS handshake failed: {error}"));
        house.reporter.tell(listener, &error, &house.trail(listener, &HeaderMap::new()));
    }
}
