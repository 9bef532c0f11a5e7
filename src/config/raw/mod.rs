//! The configuration as it was typed: every key may be missing. Knows no default and judges nothing but types.
//!
//! The keys of the file are named here and nowhere else: those that work, and those that are known but do not yet.

mod bounds;

use crate::config::document::Table;
use crate::config::field::{Field, List, Names, Numbers};

pub(super) use bounds::{Limits, Rates, Refresh, Upstream};

/// The file.
pub(super) struct Document {
    pub(super) server: Server,
    pub(super) aws: Aws,
    pub(super) user_pools: Field<Vec<UserPool>>,
    pub(super) profiles: Field<Vec<Profile>>,
    pub(super) refresh: Refresh,
    pub(super) limits: Limits,
    pub(super) upstream: Upstream,
    pub(super) sessions: Sessions,
    pub(super) configured_sessions: Field<Vec<ConfiguredSession>>,
    /// `state.dir`
    pub(super) state_dir: Field<String>,
    pub(super) audit: Audit,
    pub(super) tracing: Tracing,
    pub(super) admin: Admin,
}

/// `[server]`
pub(super) struct Server {
    pub(super) http: Field<String>,
    pub(super) grpc: Field<String>,
    pub(super) admin: Field<String>,
    pub(super) metrics: Field<String>,
    pub(super) grpc_uds: Field<String>,
    pub(super) grpc_uds_allow_uids: Field<Numbers>,
    pub(super) grpc_uds_allow_gids: Field<Numbers>,
    pub(super) grpc_reflection: Field<bool>,
    pub(super) allow_non_loopback: Field<bool>,
    pub(super) tls: Field<Tls>,
    pub(super) drain_seconds: Field<i64>,
}

/// `server.tls`
pub(super) struct Tls {
    pub(super) cert_file: Field<String>,
    pub(super) key_file: Field<String>,
    pub(super) client_ca_file: Field<String>,
}

/// `[aws]`
pub(super) struct Aws {
    pub(super) region: Field<String>,
    pub(super) endpoint_url: Field<String>,
    pub(super) cognito_identity_endpoint_url: Field<String>,
    pub(super) cognito_idp_endpoint_url: Field<String>,
    pub(super) sts_endpoint_url: Field<String>,
}

/// One of `[[user_pools]]`
pub(super) struct UserPool {
    pub(super) id: Field<String>,
    pub(super) client_ids: Field<List>,
    pub(super) issuers: Field<List>,
    pub(super) jwks_url: Field<String>,
    pub(super) client_secret_file: Field<String>,
}

/// `[profiles.NAME]`
pub(super) struct Profile {
    pub(super) name: Field<String>,
    pub(super) flow: Field<String>,
    pub(super) user_pools: Field<List>,
    pub(super) accept_access_tokens: Field<bool>,
    pub(super) allow_unauthenticated: Field<bool>,
    pub(super) volatile_claims: Field<List>,
    pub(super) target: Target,
    pub(super) session: Session,
    pub(super) groups: Field<Vec<Group>>,
    pub(super) roles: Roles,
}

/// Of `[profiles.NAME]`: where the credentials come from.
pub(super) struct Target {
    pub(super) identity_pool_id: Field<String>,
    pub(super) logins_key: Field<String>,
    pub(super) duration_seconds: Field<i64>,
    pub(super) external_id: Field<String>,
}

/// Of `[profiles.NAME]`: what the session of an assumed role is like.
pub(super) struct Session {
    pub(super) session_name: Field<String>,
    pub(super) source_identity: Field<String>,
    pub(super) session_tags: Field<Names>,
    pub(super) transitive_tag_keys: Field<List>,
    pub(super) session_policy: Field<String>,
    pub(super) policy_arns: Field<List>,
}

/// One of `[[profiles.NAME.groups]]`
pub(super) struct Group {
    pub(super) name: Field<String>,
    pub(super) precedence: Field<i64>,
    pub(super) role_arn: Field<String>,
}

/// `[profiles.NAME.roles]`
pub(super) struct Roles {
    pub(super) mapping: Field<String>,
    pub(super) ambiguous_role_resolution: Field<String>,
    pub(super) authenticated_role: Field<String>,
    pub(super) aliases: Field<Names>,
    pub(super) preferred_role_must_be_listed: Field<bool>,
    pub(super) rules: Field<Vec<Rule>>,
}

/// One of `[[profiles.NAME.roles.rules]]`
pub(super) struct Rule {
    pub(super) claim: Field<String>,
    pub(super) match_type: Field<String>,
    pub(super) value: Field<String>,
    pub(super) role_arn: Field<String>,
}

/// `[sessions]`
pub(super) struct Sessions {
    pub(super) max: Field<i64>,
    pub(super) max_per_subject: Field<i64>,
    pub(super) idle_seconds: Field<i64>,
    pub(super) accept_refresh_tokens: Field<bool>,
}

/// One of `[[configured_sessions]]`
pub(super) struct ConfiguredSession {
    pub(super) name: Field<String>,
    pub(super) profile: Field<String>,
    pub(super) role: Field<String>,
    pub(super) user_pool: Field<String>,
    pub(super) client_id: Field<String>,
    pub(super) refresh_token_file: Field<String>,
    pub(super) authorization_token_file: Field<String>,
}

/// `[audit]`
pub(super) struct Audit {
    pub(super) file: Field<String>,
    pub(super) subject: Field<String>,
}

/// `[tracing]`
pub(super) struct Tracing {
    pub(super) otlp_endpoint: Field<String>,
    pub(super) sample_ratio: Field<f64>,
}

/// `[admin]`
pub(super) struct Admin {
    pub(super) token_file: Field<String>,
}

impl Document {
    /// Reads the whole file; what cannot be read is told.
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let document = Self {
            server: Server::read(table.table("server")),
            aws: Aws::read(table.table("aws")),
            user_pools: all(table.tables("user_pools"), UserPool::read),
            profiles: all(table.named_tables("profiles"), Profile::read),
            refresh: Refresh::read(table.table("refresh")),
            limits: Limits::read(table.table("limits")),
            upstream: Upstream::read(table.table("upstream")),
            sessions: Sessions::read(table.table("sessions")),
            configured_sessions: all(table.tables("configured_sessions"), ConfiguredSession::read),
            state_dir: only(table.table("state"), "dir"),
            audit: Audit::read(table.table("audit")),
            tracing: Tracing::read(table.table("tracing")),
            admin: Admin::read(table.table("admin")),
        };
        table.finish(&[]);
        document
    }
}

impl Server {
    fn read(mut table: Table<'_>) -> Self {
        let server = Self {
            http: table.take("http"),
            grpc: table.take("grpc"),
            admin: table.take("admin"),
            metrics: table.take("metrics"),
            grpc_uds: table.take("grpc_uds"),
            grpc_uds_allow_uids: table.take("grpc_uds_allow_uids"),
            grpc_uds_allow_gids: table.take("grpc_uds_allow_gids"),
            grpc_reflection: table.take("grpc_reflection"),
            allow_non_loopback: table.take("allow_non_loopback"),
            tls: table.present_table("tls").map(Tls::read),
            drain_seconds: table.take("drain_seconds"),
        };
        table.finish(&[]);
        server
    }
}

impl Tls {
    fn read(mut table: Table<'_>) -> Self {
        let tls = Self {
            cert_file: table.take("cert_file"),
            key_file: table.take("key_file"),
            client_ca_file: table.take("client_ca_file"),
        };
        table.finish(&[]);
        tls
    }
}

impl Aws {
    fn read(mut table: Table<'_>) -> Self {
        let aws = Self {
            region: table.take("region"),
            endpoint_url: table.take("endpoint_url"),
            cognito_identity_endpoint_url: table.take("cognito_identity_endpoint_url"),
            cognito_idp_endpoint_url: table.take("cognito_idp_endpoint_url"),
            sts_endpoint_url: table.take("sts_endpoint_url"),
        };
        table.finish(&[]);
        aws
    }
}

impl UserPool {
    fn read(mut table: Table<'_>) -> Self {
        let pool = Self {
            id: table.take("id"),
            client_ids: table.take("client_ids"),
            issuers: table.take("issuers"),
            jwks_url: table.take("jwks_url"),
            client_secret_file: table.take("client_secret_file"),
        };
        table.finish(&[]);
        pool
    }
}

impl Profile {
    fn read((name, mut table): (String, Table<'_>)) -> Self {
        let profile = Self {
            name: Field::found(table.place.clone(), name),
            flow: table.take("flow"),
            user_pools: table.take("user_pools"),
            accept_access_tokens: table.take("accept_access_tokens"),
            allow_unauthenticated: table.take("allow_unauthenticated"),
            volatile_claims: table.take("volatile_claims"),
            target: Target::read(&mut table),
            session: Session::read(&mut table),
            groups: all(table.tables("groups"), Group::read),
            roles: Roles::read(table.table("roles")),
        };
        table.finish(&[]);
        profile
    }
}

impl Target {
    fn read(table: &mut Table<'_>) -> Self {
        Self {
            identity_pool_id: table.take("identity_pool_id"),
            logins_key: table.take("logins_key"),
            duration_seconds: table.take("duration_seconds"),
            external_id: table.take("external_id"),
        }
    }
}

impl Session {
    fn read(table: &mut Table<'_>) -> Self {
        Self {
            session_name: table.take("session_name"),
            source_identity: table.take("source_identity"),
            session_tags: table.take("session_tags"),
            transitive_tag_keys: table.take("transitive_tag_keys"),
            session_policy: table.take("session_policy"),
            policy_arns: table.take("policy_arns"),
        }
    }
}

impl Group {
    fn read(mut table: Table<'_>) -> Self {
        let group =
            Self { name: table.take("name"), precedence: table.take("precedence"), role_arn: table.take("role_arn") };
        table.finish(&[]);
        group
    }
}

impl Roles {
    fn read(mut table: Table<'_>) -> Self {
        let roles = Self {
            mapping: table.take("mapping"),
            ambiguous_role_resolution: table.take("ambiguous_role_resolution"),
            authenticated_role: table.take("authenticated_role"),
            aliases: table.take("aliases"),
            preferred_role_must_be_listed: table.take("preferred_role_must_be_listed"),
            rules: all(table.tables("rules"), Rule::read),
        };
        table.finish(&[]);
        roles
    }
}

impl Rule {
    fn read(mut table: Table<'_>) -> Self {
        let rule = Self {
            claim: table.take("claim"),
            match_type: table.take("match_type"),
            value: table.take("value"),
            role_arn: table.take("role_arn"),
        };
        table.finish(&[]);
        rule
    }
}

impl Sessions {
    fn read(mut table: Table<'_>) -> Self {
        let sessions = Self {
            max: table.take("max"),
            max_per_subject: table.take("max_per_subject"),
            idle_seconds: table.take("idle_seconds"),
            accept_refresh_tokens: table.take("accept_refresh_tokens"),
        };
        table.finish(&[]);
        sessions
    }
}

impl ConfiguredSession {
    fn read(mut table: Table<'_>) -> Self {
        let session = Self {
            name: table.take("name"),
            profile: table.take("profile"),
            role: table.take("role"),
            user_pool: table.take("user_pool"),
            client_id: table.take("client_id"),
            refresh_token_file: table.take("refresh_token_file"),
            authorization_token_file: table.take("authorization_token_file"),
        };
        table.finish(&[]);
        session
    }
}

impl Audit {
    fn read(mut table: Table<'_>) -> Self {
        let audit = Self { file: table.take("file"), subject: table.take("subject") };
        table.finish(&[]);
        audit
    }
}

impl Tracing {
    fn read(mut table: Table<'_>) -> Self {
        let tracing = Self { otlp_endpoint: table.take("otlp_endpoint"), sample_ratio: table.take("sample_ratio") };
        table.finish(&[]);
        tracing
    }
}

impl Admin {
    fn read(mut table: Table<'_>) -> Self {
        let admin = Self { token_file: table.take("token_file") };
        table.finish(&[]);
        admin
    }
}

/// The one key of a table.
fn only(mut table: Table<'_>, name: &'static str) -> Field<String> {
    let field = table.take(name);
    table.finish(&[]);
    field
}

/// Each of several tables as `read` has it.
fn all<T, U>(tables: Field<Vec<T>>, read: fn(T) -> U) -> Field<Vec<U>> {
    tables.map(|each| each.into_iter().map(read).collect())
}
