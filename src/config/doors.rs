//! `[server]`: where the doors are, and who may come in. Knows no socket.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::defaults::*;
use crate::config::faults::Found;
use crate::config::field::{Field, Numbers};
use crate::config::resolve::Bounds;
use crate::config::tls::{self, TlsFiles};
use crate::config::{ReadFile, forms, raw};
use crate::server;

/// What was typed of the doors and they do not keep.
pub(super) struct Doors {
    pub(super) server: server::Config,
    pub(super) allow_non_loopback: bool,
    pub(super) tls_files: Option<TlsFiles>,
}

/// What the doors have in force; the admin token is not of this table.
pub(super) fn resolve(typed: raw::Server, bounds: &Bounds, read: ReadFile<'_>, found: &Found) -> Doors {
    let tls = tls::resolve(typed.tls, read, found);
    // One that is at fault has been told, and is not missing.
    let open = Open { allowed: typed.allow_non_loopback.or(false), encrypted: !tls.is_absent() };
    let judge = |field: Field<String>| field.judged(found, |text| open.judge(text));
    let doors = [
        ("http", judge(typed.http), Some(DEFAULT_HTTP)),
        ("grpc", judge(typed.grpc), Some(DEFAULT_GRPC)),
        ("admin", typed.admin.judged(found, forms::loopback), Some(DEFAULT_ADMIN)),
        ("metrics", typed.metrics.judged(found, forms::address), None),
    ];
    for (index, later) in doors.iter().enumerate() {
        doors[..index].iter().for_each(|earlier| tell_shared(earlier, later, found));
    }
    let [(_, http, _), (_, grpc, _), (_, admin, _), (_, metrics, _)] = doors;
    let grpc_uds = typed.grpc_uds.judged(found, forms::socket);
    let alone = grpc_uds.is_absent().then_some("there is no grpc_uds");
    let ids = |field: Field<Numbers>| -> Option<Vec<u32>> {
        let ids = field.unless(alone, found).given()?;
        Some(ids.into_iter().filter_map(|id| id.ranged(&IDS, found).given()).collect())
    };
    let grpc_uds_peers = server::LocalPeers {
        uids: ids(typed.grpc_uds_allow_uids),
        gids: ids(typed.grpc_uds_allow_gids).unwrap_or_default(),
    };
    let (tls, tls_files) = tls.given().unzip();
    let server = server::Config {
        http: http.or(DEFAULT_HTTP),
        grpc: grpc.or(DEFAULT_GRPC),
        admin: admin.or(DEFAULT_ADMIN),
        metrics: metrics.given(),
        grpc_uds: grpc_uds.given(),
        grpc_uds_peers,
        tls,
        grpc_reflection: typed.grpc_reflection.or(false),
        limits: bounds.server,
        cold_hold: bounds.cold_hold,
        longest_hold: bounds.broker.exchange_timeout,
        drain: Duration::from_secs(typed.drain_seconds.ranged(&DRAIN_SECONDS, found).or(DEFAULT_DRAIN_SECONDS)),
        admin_token: None,
    };
    Doors { server, allow_non_loopback: open.allowed, tls_files }
}

/// What was said of doors that others than this machine reach.
struct Open {
    allowed: bool,
    encrypted: bool,
}

impl Open {
    /// Where a door is that hands out credentials: on loopback, or elsewhere if that was asked for, and under TLS. The
    /// addresses that SDKs take over plain http are not routed, so that they need no TLS.
    fn judge(&self, text: String) -> Result<SocketAddr, &'static str> {
        let address = forms::address(text)?;
        let encrypted = self.encrypted || LINK_LOCAL.contains(&address.ip());
        match (address.ip().is_loopback(), self.allowed, encrypted) {
            (true, _, _) | (_, true, true) => Ok(address),
            (_, false, true) => {
                Err("beyond loopback: set allow_non_loopback = true too, or take an address of 127.0.0.0/8 or [::1]")
            }
            (_, true, false) => Err("beyond loopback: set tls too, or take an address of 127.0.0.0/8 or [::1]"),
            (_, false, false) => Err(
                "beyond loopback: set tls and allow_non_loopback = true, or take an address of 127.0.0.0/8 or [::1]",
            ),
        }
    }
}

/// Its key, what was typed, and where it is otherwise, if anywhere.
type Door = (&'static str, Field<SocketAddr>, Option<SocketAddr>);

/// Tells if two doors have one address; the one that was typed is to blame, the later one if both were.
fn tell_shared(earlier: &Door, later: &Door, found: &Found) {
    let place = |door: &Door| match door.2 {
        Some(default) => door.1.sound(default),
        None => door.1.as_given().copied(),
    };
    let (Some(first), Some(second)) = (place(earlier), place(later)) else { return };
    if first != second || first.port() == 0 {
        return;
    }
    let (blamed, other) = if later.1.is_given() { (later, earlier) } else { (earlier, later) };
    let default = if other.1.is_given() { "" } else { ", which has it by default" };
    let message = format!("taken: this is the address of server.{}{default}; choose another port", other.0);
    found.tell(&blamed.1.place, message);
}
