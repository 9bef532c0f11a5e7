//! The status page of the admin door: one page for people, whole in itself, without a secret and without a user's name.

mod page;
mod samples;

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::error::Error;
use crate::server::{House, reply};

pub(super) use samples::Samples;

/// No script, nothing from elsewhere, in nobody's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// The page as of now.
///
/// # Errors
/// When the refresher does not answer; `/readyz` says so then.
pub(super) async fn response(house: &House) -> Result<Response<Full<Bytes>>, Error> {
    let facts = page::Facts {
        waiting_for: house.waiting_for(),
        survey: house.broker.survey().await?,
        profiles: house.broker.profiles(),
        minutes: house.samples.minutes(&house.metrics),
        settings: house.settings.now(),
        sessions: house.metrics.sessions.get(),
        version: house.metrics.version().to_owned(),
        now: house.clock.now(),
        started: house.started,
    };
    let mut response = reply::json(StatusCode::OK, facts.render().into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
