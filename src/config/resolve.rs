//! From what was typed to what is used: defaults, ranges and the rules between keys. Knows no TOML and no file.
//!
//! Nothing stops at a fault. What cannot be used gets a stand-in or is left out, and has been told: the caller throws
//! the outcome away if anything was.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::config::defaults::*;
use crate::config::faults::Found;
use crate::config::field::Field;
use crate::config::{Config, forms, pools, profiles, raw};
use crate::{auth, broker, server, upstream};

/// `[limits]` and `[upstream]`, which concern several rooms.
struct Bounds {
    cold_hold: Duration,
    token_bytes: usize,
    server: server::Limits,
    broker: broker::Limits,
}

/// The configuration that `typed` amounts to.
pub(super) fn resolve(typed: raw::Document, found: &Found) -> Config {
    let bounds = bounds(typed.limits, typed.upstream, found);
    let (user_pools, claims) = pools::resolve(typed.user_pools, found);
    let all: Vec<_> = user_pools.iter().map(|pool| Arc::clone(&pool.id)).collect();
    let profiles = profiles::resolve(typed.profiles, &claims, &all, found);
    Config {
        upstream: upstream::Config {
            pool_regions: profiles::regions(&profiles),
            sts_regions: Vec::new(),
            own_identity: false,
            cognito_identity_endpoint_url: endpoint(typed.aws, found),
            sts_endpoint_url: None,
            call_timeout: bounds.broker.exchange_timeout,
        },
        auth: auth::Config { user_pools, token_bytes: bounds.token_bytes, access_tokens: false, verdicts: VERDICTS },
        server: doors(typed.server, &bounds, found),
        audit: None,
        broker: broker::Config {
            profiles,
            policy: policy(typed.refresh, found),
            limits: bounds.broker,
            sessions: DEFAULT_SESSIONS,
        },
    }
}

fn bounds(typed: raw::Limits, upstream: raw::Upstream, found: &Found) -> Bounds {
    let token_bytes = ranged(typed.token_bytes, &TOKEN_BYTES, found);
    let header_bytes = ranged(typed.header_bytes, &HEADER_BYTES, found);
    let sizes = token_bytes.sound(DEFAULT_TOKEN_BYTES).zip(header_bytes.sound(DEFAULT_HEADER_BYTES));
    if sizes.is_some_and(|(token, header)| header <= token) {
        let place = if header_bytes.is_given() { &header_bytes.place } else { &token_bytes.place };
        found.tell(place, "out of range: header_bytes must be more than token_bytes, since the token is in a header");
    }
    let milliseconds = |field, range, default| Duration::from_millis(ranged(field, range, found).or(default));
    Bounds {
        cold_hold: milliseconds(typed.cold_hold_ms, &COLD_HOLD_MS, DEFAULT_COLD_HOLD_MS),
        token_bytes: token_bytes.or(DEFAULT_TOKEN_BYTES),
        server: server::Limits {
            connections: ranged(typed.connections, &CONNECTIONS, found).or(DEFAULT_CONNECTIONS),
            header_bytes: header_bytes.or(DEFAULT_HEADER_BYTES),
        },
        broker: broker::Limits {
            entries: ranged(typed.entries, &ENTRIES, found).or(DEFAULT_ENTRIES),
            entries_per_subject: ranged(typed.entries_per_subject, &ENTRIES_PER_SUBJECT, found)
                .or(DEFAULT_ENTRIES_PER_SUBJECT),
            concurrency: ranged(upstream.concurrency, &CONCURRENCY, found).or(DEFAULT_CONCURRENCY),
            exchange_timeout: milliseconds(
                typed.exchange_timeout_ms,
                &EXCHANGE_TIMEOUT_MS,
                DEFAULT_EXCHANGE_TIMEOUT_MS,
            ),
        },
    }
}

fn doors(typed: raw::Server, bounds: &Bounds, found: &Found) -> server::Config {
    let doors = [
        ("http", typed.http.judged(found, forms::loopback), DEFAULT_HTTP),
        ("grpc", typed.grpc.judged(found, forms::loopback), DEFAULT_GRPC),
        ("admin", typed.admin.judged(found, forms::loopback), DEFAULT_ADMIN),
    ];
    for (index, later) in doors.iter().enumerate() {
        doors[..index].iter().for_each(|earlier| tell_shared(earlier, later, found));
    }
    let [http, grpc, admin] = doors.map(|(_, door, default)| door.or(default));
    server::Config {
        http,
        grpc,
        admin,
        limits: bounds.server,
        cold_hold: bounds.cold_hold,
        longest_hold: bounds.broker.exchange_timeout,
        drain: Duration::from_secs(ranged(typed.drain_seconds, &DRAIN_SECONDS, found).or(DEFAULT_DRAIN_SECONDS)),
        admin_token: None,
    }
}

type Door = (&'static str, Field<SocketAddr>, SocketAddr);

/// Tells if two doors have one address; the one that was typed is to blame, the later one if both were.
fn tell_shared(earlier: &Door, later: &Door, found: &Found) {
    let (Some(first), Some(second)) = (earlier.1.sound(earlier.2), later.1.sound(later.2)) else { return };
    if first != second || first.port() == 0 {
        return;
    }
    let (blamed, other) = if later.1.is_given() { (later, earlier) } else { (earlier, later) };
    let default = if other.1.is_given() { "" } else { ", which has it by default" };
    let message = format!("taken: this is the address of server.{}{default}; choose another port", other.0);
    found.tell(&blamed.1.place, message);
}

/// The address to call instead of AWS's own. The region of a call is that of its identity pool, so that `region` is
/// checked and has no effect yet.
fn endpoint(typed: raw::Aws, found: &Found) -> Option<Url> {
    typed.region.judged(found, forms::region);
    let [every, cognito_identity] = [typed.endpoint_url, typed.cognito_identity_endpoint_url]
        .map(|field| field.judged(found, |text| forms::url(&text)).given());
    cognito_identity.or(every)
}

fn policy(typed: raw::Refresh, found: &Found) -> broker::Policy {
    let most = LATEST_AT_MOST;
    let at = typed.at.judged(found, |at| {
        let sound = at > 0.0 && at < most;
        sound.then_some(at).ok_or(format!("out of range: more than 0 and less than latest_at, which is {most} at most"))
    });
    let latest_at = typed.latest_at.judged(found, |at| {
        let sound = at > 0.0 && at <= most;
        sound.then_some(at).ok_or(format!("out of range: more than at, and {most} at most"))
    });
    let jitter = typed.jitter.judged(found, |part| {
        let wanted = || format!("out of range: a number from {:?} to {:?}", JITTER.start(), JITTER.end());
        JITTER.contains(&part).then_some(part).ok_or_else(wanted)
    });
    if let (Some(early), Some(spread), Some(late)) =
        (at.sound(DEFAULT_AT), jitter.sound(DEFAULT_JITTER), latest_at.sound(DEFAULT_LATEST_AT))
        && early * (1.0 + spread) >= late
    {
        let blamed = [&at, &latest_at, &jitter].into_iter().find(|field| field.is_given()).unwrap_or(&at);
        found.tell(&blamed.place, "out of range: at * (1 + jitter) must be less than latest_at");
    }
    let min_remaining = ranged(typed.min_remaining_seconds, &MIN_REMAINING_SECONDS, found);
    broker::Policy {
        at: at.or(DEFAULT_AT),
        jitter: jitter.or(DEFAULT_JITTER),
        latest_at: latest_at.or(DEFAULT_LATEST_AT),
        min_remaining: Duration::from_secs(min_remaining.or(DEFAULT_MIN_REMAINING_SECONDS)),
    }
}

/// A whole number within `range`.
fn ranged<T>(field: Field<i64>, range: &RangeInclusive<T>, found: &Found) -> Field<T>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    field.judged(found, |number| {
        let number = T::try_from(number).ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("out of range: a whole number from {} to {}", range.start(), range.end()))
    })
}
