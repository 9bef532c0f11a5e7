//! Every metric: its name, its help and its labels. Handles are passed in, never global; labels are enums, so that no
//! user, token, role or path can become a series.

mod maker;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::clock::{Clock, epoch_seconds};
use crate::tally::Tally;

use maker::Maker;

/// Declares an enum whose variants are label values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each variant is named as its label")]
        pub enum $name { $($variant),+ }

        impl $name {
            /// Every value, so that its series exist from the start.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The value of the label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

labels!(
    /// Where a request came in.
    Listener { Http = "http", Grpc = "grpc", GrpcUds = "grpc_uds", Admin = "admin", Metrics = "metrics" }
);
labels!(
    /// How a request ended.
    Outcome {
        Ok = "ok", NearExpiry = "near_expiry", Unauthorized = "unauthorized", Forbidden = "forbidden",
        NotFound = "not_found", Invalid = "invalid", Limited = "limited", Unavailable = "unavailable",
        Error = "error",
    }
);
labels!(
    /// Calls to AWS, by AWS's own names, and fetches of key sets.
    Operation {
        GetId = "GetId", GetCredentialsForIdentity = "GetCredentialsForIdentity", GetOpenIdToken = "GetOpenIdToken",
        AssumeRoleWithWebIdentity = "AssumeRoleWithWebIdentity", AssumeRole = "AssumeRole",
        GetTokensFromRefreshToken = "GetTokensFromRefreshToken", RevokeToken = "RevokeToken", Jwks = "jwks",
    }
);
labels!(
    /// How a call to AWS, a refresh or a fetch ended.
    Result { Ok = "ok", Denied = "denied", Throttled = "throttled", Unavailable = "unavailable", Invalid = "invalid" }
);
labels!(
    /// What became of a configuration that was read while running.
    Reload { Ok = "ok", Invalid = "invalid" }
);
labels!(
    /// What the verifier found.
    Verification {
        Ok = "ok", Cached = "cached", Malformed = "malformed", Algorithm = "algorithm",
        UnknownKey = "unknown_key", Signature = "signature", Expired = "expired", Issuer = "issuer",
        Audience = "audience", TokenUse = "token_use", TooLarge = "too_large",
    }
);
labels!(
    /// Whether a lookup found live credentials.
    Lookup { Hit = "hit", Miss = "miss" }
);

/// The handles. One value per process, or per test.
pub struct Metrics {
    version: String,
    registry: Registry,
    /// Whether `/readyz` says so: 1 or 0.
    pub ready: IntGauge,
    /// By listener and outcome: a label is looked up once, not with each request.
    requests: Vec<Vec<IntCounter>>,
    request_duration: HistogramVec,
    hot: Hot,
    lookups: IntCounterVec,
    /// Replies with less left than `min_remaining_seconds`.
    pub near_expiry_served: IntCounter,
    upstream_requests: IntCounterVec,
    upstream_duration: HistogramVec,
    upstream_in_flight: IntGauge,
    refreshes: IntCounterVec,
    refresh_lag: Histogram,
    /// Entries that hold credentials.
    pub entries: IntGauge,
    /// What the entry in use with the least time left has left.
    pub min_remaining: Gauge,
    /// Sessions that are open.
    pub sessions: IntGauge,
    verifications: IntCounterVec,
    jwks_fetches: IntCounterVec,
    config_reloads: IntCounterVec,
    /// When the key set that is longest without a fetch was fetched.
    pub jwks_last_success: IntGauge,
    certificate_expiry: Gauge,
    /// Lines of the audit log that were lost.
    pub audit_dropped: IntCounter,
    log_dropped: IntCounter,
    /// Tells how many lines of the log were lost so far.
    lost_lines: Mutex<fn() -> u64>,
    /// Writes of the identity map that failed.
    pub state_write_failures: IntCounter,
    /// Panics caught in tasks.
    pub panics: IntCounter,
    /// Replies of AWS for another identity than the one asked for.
    pub identity_mismatch: IntCounter,
}

/// What every hit counts, without a lookup of labels and without a place that processors share.
#[derive(Default)]
struct Hot {
    /// By listener; a series is there from the first request on.
    durations: [OnceLock<Histogram>; Listener::ALL.len()],
    lookups: Tally<{ Lookup::ALL.len() }>,
    verifications: Tally<{ Verification::ALL.len() }>,
}

const REQUEST_BUCKETS: &[f64] = &[0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 0.9, 1.0, 2.5, 5.0];
const UPSTREAM_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const LAG_BUCKETS: &[f64] = &[0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0];

impl Metrics {
    /// Registers everything on a registry of its own.
    ///
    /// # Errors
    /// When two metrics have one name, which only a change of this file can bring about.
    pub fn new(version: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let metrics = Self {
            ready: make.gauge("ready", "Whether it is ready, as /readyz says: 1 or 0.")?,
            requests: by_outcome(&make)?,
            hot: Hot::default(),
            request_duration: make.histograms(
                "request_duration_seconds",
                "Time to answer a request.",
                "listener",
                REQUEST_BUCKETS,
            )?,
            lookups: make.counters("cache_lookups_total", "Lookups of verified questions.", &["result"])?,
            near_expiry_served: make
                .counter("near_expiry_served_total", "Replies with less left than min_remaining_seconds.")?,
            upstream_requests: make.counters(
                "upstream_requests_total",
                "Calls to AWS, by operation and outcome.",
                &["operation", "outcome"],
            )?,
            upstream_duration: make.histograms(
                "upstream_request_duration_seconds",
                "Time that a call to AWS took.",
                "operation",
                UPSTREAM_BUCKETS,
            )?,
            upstream_in_flight: make.gauge("upstream_in_flight", "Calls to AWS under way.")?,
            refreshes: make.counters(
                "refreshes_total",
                "Exchanges of a token for credentials, first ones included.",
                &["result"],
            )?,
            refresh_lag: make.histogram(
                "refresh_lag_seconds",
                "How long after its due time an exchange began.",
                LAG_BUCKETS,
            )?,
            entries: make.gauge("entries", "Cache entries that hold credentials.")?,
            min_remaining: make.float_gauge(
                "min_remaining_seconds",
                "Least time left of all credentials in use; +Inf when none are.",
            )?,
            sessions: make.gauge("sessions", "Sessions that are open.")?,
            verifications: make.counters("token_verifications_total", "Tokens judged, by result.", &["result"])?,
            jwks_fetches: make.counters("jwks_fetches_total", "Fetches of key sets, by result.", &["result"])?,
            config_reloads: make.counters(
                "config_reloads_total",
                "Configurations read while running: put in force, or refused.",
                &["result"],
            )?,
            jwks_last_success: make.gauge(
                "jwks_last_success_timestamp_seconds",
                "When the key set that waits longest was last fetched.",
            )?,
            certificate_expiry: make.float_gauge(
                "tls_certificate_expiry_timestamp_seconds",
                "When the first certificate of server.tls expires; +Inf without TLS.",
            )?,
            audit_dropped: make.counter("audit_dropped_total", "Lines of the audit log that were lost.")?,
            log_dropped: make.counter("log_dropped_total", "Lines of the log that were lost: nobody took them.")?,
            lost_lines: Mutex::new(|| 0),
            state_write_failures: make
                .counter("state_write_failures_total", "Writes of the identity map to disk that failed.")?,
            panics: make.counter("panics_total", "Panics caught in tasks.")?,
            identity_mismatch: make
                .counter("identity_mismatch_total", "Replies for another identity than was asked for; never stored.")?,
            version: version.to_owned(),
            registry,
        };
        metrics.announce(version).map(|()| metrics)
    }

    /// Counts one answered request.
    pub fn answered(&self, listener: Listener, outcome: Outcome, took: Duration) {
        if let Some(counter) = self.requests.get(listener as usize).and_then(|row| row.get(outcome as usize)) {
            counter.inc();
        }
        let durations = self.hot.durations.get(listener as usize);
        let durations =
            durations.map(|made| made.get_or_init(|| self.request_duration.with_label_values(&[listener.as_str()])));
        if let Some(durations) = durations {
            durations.observe(took.as_secs_f64());
        }
    }

    /// Counts one lookup.
    pub fn looked_up(&self, lookup: Lookup) {
        self.hot.lookups.count(lookup as usize);
    }

    /// Counts a call as under way from now on.
    pub fn call<'a>(&'a self, operation: Operation, clock: &'a Clock) -> Call<'a> {
        self.upstream_in_flight.inc();
        Call { metrics: self, operation, clock, started: clock.now().boot, result: Result::Unavailable }
    }

    /// Counts one finished exchange.
    pub fn refreshed(&self, result: Result) {
        self.refreshes.with_label_values(&[result.as_str()]).inc();
    }

    /// How many exchanges have ended so since the start.
    pub fn refreshes_so_far(&self, result: Result) -> u64 {
        self.refreshes.with_label_values(&[result.as_str()]).get()
    }

    /// How many calls have ended so far, by operation and result, in the order of their `ALL`.
    pub fn calls_so_far(&self) -> Vec<[u64; Result::ALL.len()]> {
        let mut counts = vec![[0; Result::ALL.len()]; Operation::ALL.len()];
        // Collected rather than asked for by labels: asking makes a series, which would then be told as 0.
        for metric in self.upstream_requests.collect().iter().flat_map(|family| family.get_metric()) {
            let label = |wanted: &str| metric.get_label().iter().find(|label| label.name() == wanted);
            let operation =
                label("operation").and_then(|of| Operation::ALL.iter().position(|o| o.as_str() == of.value()));
            let result = label("outcome").and_then(|of| Result::ALL.iter().position(|r| r.as_str() == of.value()));
            if let Some((operation, result)) = operation.zip(result) {
                // A counter is a whole number, told as a float.
                counts[operation][result] = metric.get_counter().get_value() as u64;
            }
        }
        counts
    }

    /// The version that is told.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Notes how late an exchange began.
    pub fn lagged(&self, lag: Duration) {
        self.refresh_lag.observe(lag.as_secs_f64());
    }

    /// Counts one verdict on a token.
    pub fn verified(&self, verification: Verification) {
        self.hot.verifications.count(verification as usize);
    }

    /// Counts one fetch of a key set.
    pub fn fetched_keys(&self, result: Result) {
        self.jwks_fetches.with_label_values(&[result.as_str()]).inc();
    }

    /// From now on `lost` tells how many lines of the log were lost.
    pub fn count_lost_lines(&self, lost: fn() -> u64) {
        *self.lost_lines.lock().unwrap_or_else(PoisonError::into_inner) = lost;
    }

    /// Notes when the doors' certificate expires, if they have one.
    pub fn certificate_expires(&self, at: Option<SystemTime>) {
        self.certificate_expiry.set(at.map_or(f64::INFINITY, |at| epoch_seconds(at) as f64));
    }

    /// Counts one configuration that was read while running.
    pub fn reloaded(&self, reload: Reload) {
        self.config_reloads.with_label_values(&[reload.as_str()]).inc();
    }

    /// Everything in Prometheus's text format 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> prometheus::Result<String> {
        {
            // Under the lock, so that two who ask at once do not count twice.
            let lost = self.lost_lines.lock().unwrap_or_else(PoisonError::into_inner);
            self.log_dropped.inc_by(lost().saturating_sub(self.log_dropped.get()));
            for lookup in Lookup::ALL {
                add_up(&self.lookups, lookup.as_str(), self.hot.lookups.total(*lookup as usize));
            }
            for verification in Verification::ALL {
                let total = self.hot.verifications.total(*verification as usize);
                add_up(&self.verifications, verification.as_str(), total);
            }
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Makes the constant series, and those that should show 0 before their first event.
    fn announce(&self, version: &str) -> prometheus::Result<()> {
        let build =
            Opts::new("cupbearer_build_info", "Always 1; the version is in the label.").const_label("version", version);
        let build = IntGauge::with_opts(build)?;
        build.set(1);
        self.registry.register(Box::new(build))?;
        self.registry.register(Box::new(ProcessCollector::for_self()))?;
        Reload::ALL.iter().for_each(|value| drop(self.config_reloads.with_label_values(&[value.as_str()])));
        Lookup::ALL.iter().for_each(|value| drop(self.lookups.with_label_values(&[value.as_str()])));
        Verification::ALL.iter().for_each(|value| drop(self.verifications.with_label_values(&[value.as_str()])));
        for result in Result::ALL {
            self.refreshes.with_label_values(&[result.as_str()]);
            self.jwks_fetches.with_label_values(&[result.as_str()]);
        }
        Ok(())
    }
}

/// The series of answered requests.
fn by_outcome(make: &Maker<'_>) -> prometheus::Result<Vec<Vec<IntCounter>>> {
    let requests = make.counters("requests_total", "Requests answered, by outcome.", &["listener", "outcome"])?;
    let outcomes = |listener: &Listener| {
        let each = |outcome: &Outcome| requests.with_label_values(&[listener.as_str(), outcome.as_str()]);
        Outcome::ALL.iter().map(each).collect()
    };
    Ok(Listener::ALL.iter().map(outcomes).collect())
}

/// Brings the series of `label` to `total`.
fn add_up(counters: &IntCounterVec, label: &str, total: u64) {
    let counter = counters.with_label_values(&[label]);
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// A call to AWS, or a fetch of a key set, that is under way. One that is dropped half-way, because its time is up,
/// counts as unavailable.
#[must_use]
pub struct Call<'a> {
    metrics: &'a Metrics,
    operation: Operation,
    clock: &'a Clock,
    started: Duration,
    result: Result,
}

impl Call<'_> {
    /// The call has ended like this.
    pub fn ended(mut self, result: Result) {
        self.result = result;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let (metrics, operation) = (self.metrics, self.operation.as_str());
        let took = self.clock.now().boot.saturating_sub(self.started);
        metrics.upstream_in_flight.dec();
        metrics.upstream_requests.with_label_values(&[operation, self.result.as_str()]).inc();
        metrics.upstream_duration.with_label_values(&[operation]).observe(took.as_secs_f64());
    }
}
