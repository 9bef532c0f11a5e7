//! A server that speaks no newer TLS than 1.0 or 1.1. It has only its first words, since nobody may go on after them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The server; it ends with the test.
pub struct OldServer {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    _task: JoinSet<()>,
}

impl OldServer {
    /// Of TLS 1.0 when `minor` is 1, of TLS 1.1 when it is 2.
    pub async fn start(minor: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let all = Arc::clone(&heard);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(answer) = greet(stream, minor).await {
                    all.lock().unwrap().push(answer);
                }
            }
        });
        Self { address, heard, _task: task }
    }

    /// What each caller said to the version, from its first record to the end.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }
}

/// Reads a ClientHello and answers it with a ServerHello of the old version.
async fn greet(mut stream: TcpStream, minor: u8) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut hello).await?;
    stream.write_all(&server_hello(minor)).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// RFC 4346, section 7.4.1.3: no session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
fn server_hello(minor: u8) -> Vec<u8> {
    let body = [&[3, minor][..], &[0x5a; 32], &[0, 0xc0, 0x13, 0]].concat();
    let handshake = [&[2, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, minor, 0, handshake.len() as u8][..], &handshake].concat()
}
