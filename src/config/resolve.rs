//! From what was typed to what is used: defaults, ranges and the rules between keys. Knows no TOML and no file.
//!
//! Nothing stops at a fault. What cannot be used gets a stand-in or is left out, and has been told: the caller throws
//! the outcome away if anything was.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;
use zeroize::Zeroizing;

use crate::config::defaults::*;
use crate::config::faults::Found;
use crate::config::field::Field;
use crate::config::profiles::Ground;
use crate::config::{Config, ReadFile, Typed, budget, doors, forms, logins, pools, profiles, raw};
use crate::{audit, auth, broker, server, trace, upstream};

/// `[aws]`
struct Aws {
    region: Field<String>,
    cognito_identity: Option<Url>,
    cognito_idp: Option<Url>,
    sts: Option<Url>,
}

/// `[limits]` and `[upstream]`, which concern several rooms.
pub(super) struct Bounds {
    pub(super) cold_hold: Duration,
    token_bytes: usize,
    /// How many entries: it depends on more than itself.
    entries: Field<usize>,
    pub(super) server: server::Limits,
    pub(super) broker: broker::Limits,
}

/// The configuration that `typed` amounts to; `read` reads the files that it names.
pub(super) fn resolve(typed: raw::Document, read: ReadFile<'_>, found: &Found) -> Config {
    let mut bounds = bounds(typed.limits, typed.upstream.concurrency, found);
    let rates = budget::Typed::judge(typed.upstream.rates, found);
    let (user_pools, claims) = pools::resolve(typed.user_pools, read, found);
    let all: Vec<_> = user_pools.iter().map(|pool| Arc::clone(&pool.id)).collect();
    let aws = aws(typed.aws, found);
    let ground = Ground { pools: &claims, all: &all, region: &aws.region };
    let profiles = profiles::resolve(typed.profiles, &ground, found);
    let (policy, is_sound) = policy(typed.refresh, found);
    bounds.broker.entries = rates.entries(&bounds.entries, &profiles, Some(&policy).filter(|_| is_sound), found);
    let (token_file, admin_token) = admin_token(typed.admin, read, found).unzip();
    let other_files: Vec<_> = claims.secrets.files.values().chain(&token_file).cloned().collect();
    let ground = logins::Ground { user_pools: &user_pools, profiles: &profiles, read, other_files: &other_files };
    let configured = logins::configured_sessions(typed.configured_sessions, &ground, found);
    let doors = doors::resolve(typed.server, &bounds, read, found);
    Config {
        upstream: upstream::Config {
            pool_regions: profiles.pool_regions(),
            sts_regions: profiles.sts_regions(),
            own_identity: profiles.own_identity(),
            cognito_identity_endpoint_url: aws.cognito_identity,
            sts_endpoint_url: aws.sts,
            call_timeout: bounds.broker.exchange_timeout,
            rates: rates.rates(),
        },
        user_pools: upstream::UserPoolsConfig {
            regions: pools::regions(&user_pools),
            endpoint_url: aws.cognito_idp,
            client_secrets: claims.secrets.by_client,
            call_timeout: TRADE_TIMEOUT,
        },
        auth: auth::Config {
            user_pools,
            token_bytes: bounds.token_bytes,
            access_tokens: profiles.access_tokens(),
            verdicts: verdicts(bounds.broker.entries),
        },
        server: server::Config { admin_token, ..doors.server },
        state: state(typed.state_dir, found),
        audit: audit_log(typed.audit, found),
        tracing: tracing(typed.tracing, found),
        broker: broker::Config {
            profiles: profiles.resolved,
            policy,
            limits: bounds.broker,
            sessions: sessions(typed.sessions, found),
            configured_sessions: configured.sessions,
        },
        typed: Typed {
            allow_non_loopback: doors.allow_non_loopback,
            tls_files: doors.tls_files,
            token_file,
            templates: profiles.texts,
            client_secret_files: claims.secrets.files,
            authorization_files: configured.authorization_files,
        },
    }
}

/// How many verdicts on tokens are remembered beside so many entries. No key of the file: it trades nothing but memory.
fn verdicts(entries: usize) -> NonZeroUsize {
    NonZeroUsize::new(entries / ENTRIES_PER_VERDICT).map_or(LEAST_VERDICTS, |some| some.max(LEAST_VERDICTS))
}

fn bounds(typed: raw::Limits, concurrency: Field<i64>, found: &Found) -> Bounds {
    let token_bytes = typed.token_bytes.ranged(&TOKEN_BYTES, found);
    let header_bytes = typed.header_bytes.ranged(&HEADER_BYTES, found);
    let sizes = token_bytes.sound(DEFAULT_TOKEN_BYTES).zip(header_bytes.sound(DEFAULT_HEADER_BYTES));
    if sizes.is_some_and(|(token, header)| header <= token) {
        let place = if header_bytes.is_given() { &header_bytes.place } else { &token_bytes.place };
        found.tell(place, "out of range: header_bytes must be more than token_bytes, since the token is in a header");
    }
    let floods = broker::Floods {
        misses_per_subject: typed
            .misses_per_subject_per_second
            .ranged(&FLOOD, found)
            .or(DEFAULT_FLOODS.misses_per_subject),
        failures_per_peer: typed
            .failures_per_peer_per_second
            .ranged(&FLOOD, found)
            .or(DEFAULT_FLOODS.failures_per_peer),
    };
    let milliseconds =
        |field: Field<i64>, range, default| Duration::from_millis(field.ranged(range, found).or(default));
    Bounds {
        cold_hold: milliseconds(typed.cold_hold_ms, &COLD_HOLD_MS, DEFAULT_COLD_HOLD_MS),
        token_bytes: token_bytes.or(DEFAULT_TOKEN_BYTES),
        entries: typed.entries.ranged(&ENTRIES, found),
        server: server::Limits {
            connections: typed.connections.ranged(&CONNECTIONS, found).or(DEFAULT_CONNECTIONS),
            header_bytes: header_bytes.or(DEFAULT_HEADER_BYTES),
        },
        broker: broker::Limits {
            entries: DEFAULT_ENTRIES,
            entries_per_subject: typed
                .entries_per_subject
                .ranged(&ENTRIES_PER_SUBJECT, found)
                .or(DEFAULT_ENTRIES_PER_SUBJECT),
            floods,
            concurrency: concurrency.ranged(&CONCURRENCY, found).or(DEFAULT_CONCURRENCY),
            exchange_timeout: milliseconds(
                typed.exchange_timeout_ms,
                &EXCHANGE_TIMEOUT_MS,
                DEFAULT_EXCHANGE_TIMEOUT_MS,
            ),
        },
    }
}

/// The region of STS, and the addresses to call instead of AWS's own. A service's own address goes before the one for
/// all. Identity pools are called in their own regions.
fn aws(typed: raw::Aws, found: &Found) -> Aws {
    let [every, cognito_identity, cognito_idp, sts] = [
        typed.endpoint_url,
        typed.cognito_identity_endpoint_url,
        typed.cognito_idp_endpoint_url,
        typed.sts_endpoint_url,
    ]
    .map(|field| field.judged(found, |text| forms::url(&text)).given());
    Aws {
        region: typed.region.judged(found, forms::region),
        cognito_identity: cognito_identity.or_else(|| every.clone()),
        cognito_idp: cognito_idp.or_else(|| every.clone()),
        sts: sts.or(every),
    }
}

fn sessions(typed: raw::Sessions, found: &Found) -> broker::SessionLimits {
    broker::SessionLimits {
        all: typed.max.ranged(&SESSIONS, found).or(DEFAULT_SESSIONS),
        per_subject: typed.max_per_subject.ranged(&SESSIONS_PER_SUBJECT, found).or(DEFAULT_SESSIONS_PER_SUBJECT),
        idle: Duration::from_secs(typed.idle_seconds.ranged(&IDLE_SECONDS, found).or(DEFAULT_IDLE_SECONDS)),
        accept_refresh_tokens: typed.accept_refresh_tokens.or(false),
    }
}

fn state(typed: Field<String>, found: &Found) -> Option<PathBuf> {
    let dir = typed.judged(found, |text| match text.as_str() {
        "" => Err("no directory: a path is wanted"),
        _ => Ok(text.into()),
    });
    dir.given()
}

fn audit_log(typed: raw::Audit, found: &Found) -> Option<audit::Config> {
    let destination = typed.file.judged(found, |text| match text.as_str() {
        "" => Err("no file: a path is wanted, or stdout"),
        "stdout" => Ok(audit::Destination::Stdout),
        _ => Ok(audit::Destination::File(text.into())),
    });
    let off = destination.is_absent().then_some("there is no audit log without file");
    let subject = typed.subject.unless(off, found).judged(found, |text| forms::choice(&text, AUDIT_SUBJECTS));
    let hashed_subjects = subject.or(false);
    Some(audit::Config { destination: destination.given()?, hashed_subjects })
}

/// Where spans go, if anywhere.
fn tracing(typed: raw::Tracing, found: &Found) -> Option<trace::Config> {
    let endpoint = typed.otlp_endpoint.judged(found, |text| forms::url(&text));
    let off = endpoint.is_absent().then_some("nothing is traced without otlp_endpoint");
    let ratio = typed.sample_ratio.unless(off, found).judged(found, |ratio| {
        let wanted = || format!("out of range: a number from {:?} to {:?}", SAMPLE_RATIO.start(), SAMPLE_RATIO.end());
        SAMPLE_RATIO.contains(&ratio).then_some(ratio).ok_or_else(wanted)
    });
    let sample_ratio = ratio.or(DEFAULT_SAMPLE_RATIO);
    Some(trace::Config { otlp_endpoint: endpoint.given()?, sample_ratio })
}

/// The name of the file, and the token that it holds. The token is told by no fault.
fn admin_token(typed: raw::Admin, read: ReadFile<'_>, found: &Found) -> Option<(String, SecretString)> {
    let file = typed.token_file.judged(found, |path| {
        let bytes = read(Path::new(&path)).map_err(|error| format!("the file cannot be read: {error}"))?;
        let token = forms::secret(&Zeroizing::new(bytes))?;
        Ok::<_, String>((path, token))
    });
    file.given()
}

/// The schedule, and whether all that it is made of is sound.
fn policy(typed: raw::Refresh, found: &Found) -> (broker::Policy, bool) {
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
    let min_remaining = typed.min_remaining_seconds.ranged(&MIN_REMAINING_SECONDS, found);
    let is_sound = latest_at.sound(DEFAULT_LATEST_AT).is_some() && min_remaining.sound(0).is_some();
    let policy = broker::Policy {
        at: at.or(DEFAULT_AT),
        jitter: jitter.or(DEFAULT_JITTER),
        latest_at: latest_at.or(DEFAULT_LATEST_AT),
        min_remaining: Duration::from_secs(min_remaining.or(DEFAULT_MIN_REMAINING_SECONDS)),
    };
    (policy, is_sound)
}
