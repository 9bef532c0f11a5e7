//! Every key: its name, what it takes, what it is without being set, what it is for.

use crate::config::defaults::*;
use crate::config::reference::{Key, key, number};

const NONE: &str = "none";
const REQUIRED: &str = "required";

/// The keys in the order of the reference: by table.
pub(super) fn all() -> Vec<Key> {
    [
        server(),
        tls(),
        aws(),
        user_pools(),
        profiles(),
        groups(),
        roles(),
        rules(),
        sessions(),
        bounds(),
        upstream(),
        files(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn server() -> Vec<Key> {
    let address = |name, default, meaning| key(name, "address:port", default, meaning);
    vec![
        address(
            "server.http",
            &DEFAULT_HTTP.to_string(),
            "the door for SDKs and HTTP clients; port 0 takes any free port, logged at start",
        ),
        address("server.grpc", &DEFAULT_GRPC.to_string(), "the door for gRPC"),
        address("server.admin", &DEFAULT_ADMIN.to_string(), "health, metrics, purge"),
        address(
            "server.metrics",
            NONE,
            "a further door for `/livez`, `/readyz` and `/metrics` alone, for scrapers and kubelets; any address",
        ),
        key(
            "server.grpc_uds",
            "path",
            NONE,
            "a Unix socket for gRPC, mode 0660, in a directory that only the broker's user or root can write to",
        ),
        key(
            "server.grpc_uds_allow_uids",
            "list of numbers",
            "the broker's own and root",
            "the users who may use that socket",
        ),
        key("server.grpc_uds_allow_gids", "list of numbers", NONE, "the primary groups whose members may use it"),
        key("server.grpc_reflection", "`true`, `false`", "`false`", "tell the interface to tools like grpcurl"),
        key(
            "server.allow_non_loopback",
            "`true`, `false`",
            "`false`",
            "HTTP and gRPC may be on other addresses, with TLS; on the link-local ones that SDKs accept also without",
        ),
        number(
            "server.drain_seconds",
            &DRAIN_SECONDS,
            DEFAULT_DRAIN_SECONDS,
            "how long it goes on serving after SIGTERM",
        ),
    ]
}

fn tls() -> Vec<Key> {
    vec![
        key("server.tls.cert_file", "path", REQUIRED, "the certificate of HTTP and gRPC, with its chain, in PEM"),
        key("server.tls.key_file", "path", REQUIRED, "its key, in PEM, closed to others"),
        key("server.tls.client_ca_file", "path", NONE, "callers must show a certificate of one of these authorities"),
    ]
}

fn aws() -> Vec<Key> {
    let url = |name, meaning| key(name, "URL", "AWS's own", meaning);
    vec![
        key("aws.region", "region", "the identity pool's", "where STS is, for the flows that ask it"),
        url("aws.endpoint_url", "another address for every service"),
        url("aws.cognito_identity_endpoint_url", "another address for identity pools"),
        url("aws.cognito_idp_endpoint_url", "another address for user pools (refresh tokens)"),
        url("aws.sts_endpoint_url", "another address for STS"),
    ]
}

fn user_pools() -> Vec<Key> {
    vec![
        key("user_pools.id", "user pool id", REQUIRED, "whose ID tokens are taken"),
        key(
            "user_pools.client_ids",
            "list of app client ids",
            REQUIRED,
            "which of the pool's clients: the values of `aud` that are taken",
        ),
        key(
            "user_pools.issuers",
            "list of URLs",
            "both forms that AWS documents",
            "the values of `iss` that are taken, for pools of other partitions or not of AWS",
        ),
        key("user_pools.jwks_url", "URL", "below the first issuer", "where the key set is"),
        key(
            "user_pools.client_secret_file",
            "path",
            NONE,
            "the client's secret, or lines `CLIENT_ID SECRET`; for refresh tokens of confidential clients",
        ),
    ]
}

fn profiles() -> Vec<Key> {
    vec![
        key(
            "profiles.NAME.flow",
            "`enhanced`, `basic`, `assume-role`",
            "`enhanced`",
            "how a login becomes credentials: see [flows](flows.md)",
        ),
        key("profiles.NAME.user_pools", "list of user pool ids", "all", "whose users are admitted"),
        key(
            "profiles.NAME.accept_access_tokens",
            "`true`, `false`",
            "`false`",
            "also take access tokens; assume-role only",
        ),
        key(
            "profiles.NAME.allow_unauthenticated",
            "`true`, `false`",
            "`false`",
            "serve guests at `/v1/unauthenticated/NAME/{handle}`; enhanced only",
        ),
        key("profiles.NAME.volatile_claims", "list of claims", NONE, "claims whose change costs no new credentials"),
        key("profiles.NAME.identity_pool_id", "identity pool id", "required but for assume-role", "the identity pool"),
        key(
            "profiles.NAME.logins_key",
            "issuer without scheme",
            "the token's",
            "the provider's name at the identity pool",
        ),
        number(
            "profiles.NAME.duration_seconds",
            &DURATION_SECONDS,
            DEFAULT_DURATION_SECONDS,
            "how long sessions live; basic and assume-role",
        ),
        key("profiles.NAME.external_id", "text", NONE, "what the role's trust policy asks for; assume-role"),
        key(
            "profiles.NAME.session_name",
            "template",
            "`{{sub}}`",
            "the role session's name, which CloudTrail shows; basic and assume-role",
        ),
        key("profiles.NAME.source_identity", "template", NONE, "the source identity; assume-role"),
        key("profiles.NAME.session_tags", "templates by tag key", NONE, "session tags; assume-role"),
        key(
            "profiles.NAME.transitive_tag_keys",
            "list of tag keys",
            NONE,
            "the tags that stay when the session assumes a further role",
        ),
        key(
            "profiles.NAME.session_policy",
            "template of a policy",
            NONE,
            "narrows what the role allows; basic and assume-role",
        ),
        key(
            "profiles.NAME.policy_arns",
            "list of ARNs",
            NONE,
            "managed policies that narrow it; basic and assume-role",
        ),
    ]
}

fn groups() -> Vec<Key> {
    vec![
        key(
            "profiles.NAME.groups.name",
            "group",
            REQUIRED,
            "a group of the user pool, for tokens that carry groups and no roles",
        ),
        number("profiles.NAME.groups.precedence", &PRECEDENCE, REQUIRED, "the lowest of a user's groups wins"),
        key("profiles.NAME.groups.role_arn", "role ARN", REQUIRED, "the group's role"),
    ]
}

fn roles() -> Vec<Key> {
    vec![
        key(
            "profiles.NAME.roles.mapping",
            "`token`, `rules`, `pool`",
            "`token`",
            "who chooses: the token's role claims, the rules below, or Cognito alone (enhanced)",
        ),
        key(
            "profiles.NAME.roles.ambiguous_role_resolution",
            "`deny`, `authenticated_role`",
            "`deny`",
            "what happens when no single role comes of it",
        ),
        key("profiles.NAME.roles.authenticated_role", "role ARN", NONE, "the default role"),
        key("profiles.NAME.roles.aliases", "role ARNs by name", NONE, "names for roles, in paths and requests"),
        key(
            "profiles.NAME.roles.preferred_role_must_be_listed",
            "`true`, `false`",
            "`true`",
            "refuse a `cognito:preferred_role` that is not in `cognito:roles`",
        ),
    ]
}

fn rules() -> Vec<Key> {
    vec![
        key(
            "profiles.NAME.roles.rules.claim",
            "claim",
            REQUIRED,
            "judged in order, 25 rules at most; the first match wins",
        ),
        key(
            "profiles.NAME.roles.rules.match_type",
            "`Equals`, `Contains`, `StartsWith`, `NotEqual`",
            REQUIRED,
            "how `value` is compared",
        ),
        key("profiles.NAME.roles.rules.value", "text", REQUIRED, "what the claim is compared with"),
        key("profiles.NAME.roles.rules.role_arn", "role ARN", REQUIRED, "the role of whoever matches"),
    ]
}

fn sessions() -> Vec<Key> {
    vec![
        number("sessions.max", &SESSIONS, DEFAULT_SESSIONS, "open sessions in all"),
        number(
            "sessions.max_per_subject",
            &SESSIONS_PER_SUBJECT,
            DEFAULT_SESSIONS_PER_SUBJECT,
            "open sessions of one user",
        ),
        number(
            "sessions.idle_seconds",
            &IDLE_SECONDS,
            DEFAULT_IDLE_SECONDS,
            "a session that nobody reads ends after this",
        ),
        key(
            "sessions.accept_refresh_tokens",
            "`true`, `false`",
            "`false`",
            "whether `OpenSession` takes refresh tokens",
        ),
        key(
            "configured_sessions.name",
            "name",
            REQUIRED,
            "a session that is there from the start, at `/v1/sessions/{name}`",
        ),
        key("configured_sessions.profile", "profile", REQUIRED, "whose credentials it has"),
        key("configured_sessions.role", "alias or ARN", "by the rules", "the role asked for"),
        key("configured_sessions.user_pool", "user pool id", "the profile's only one", "the pool of its login"),
        key("configured_sessions.client_id", "app client id", "the pool's only one", "the client of its login"),
        key(
            "configured_sessions.refresh_token_file",
            "path",
            REQUIRED,
            "its refresh token; a rotated one replaces it by rename",
        ),
        key(
            "configured_sessions.authorization_token_file",
            "path",
            REQUIRED,
            "what its readers must bring; 16 characters or more",
        ),
    ]
}

fn bounds() -> Vec<Key> {
    vec![
        key("refresh.at", "part of a life", &DEFAULT_AT.to_string(), "when credentials in use are refreshed"),
        key(
            "refresh.jitter",
            &format!("{} to {}", JITTER.start(), JITTER.end()),
            &DEFAULT_JITTER.to_string(),
            "how far refreshes are spread around that point",
        ),
        key(
            "refresh.latest_at",
            &format!("up to {LATEST_AT_MOST}"),
            &DEFAULT_LATEST_AT.to_string(),
            "how late the point may slide when there is much to refresh",
        ),
        number(
            "refresh.min_remaining_seconds",
            &MIN_REMAINING_SECONDS,
            DEFAULT_MIN_REMAINING_SECONDS,
            "what a reply should have left; SDKs come back at 15 minutes",
        ),
        number(
            "limits.cold_hold_ms",
            &COLD_HOLD_MS,
            DEFAULT_COLD_HOLD_MS,
            "how long an HTTP caller is held for a first answer; the strictest SDKs wait 1 s",
        ),
        number("limits.exchange_timeout_ms", &EXCHANGE_TIMEOUT_MS, DEFAULT_EXCHANGE_TIMEOUT_MS, "the longest exchange"),
        number(
            "limits.entries",
            &ENTRIES,
            format!("{DEFAULT_ENTRIES}, or what the rates carry"),
            "cache entries; refused if the rates cannot refresh so many in time",
        ),
        number(
            "limits.entries_per_subject",
            &ENTRIES_PER_SUBJECT,
            DEFAULT_ENTRIES_PER_SUBJECT,
            "cache entries of one user",
        ),
        number(
            "limits.misses_per_subject_per_second",
            &FLOOD,
            DEFAULT_FLOODS.misses_per_subject,
            "exchanges that one user's misses may begin; ten times as many at once",
        ),
        number(
            "limits.failures_per_peer_per_second",
            &FLOOD,
            DEFAULT_FLOODS.failures_per_peer,
            "tokens of one peer that may fail; ten times as many at once",
        ),
        number("limits.connections", &CONNECTIONS, DEFAULT_CONNECTIONS, "connections of HTTP and gRPC together"),
        number("limits.token_bytes", &TOKEN_BYTES, DEFAULT_TOKEN_BYTES, "the longest token"),
        number("limits.header_bytes", &HEADER_BYTES, DEFAULT_HEADER_BYTES, "all headers of a request"),
    ]
}

fn upstream() -> Vec<Key> {
    let rates = DEFAULT_RATES;
    let rate = |name, default: u32, meaning| number(name, &RATE, default, meaning);
    vec![
        number(
            "upstream.concurrency",
            &CONCURRENCY,
            DEFAULT_CONCURRENCY,
            "exchanges at once; a quarter is kept for callers who wait",
        ),
        rate(
            "upstream.get_id_per_second",
            rates.get_id,
            "calls in any second; quotas are the account's, so keep to a fraction",
        ),
        rate(
            "upstream.get_credentials_for_identity_per_second",
            rates.get_credentials_for_identity,
            "each entry of the enhanced flow takes one for each refresh",
        ),
        rate("upstream.get_open_id_token_per_second", rates.get_open_id_token, "the same in the basic flow"),
        rate("upstream.assume_role_per_second", rates.assume_role, "AssumeRole and AssumeRoleWithWebIdentity together"),
        rate("upstream.refresh_token_per_second", rates.refresh_token, "GetTokensFromRefreshToken"),
    ]
}

fn files() -> Vec<Key> {
    vec![
        key(
            "state.dir",
            "path",
            NONE,
            "a directory of the broker's own, where users' IdentityIds outlive a restart; no token and no credential is in it",
        ),
        key("audit.file", "path or `stdout`", NONE, "where each decision goes, one JSON object a line"),
        key("audit.subject", "`plain`, `hashed`", "`plain`", "how users are named in it"),
        key("tracing.otlp_endpoint", "URL", NONE, "a collector for traces, by OTLP over HTTP, as on port 4318"),
        key(
            "tracing.sample_ratio",
            &format!("{:?} to {:?}", SAMPLE_RATIO.start(), SAMPLE_RATIO.end()),
            &format!("{DEFAULT_SAMPLE_RATIO:?}"),
            "the part of requests that is traced without a `traceparent` of their own",
        ),
        key("admin.token_file", "path", NONE, "whose bearer may `POST /purge`; without it there is no purge"),
    ]
}
