//! HTTP/2 as frames of our own making (RFC 9113, RFC 7541): what no client library would send.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a server says who is left.
pub const NO_ERROR: u32 = 0;

/// What it says when a rule was broken.
pub const PROTOCOL_ERROR: u32 = 1;

/// What it says when it has had enough.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// How long a server that is attacked may take to end it.
const PATIENCE: Duration = Duration::from_secs(20);

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields, each spelt out, in no table (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    number(bytes, 7, 0, text.len());
    bytes.extend(text.as_bytes());
}

/// A whole number behind a prefix of so many bits (RFC 7541 section 5.1).
pub fn number(bytes: &mut Vec<u8>, bits: u32, first: u8, mut number: usize) {
    let most = (1_usize << bits) - 1;
    if number < most {
        return bytes.push(first | u8::try_from(number).unwrap());
    }
    bytes.push(first | u8::try_from(most).unwrap());
    number -= most;
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
}

/// Digits as Huffman's code has them (RFC 7541 appendix B), with their length before them.
pub fn digits(number: u32) -> Vec<u8> {
    let codes = number.to_string().into_bytes();
    let codes = codes.iter().map(|digit| match u32::from(digit - b'0') {
        few @ 0..=2 => (few, 5),
        many => (0b01_0110 + many, 6),
    });
    let (bits, length) =
        codes.fold((0, 0_usize), |(bits, length), (code, more)| ((bits << more) | code, length + more));
    // The end is filled with ones.
    let bytes = length.div_ceil(8);
    let free = 8 * bytes - length;
    let bits = (bits << free) | ((1 << free) - 1);
    let text = u32::to_be_bytes(bits).into_iter().skip(4 - bytes);
    [0x80 | u8::try_from(bytes).unwrap()].into_iter().chain(text).collect()
}

/// The gRPC status in the first block of fields of a connection, where it is spelt out.
pub fn grpc_status(head: &[u8]) -> Option<u32> {
    const NAME: &[u8] = &[0x88, 0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];
    let value = head.windows(NAME.len()).position(|name| name == NAME)? + NAME.len();
    (0..=16).find(|status| head[value..].starts_with(&digits(*status)))
}

/// The fields of a call, and whatever more.
pub fn call(address: SocketAddr, more: &[(&str, &str)]) -> Vec<u8> {
    let authority = address.to_string();
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", super::caller::GET_CREDENTIALS),
        (":authority", authority.as_str()),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.extend(more);
    block(&fields)
}

/// How a connection came to its end.
#[derive(Debug, Default)]
pub struct Ended {
    /// Whether the server closed it.
    pub closed: bool,
    /// The code of its GOAWAY, if it sent one.
    pub goaway: Option<u32>,
    /// The streams that it reset, with the codes.
    pub resets: Vec<(u32, u32)>,
    /// The blocks of fields that it answered with.
    pub heads: Vec<Vec<u8>>,
    /// Bytes of the messages that it answered with.
    pub data: usize,
    pub took: Duration,
    /// Rounds of the flood that were sent.
    pub rounds: usize,
}

impl Ended {
    fn take(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        let code = |at: usize| payload.get(at..at + 4).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        match kind {
            GOAWAY => self.goaway = self.goaway.or(code(4)),
            RST_STREAM => self.resets.extend(code(0).map(|code| (stream, code))),
            HEADERS => self.heads.push(payload.to_vec()),
            DATA => self.data += payload.len(),
            _ => {}
        }
    }
}

/// Opens a connection with these settings, sends what `round` makes, up to `rounds` times, and reads all along. Then waits
/// for the end: for `wait`, or until there have been `enough` answers and resets.
pub async fn flood(
    address: SocketAddr,
    settings: &[u8],
    rounds: usize,
    (wait, enough): (Duration, usize),
    round: impl Fn(u32) -> Vec<u8>,
) -> Ended {
    let began = Instant::now();
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut ended = Ended::default();
    let (sent, mut done_writing) = (AtomicUsize::new(0), false);
    let writing = async {
        // One who is cut off has seen enough.
        writer.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await.ok();
        for number in 0..rounds {
            if writer.write_all(&round(u32::try_from(number).unwrap())).await.is_err() {
                break;
            }
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut writing = std::pin::pin!(writing);
    let (mut bytes, mut until) = (Vec::new(), None::<Instant>);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let left = until.map_or(PATIENCE, |until| until.saturating_duration_since(Instant::now()));
        tokio::select! {
            read = reader.read(&mut buffer) => match read {
                Ok(length @ 1..) => {
                    bytes.extend_from_slice(&buffer[..length]);
                    take_frames(&mut bytes, &mut ended);
                    if done_writing && ended.heads.len() + ended.resets.len() >= enough {
                        break;
                    }
                }
                _ => {
                    ended.closed = true;
                    break;
                }
            },
            () = writing.as_mut(), if !done_writing => {
                done_writing = true;
                until = Some(Instant::now() + wait);
            }
            () = tokio::time::sleep(left) => break,
        }
    }
    (ended.took, ended.rounds) = (began.elapsed(), sent.load(Ordering::Relaxed));
    ended
}

fn take_frames(bytes: &mut Vec<u8>, ended: &mut Ended) {
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 9) {
        let length = (usize::from(head[0]) << 16) | (usize::from(head[1]) << 8) | usize::from(head[2]);
        let (kind, stream) = (head[3], u32::from_be_bytes(head[5..9].try_into().unwrap()));
        let Some(payload) = bytes.get(at + 9..at + 9 + length) else { break };
        ended.take(kind, stream, payload);
        at += 9 + length;
    }
    bytes.drain(..at);
}
