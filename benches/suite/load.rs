//! Requests by the thousand from one thread, over plain blocking sockets: the load costs what it costs, in a process that
//! is not measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The longest answer.
const ANSWER_BYTES: usize = 8_192;

/// Connections that are kept, each with a request under way at the same time.
pub struct Kept(Vec<TcpStream>);

impl Kept {
    pub fn open(address: SocketAddr, number: usize) -> Self {
        Self((0..number).map(|_| open(address)).collect())
    }

    /// `rounds` times a request on every connection; the requests take turns. Returns how many answers came.
    pub fn ask(&mut self, requests: &[Vec<u8>], rounds: usize) -> usize {
        let mut next = requests.iter().cycle();
        for _ in 0..rounds {
            for stream in &mut self.0 {
                stream.write_all(next.next().unwrap()).unwrap();
            }
            for stream in &mut self.0 {
                assert_eq!(answer(stream).0, 200);
            }
        }
        rounds * self.0.len()
    }
}

/// A connection for each request, as AWS SDKs do it. Returns how many answers came.
pub fn anew(address: SocketAddr, requests: &[Vec<u8>], number: usize) -> usize {
    for request in requests.iter().cycle().take(number) {
        assert_eq!(once(address, request).0, 200);
    }
    number
}

/// One request on a connection of its own: the status, and the whole answer's length.
pub fn once(address: SocketAddr, request: &[u8]) -> (u16, usize) {
    let mut stream = open(address);
    stream.write_all(request).unwrap();
    answer(&mut stream)
}

fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The same, with the body.
pub fn told(address: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = open(address);
    stream.write_all(request).unwrap();
    let mut buffer = [0; ANSWER_BYTES];
    let (status, whole) = read(&mut stream, &mut buffer);
    (status, String::from_utf8_lossy(&buffer[..whole]).into_owned())
}

/// Reads one answer to its end: its status, and its length.
fn answer(stream: &mut TcpStream) -> (u16, usize) {
    read(stream, &mut [0; ANSWER_BYTES])
}

fn read(stream: &mut TcpStream, buffer: &mut [u8; ANSWER_BYTES]) -> (u16, usize) {
    let mut held = 0;
    loop {
        let read = stream.read(&mut buffer[held..]).unwrap();
        assert!(read > 0, "the server hung up");
        held += read;
        let text = &buffer[..held];
        let Some(head) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let lines = std::str::from_utf8(&text[..head]).unwrap();
        let length =
            lines.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let whole = head + 4 + length.unwrap_or(0_usize);
        if held >= whole {
            return (lines[9..12].parse().unwrap(), whole);
        }
    }
}
