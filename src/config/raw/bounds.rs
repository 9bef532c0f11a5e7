//! `[refresh]`, `[limits]` and `[upstream]` as they were typed: numbers only.

use crate::config::document::Table;
use crate::config::field::Field;

/// `[refresh]`
pub(in crate::config) struct Refresh {
    pub(in crate::config) at: Field<f64>,
    pub(in crate::config) jitter: Field<f64>,
    pub(in crate::config) latest_at: Field<f64>,
    pub(in crate::config) min_remaining_seconds: Field<i64>,
}

/// `[limits]`
pub(in crate::config) struct Limits {
    pub(in crate::config) cold_hold_ms: Field<i64>,
    pub(in crate::config) exchange_timeout_ms: Field<i64>,
    pub(in crate::config) entries: Field<i64>,
    pub(in crate::config) entries_per_subject: Field<i64>,
    pub(in crate::config) misses_per_subject_per_second: Field<i64>,
    pub(in crate::config) failures_per_peer_per_second: Field<i64>,
    pub(in crate::config) connections: Field<i64>,
    pub(in crate::config) token_bytes: Field<i64>,
    pub(in crate::config) header_bytes: Field<i64>,
}

/// `[upstream]`
pub(in crate::config) struct Upstream {
    pub(in crate::config) concurrency: Field<i64>,
    pub(in crate::config) rates: Rates,
}

/// Of `[upstream]`: calls a second.
pub(in crate::config) struct Rates {
    pub(in crate::config) get_id: Field<i64>,
    pub(in crate::config) get_credentials_for_identity: Field<i64>,
    pub(in crate::config) get_open_id_token: Field<i64>,
    pub(in crate::config) assume_role: Field<i64>,
    pub(in crate::config) refresh_token: Field<i64>,
}

impl Refresh {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let refresh = Self {
            at: table.take("at"),
            jitter: table.take("jitter"),
            latest_at: table.take("latest_at"),
            min_remaining_seconds: table.take("min_remaining_seconds"),
        };
        table.finish(&[]);
        refresh
    }
}

impl Limits {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let limits = Self {
            cold_hold_ms: table.take("cold_hold_ms"),
            exchange_timeout_ms: table.take("exchange_timeout_ms"),
            entries: table.take("entries"),
            entries_per_subject: table.take("entries_per_subject"),
            misses_per_subject_per_second: table.take("misses_per_subject_per_second"),
            failures_per_peer_per_second: table.take("failures_per_peer_per_second"),
            connections: table.take("connections"),
            token_bytes: table.take("token_bytes"),
            header_bytes: table.take("header_bytes"),
        };
        table.finish(&[]);
        limits
    }
}

impl Upstream {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let upstream = Self { concurrency: table.take("concurrency"), rates: Rates::read(&mut table) };
        table.finish(&[]);
        upstream
    }
}

impl Rates {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Self {
            get_id: table.take("get_id_per_second"),
            get_credentials_for_identity: table.take("get_credentials_for_identity_per_second"),
            get_open_id_token: table.take("get_open_id_token_per_second"),
            assume_role: table.take("assume_role_per_second"),
            refresh_token: table.take("refresh_token_per_second"),
        }
    }
}
