//! Who is at the other end of a connection, as far as the operating system knows. Pure; knows no token.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rustix::process::getuid;

use crate::model::Presenter;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Of a TCP connection.
    Address(SocketAddr),
    /// Of a Unix socket: whom the kernel says the peer's process ran as when it connected (`SO_PEERCRED`, unix(7)). The
    /// group is the primary one; supplementary groups are not told.
    Process { uid: u32, gid: u32 },
}

/// The bits of an IPv6 address that a network gives to a machine, or to a site.
const NETWORK: u128 = !0 << 64;

impl Peer {
    /// Who this is when tokens that fail are counted.
    pub(super) fn presenter(self) -> Presenter {
        match self {
            Self::Process { uid, .. } => Presenter::User(uid),
            Self::Address(address) => match address.ip().to_canonical() {
                ip if ip.is_loopback() => Presenter::Connection(address),
                IpAddr::V6(ip) => Presenter::Host(Ipv6Addr::from(u128::from(ip) & NETWORK).into()),
                ip @ IpAddr::V4(_) => Presenter::Host(ip),
            },
        }
    }
}

/// Whose processes may use the Unix socket: those of one of these users, or of one of these primary groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalPeers {
    /// None for the broker's own user and root.
    pub uids: Option<Vec<u32>>,
    /// Primary groups.
    pub gids: Vec<u32>,
}

impl LocalPeers {
    /// Whether `peer` may ask. An address may: its door has other guards.
    pub(super) fn admit(&self, peer: Peer) -> bool {
        let Peer::Process { uid, gid } = peer else { return true };
        let is_ours = match &self.uids {
            Some(uids) => uids.contains(&uid),
            None => uid == 0 || uid == getuid().as_raw(),
        };
        is_ours || self.gids.contains(&gid)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Process { uid, .. } => write!(f, "uid:{uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_each_connection_is_somebody_and_elsewhere_each_machine() {
        let of = |address: &str| Peer::Address(address.parse().unwrap()).presenter();
        assert_ne!(of("127.0.0.1:1"), of("127.0.0.1:2"));
        assert_ne!(of("[::1]:1"), of("[::1]:2"));
        assert_eq!(of("10.0.0.7:1"), of("10.0.0.7:2"));
        assert_eq!(of("[::ffff:10.0.0.7]:1"), of("10.0.0.7:2"));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:0:0:2]:2"), "one network");
        assert_ne!(of("[2001:db8:0:1::1]:1"), of("[2001:db8:0:2::1]:1"));
        let process = |uid, gid| Peer::Process { uid, gid }.presenter();
        assert_eq!(process(7, 1), process(7, 2));
        assert_ne!(process(7, 1), process(8, 1));
    }

    #[test]
    fn a_user_or_a_group_that_is_named_may_ask() {
        let own = getuid().as_raw();
        let peer = |uid, gid| Peer::Process { uid, gid };
        let nobody_named = LocalPeers::default();
        assert!(nobody_named.admit(peer(0, 7)) && nobody_named.admit(peer(own, 7)));
        assert!(!nobody_named.admit(peer(own + 1, 0)), "root's group is not root");
        let named = LocalPeers { uids: Some(vec![1000]), gids: vec![2000] };
        assert!(named.admit(peer(1000, 7)) && named.admit(peer(7, 2000)));
        assert!(!named.admit(peer(0, 0)) && !named.admit(peer(2000, 1000)), "who is not named may not");
        let none = LocalPeers { uids: Some(Vec::new()), gids: Vec::new() };
        assert!(!none.admit(peer(0, 0)) && none.admit(Peer::Address(([127, 0, 0, 1], 1).into())));
    }
}
