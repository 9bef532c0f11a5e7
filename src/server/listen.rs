//! Where connections come from: a listener of either kind, and what makes a loopback one safe. Knows no protocol.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::metrics::Listener;
use crate::server::report::Budget;

/// A listener whose connections one accept loop can serve.
pub trait Listen {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection that may come in. Dropping the future loses none.
    ///
    /// # Errors
    /// When the operating system refuses, out of file descriptors as a rule.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind the {listener} listener to {address}: {source}; free the address or set another in [server]")]
pub struct BindError {
    pub(super) listener: &'static str,
    pub(super) address: String,
    pub(super) source: io::Error,
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        loop {
            let (stream, peer) = Self::accept(self).await?;
            if !is_plausible(stream.local_addr()?.ip(), peer.ip()) {
                tell_of(peer, &STRANGERS, Clock::system().boot().as_secs());
                continue;
            }
            // Without it an answer may wait 40 ms for an acknowledgement.
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "TCP_NODELAY cannot be set");
            }
            return Ok(stream);
        }
    }
}

/// How often strangers are told of, at all doors together: who reaches one from elsewhere can send as many as it likes.
static STRANGERS: Budget = Budget::new();

fn tell_of(peer: SocketAddr, budget: &Budget, second: u64) {
    if let Some(withheld) = budget.take(second) {
        warn!(%peer, withheld, "a connection to loopback or a link-local address came from elsewhere and is closed");
    }
}

/// Binds `address`, and tells so.
pub(super) async fn bind(listener: Listener, address: SocketAddr) -> Result<TcpListener, BindError> {
    let bound = async {
        let socket = listen(address)?;
        let address = socket.local_addr()?;
        keep_on_this_machine(&socket, address.ip())?;
        info!(listener = listener.as_str(), address = %address, "listening");
        Ok(socket)
    };
    let told = |source| BindError { listener: listener.as_str(), address: address.to_string(), source };
    bound.await.map_err(told)
}

/// How many connections may wait to be accepted. A fleet that starts at once would fill tokio's 128, and who finds it full
/// tries again after a second; the kernel cuts it to `net.core.somaxconn`, which is 4,096 since Linux 5.4.
const BACKLOG: u32 = 4_096;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As tokio's own bind does: a restart does not wait for the last connections of its predecessor.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Where the kernel routes packets for 127.0.0.1 in from the network (`route_localnet`), a neighbour of the machine could
/// speak with a loopback door (CVE-2025-9039). With a time to live of 1 no answer passes a router, the first one of the
/// handshake included; accepted connections inherit it.
fn keep_on_this_machine(socket: &TcpListener, own: IpAddr) -> io::Result<()> {
    match own {
        IpAddr::V4(ip) if ip.is_loopback() => Ok(sockopt::set_ip_ttl(socket, 1)?),
        IpAddr::V6(ip) if ip.is_loopback() => Ok(sockopt::set_ipv6_unicast_hops(socket, Some(1))?),
        _ => Ok(()),
    }
}

/// Whether one who is at `peer` can be honest about it: only this machine itself reaches its loopback, and no router
/// forwards to a link-local address (RFC 3927 section 7), so that nobody from the public internet does. Pods of IPv6
/// clusters have public addresses, so that there is no such rule for them.
fn is_plausible(own: IpAddr, peer: IpAddr) -> bool {
    match (own.to_canonical(), peer.to_canonical()) {
        (own, peer) if own.is_loopback() => peer.is_loopback(),
        (IpAddr::V4(own), IpAddr::V4(peer)) if own.is_link_local() => {
            // RFC 6598: clusters give such addresses to pods.
            let is_shared = matches!(peer.octets(), [100, 64..=127, ..]);
            peer.is_private() || peer.is_link_local() || peer.is_loopback() || is_shared
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::sync::Arc;

    use super::*;

    /// The hops that an accepted connection's answers may make.
    async fn hops(address: &str) -> u8 {
        let listener = bind(Listener::Http, address.parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ip = if address.starts_with('[') { "[::1]" } else { "127.0.0.1" };
        let _caller = TcpStream::connect(format!("{ip}:{port}")).await.unwrap();
        let stream = Listen::accept(&listener).await.unwrap();
        match stream.local_addr().unwrap() {
            SocketAddr::V4(_) => u8::try_from(sockopt::ip_ttl(&stream).unwrap()).unwrap(),
            SocketAddr::V6(_) => sockopt::ipv6_unicast_hops(&stream).unwrap(),
        }
    }

    #[tokio::test]
    async fn answers_of_a_loopback_door_pass_no_router() {
        assert_eq!(hops("127.0.0.1:0").await, 1);
        assert_eq!(hops("[::1]:0").await, 1);
        assert!(hops("0.0.0.0:0").await > 1, "others reach far");
    }

    #[test]
    fn strangers_by_the_thousand_are_told_of_in_few_lines() {
        let written = Arc::new(tempfile::tempfile().unwrap());
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::clone(&written)).finish();
        let (budget, peer) = (Budget::new(), SocketAddr::from(([10, 0, 0, 7], 1)));
        tracing::subscriber::with_default(log, || {
            (0..1_000).for_each(|_| tell_of(peer, &budget, 7));
            tell_of(peer, &budget, 8);
        });
        let mut lines = String::new();
        (&*written).rewind().unwrap();
        (&*written).read_to_string(&mut lines).unwrap();
        let (told, last) = (lines.lines().count(), lines.lines().last().unwrap_or_default());
        assert!((2..=50).contains(&told) && last.contains("withheld=980"), "{told}: {last}");
    }

    #[test]
    fn only_what_is_near_reaches_loopback_and_link_local_addresses() {
        for (own, peer, plausible) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.9.9.9", true),
            ("::1", "::1", true),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", true),
            ("127.0.0.1", "10.0.0.7", false),
            ("::1", "fe80::7", false),
            ("::ffff:127.0.0.1", "::ffff:10.0.0.7", false),
            ("10.0.0.1", "10.0.0.7", true),
            ("10.0.0.1", "192.0.2.7", true),
            ("169.254.170.2", "169.254.170.2", true),
            ("169.254.170.2", "172.17.0.2", true),
            ("169.254.170.2", "100.64.0.9", true),
            ("169.254.170.2", "192.0.2.7", false),
            ("169.254.170.2", "100.128.0.9", false),
            ("fd00:ec2::23", "2001:db8::7", true),
        ] {
            assert_eq!(is_plausible(own.parse().unwrap(), peer.parse().unwrap()), plausible, "{own} from {peer}");
        }
    }
}
