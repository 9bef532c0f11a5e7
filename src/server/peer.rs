//! Who is at the other end of a connection, as far as the operating system knows. Pure; knows no token.

use std::fmt;
use std::net::SocketAddr;

use rustix::process::getuid;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Of a TCP connection.
    Address(SocketAddr),
    /// Of a Unix socket: whom the kernel says the peer's process ran as when it connected (`SO_PEERCRED`, unix(7)). The
    /// group is the primary one; supplementary groups are not told.
    Process { uid: u32, gid: u32 },
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
