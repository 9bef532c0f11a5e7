//! A kept-alive connection to a door: many requests, one socket, no client library that would try again.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::daemon::PATIENCE;
use super::http::{Reply, parse};

/// One connection.
pub struct Line {
    address: SocketAddr,
    stream: TcpStream,
    read: Vec<u8>,
}

impl Line {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, read: Vec::new() })
    }

    /// `GET path` as `token`'s bearer; an error when the connection ends before the whole answer.
    pub async fn ask(&mut self, path: &str, token: &str) -> io::Result<Reply> {
        self.send(path, token).await?;
        self.receive().await
    }

    /// Sends a request without waiting for its answer.
    pub async fn send(&mut self, path: &str, token: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {token}\r\n\r\n", self.address);
        self.stream.write_all(request.as_bytes()).await
    }

    /// The next answer.
    pub async fn receive(&mut self) -> io::Result<Reply> {
        let reading = async {
            loop {
                if let Some(reply) = self.take_reply() {
                    return Ok(reply);
                }
                if self.stream.read_buf(&mut self.read).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether some of an answer has come, and not yet all.
    pub fn is_amid_an_answer(&self) -> bool {
        !self.read.is_empty()
    }

    fn take_reply(&mut self) -> Option<Reply> {
        let end = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let head = parse(&String::from_utf8_lossy(&self.read[..end]));
        let length: usize = head.header("content-length").map_or(0, |length| length.parse().unwrap());
        if self.read.len() < end + length {
            return None;
        }
        let reply = parse(&String::from_utf8_lossy(&self.read[..end + length]));
        self.read.drain(..end + length);
        Some(reply)
    }
}
