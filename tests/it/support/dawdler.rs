//! Callers who are slow, or silent.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::daemon::PATIENCE;

/// What a dawdler says at once, and what it says again and again after that.
pub type Speech = (&'static [u8], &'static [u8]);

/// Says nothing, or half a request, be it the second, on HTTP/1.1.
pub const BY_HTTP: [Speech; 4] = [
    (b"", b""),
    (b"GET /v1/cred", b""),
    (b"GET /v1/credentials HTTP/1.1\r\nHost: local", b"h"),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /", b"h"),
];

/// Says nothing, or half a preface, on HTTP/2.
pub const BY_GRPC: [Speech; 2] = [(b"", b""), (b"PRI * HTTP/2.0", b"")];

/// Says a little now and then on `stream`, and waits to be sent away; says after how long that was.
pub async fn is_sent_away(mut stream: impl AsyncRead + AsyncWrite + Unpin, (first, then): Speech) -> Duration {
    let came = Instant::now();
    stream.write_all(first).await.unwrap();
    let mut buffer = [0; 1_024];
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => if !matches!(read, Ok(1..)) { return came.elapsed() },
            () = tokio::time::sleep(Duration::from_millis(400)) => {
                if !then.is_empty() && stream.write_all(then).await.is_err() { return came.elapsed() }
            }
        }
        assert!(came.elapsed() < PATIENCE, "never sent away: {first:?}");
    }
}
