//! HTTP/1.1 as bytes: tests see what is on the wire, and can send what no client would.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::daemon::PATIENCE;

/// One response, or as much as came of it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 0 when the connection was closed without a response.
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// The header with this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// `GET path` with `headers`, on a connection of its own.
pub async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    send(address, &request("GET", path, address, headers)).await
}

/// `GET path` as `token`'s bearer.
pub async fn credentials(address: SocketAddr, path: &str, token: &str) -> Reply {
    get(address, path, &[("Authorization", token)]).await
}

/// A request's text.
pub fn request(method: &str, path: &str, address: SocketAddr, headers: &[(&str, &str)]) -> String {
    let own: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{own}\r\n")
}

/// Sends `bytes` as they are and reads until the peer closes.
pub async fn send(address: SocketAddr, bytes: &str) -> Reply {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        // A peer that refuses while we still write closes on us; what it said is read all the same.
        stream.write_all(bytes.as_bytes()).await.ok();
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..length]);
        }
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("no answer within patience");
    parse(&String::from_utf8_lossy(&answer.unwrap_or_default()))
}

/// An answer taken apart.
pub(super) fn parse(answer: &str) -> Reply {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}
