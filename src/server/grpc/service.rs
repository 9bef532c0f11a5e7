//! The calls of `cupbearer.v1.CredentialBroker`: messages in, a question to the broker, messages out.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::stream::{Stream, unfold};
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::audit::Line;
use crate::broker::{Grant, Opened, Visit, Watch};
use crate::clock::rfc3339;
use crate::error::{Error, Kind};
use crate::metrics::{Listener, Outcome};
use crate::model::Ask;
use crate::secret::CupToken;
use crate::server::grpc::Connection;
use crate::server::http::bearer;
use crate::server::proto::{
    CloseSessionRequest, CloseSessionResponse, CredentialBroker, Credentials, ExplainRoleRequest, ExplainRoleResponse,
    GetCredentialsRequest, GetCredentialsResponse, OpenSessionRequest, OpenSessionResponse, UpdateSessionRequest,
    UpdateSessionResponse, WatchCredentialsRequest, WatchCredentialsResponse,
};
use crate::server::{House, about, reply};
use crate::trace::Trail;
use crate::upstream::Flow;

/// The service.
pub(super) struct Grpc(pub(super) Arc<House>);

/// Renewals, as they come.
type Watched = Pin<Box<dyn Stream<Item = Result<WatchCredentialsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl CredentialBroker for Grpc {
    type WatchCredentialsStream = Watched;

    async fn get_credentials(
        &self,
        request: Request<GetCredentialsRequest>,
    ) -> Result<Response<GetCredentialsResponse>, Status> {
        let call = Call::new(&self.0, request);
        let (house, message) = (call.house, call.message);
        let ask = ask(message.profile, message.role, message.session_policy, message.policy_arns);
        let longest = house.settings.now().longest_hold;
        let hold = timeout(&call.headers).map_or(longest, |timeout| (timeout - margin(timeout)).min(longest));
        let visit = Visit { holder: false, hold, hold_failures: false };
        let done = match token(&call.headers, &call.connection) {
            Ok(token) => house.broker.credentials(&token, &ask, visit).await,
            Err(error) => Err(error),
        };
        call.connection.audited(house, &call.trail, Some(&ask), &done);
        let outcome = done.as_ref().map_or(Outcome::Ok, granted_outcome);
        let done = done.map(|grant| GetCredentialsResponse {
            credentials: Some(granted(&grant)),
            present_token_by: grant.present_token_by.map(|expiry| timestamp(expiry.wall())),
        });
        finish(house, &call.trail, call.connection.listener, call.started, outcome, done)
    }

    async fn watch_credentials(&self, request: Request<WatchCredentialsRequest>) -> Result<Response<Watched>, Status> {
        let call = Call::new(&self.0, request);
        let (house, message) = (call.house, call.message);
        let ask = ask(message.profile, message.role, message.session_policy, message.policy_arns);
        let hold = house.settings.now().longest_hold;
        let opened = match (token(&call.headers, &call.connection), call.connection.place_to_watch()) {
            (Ok(token), Ok(place)) => {
                let watch = Watch::open(&house.broker, token, ask.clone(), hold).await;
                watch.map(|watch| (watch, place))
            }
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        };
        let (owner, connection) = (Arc::clone(house), call.connection.clone());
        connection.refusal_audited(house, &call.trail, Some(&ask), &opened);
        let trail = call.trail.clone();
        let opened = opened.map(|(watch, place)| renewals(owner, connection, trail, ask, watch, place));
        finish(house, &call.trail, call.connection.listener, call.started, Outcome::Ok, opened)
    }

    async fn explain_role(
        &self,
        request: Request<ExplainRoleRequest>,
    ) -> Result<Response<ExplainRoleResponse>, Status> {
        let call = Call::new(&self.0, request);
        let (house, message) = (call.house, call.message);
        let ask = ask(message.profile, message.role, String::new(), Vec::new());
        let done = match token(&call.headers, &call.connection) {
            Ok(token) => house.broker.explain(&token, &ask).await,
            Err(error) => Err(error),
        };
        call.connection.refusal_audited(house, &call.trail, Some(&ask), &done);
        let done = done.map(|found| ExplainRoleResponse {
            allowed: found.allowed,
            role_arn: found.role.map(|role| role.to_string()).unwrap_or_default(),
            reason: found.reason,
            considered: found.considered,
            decided_by: found.decided_by.to_owned(),
            flow: found.flow.as_str().to_owned(),
        });
        finish(house, &call.trail, call.connection.listener, call.started, Outcome::Ok, done)
    }

    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let call = Call::new(&self.0, request);
        let (house, message) = (call.house, call.message);
        let ask = ask(message.profile, message.role, message.session_policy, message.policy_arns);
        let refresh_token = secret(message.refresh_token);
        let done = match token(&call.headers, &call.connection) {
            Ok(token) => house.broker.open_session(token, ask.clone(), refresh_token).await,
            Err(error) => Err(error),
        };
        call.connection.refusal_audited(house, &call.trail, Some(&ask), &done);
        let done = done.inspect(|opened| call.connection.opening_audited(house, &call.trail, &ask, opened));
        let done = done.map(|opened| OpenSessionResponse {
            credentials_uri: house.credentials_uri(&opened.id),
            session_id: opened.id,
            authorization_token: opened.authorization.expose_secret().to_owned(),
            expires_at: Some(timestamp(opened.expires.wall())),
        });
        finish(house, &call.trail, call.connection.listener, call.started, Outcome::Ok, done)
    }

    async fn update_session(
        &self,
        request: Request<UpdateSessionRequest>,
    ) -> Result<Response<UpdateSessionResponse>, Status> {
        let call = Call::new(&self.0, request);
        let (house, message) = (call.house, call.message);
        let refresh_token = secret(message.refresh_token);
        let done = match token(&call.headers, &call.connection) {
            Ok(token) => house.broker.update_session(token, &message.session_id, refresh_token).await,
            Err(error) => Err(error),
        };
        call.connection.refusal_audited(house, &call.trail, None, &done);
        let done = done.map(|expires| UpdateSessionResponse { expires_at: Some(timestamp(expires.wall())) });
        finish(house, &call.trail, call.connection.listener, call.started, Outcome::Ok, done)
    }

    async fn close_session(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        let call = Call::new(&self.0, request);
        let (house, message) = (call.house, call.message);
        let revoke = message.revoke_refresh_token;
        let done = match token(&call.headers, &call.connection) {
            Ok(token) => match house.broker.close_session(&token, &message.session_id, revoke).await {
                Ok(Some(revoking)) => {
                    let revoked = tokio::time::timeout(house.settings.now().longest_hold, revoking.ended()).await;
                    revoked.unwrap_or_else(|_elapsed| Err(not_revoked_yet()))
                }
                closed => closed.map(drop),
            },
            Err(error) => Err(error),
        };
        call.connection.refusal_audited(house, &call.trail, None, &done);
        let done = done.map(|()| CloseSessionResponse {});
        finish(house, &call.trail, call.connection.listener, call.started, Outcome::Ok, done)
    }
}

/// One call, taken apart.
pub(super) struct Call<'a, M> {
    house: &'a Arc<House>,
    headers: HeaderMap,
    pub(super) connection: Connection,
    pub(super) trail: Trail,
    pub(super) started: Duration,
    pub(super) message: M,
}

impl<'a, M> Call<'a, M> {
    pub(super) fn new(house: &'a Arc<House>, request: Request<M>) -> Self {
        let started = house.clock.now().boot;
        let (metadata, extensions, message) = request.into_parts();
        // Every connection of this door gives itself to its requests.
        let connection = extensions.get::<Connection>().cloned().unwrap_or_else(Connection::unknown);
        let headers = metadata.into_headers();
        let trail = extensions.get::<Trail>().cloned().unwrap_or_else(|| house.trail(connection.listener, &headers));
        Self { house, headers, connection, trail, started, message }
    }
}

impl Connection {
    /// Writes a refusal into the audit log; what gives nobody anything has no line.
    fn refusal_audited<T>(&self, house: &House, trail: &Trail, ask: Option<&Ask>, done: &Result<T, Error>) {
        if let Err(error) = done {
            self.audited(house, trail, ask, &Err(error.clone()));
        }
    }

    /// Writes into the audit log that somebody has a session from now on, with which others may ask.
    fn opening_audited(&self, house: &House, trail: &Trail, ask: &Ask, opened: &Opened) {
        house.audit.tell(|| {
            let (time, profile) = (rfc3339(house.clock.now().wall), Some(ask.profile.clone()));
            let line = Line::empty(time, self.listener.as_str(), self.peer.to_string(), profile, trail.id());
            Line {
                decision: "issued",
                flow: house.broker.flow(&ask.profile).map(Flow::as_str),
                role_arn: opened.choice.expected.as_ref().map(ToString::to_string),
                reason: format!("session {} was opened: {}", opened.id, opened.choice.reason),
                trace_id: trail.trace_id(),
                ..about(line, Some(&opened.caller))
            }
        });
    }
}

/// The token that came with a call, by whom it came.
fn token(headers: &HeaderMap, connection: &Connection) -> Result<CupToken, Error> {
    bearer(headers).map(|token| token.presented_by(connection.peer.presenter()))
}

/// An empty text is a field that was not set.
fn ask(profile: String, role: String, session_policy: String, policy_arns: Vec<String>) -> Ask {
    let named = |text: String| Some(text).filter(|text| !text.is_empty());
    Ask {
        profile: named(profile).unwrap_or_else(|| "default".to_owned()),
        role: named(role),
        session_policy: named(session_policy),
        policy_arns,
    }
}

/// Counts a call, tells of its failure, and gives it its form.
pub(super) fn finish<T>(
    house: &House,
    trail: &Trail,
    listener: Listener,
    started: Duration,
    outcome: Outcome,
    done: Result<T, Error>,
) -> Result<Response<T>, Status> {
    match done {
        Ok(answer) => {
            house.answered(listener, outcome, started);
            Ok(Response::new(answer))
        }
        Err(error) => {
            house.reporter.tell(listener, &error, trail);
            house.answered(listener, reply::row(error.kind()).outcome, started);
            Err(status(&error, trail.id()))
        }
    }
}

/// The stream of a watch: ends with its first failure, and with the house.
fn renewals(
    house: Arc<House>,
    connection: Connection,
    trail: Trail,
    ask: Ask,
    watch: Watch,
    place: OwnedSemaphorePermit,
) -> Watched {
    Box::pin(unfold(Some((watch, place)), move |watched| {
        let (house, connection) = (Arc::clone(&house), connection.clone());
        let (trail, ask) = (trail.clone(), ask.clone());
        async move {
            let (mut watch, place) = watched?;
            let mut phase = house.phase.clone();
            let done = tokio::select! {
                done = AssertUnwindSafe(watch.next()).catch_unwind() => done.unwrap_or_else(|_panic| Err(house.panicked())),
                () = crate::server::stopping(&mut phase) => Err(Error::new(Kind::Draining, "the broker is stopping")),
            };
            connection.audited(&house, &trail, Some(&ask), &done);
            match done {
                Ok(grant) => {
                    let message = WatchCredentialsResponse {
                        credentials: Some(granted(&grant)),
                        present_token_by: grant.present_token_by.map(|expiry| timestamp(expiry.wall())),
                    };
                    Some((Ok(message), Some((watch, place))))
                }
                Err(error) => {
                    house.reporter.tell(connection.listener, &error, &trail);
                    house.answered(connection.listener, reply::row(error.kind()).outcome, house.clock.now().boot);
                    Some((Err(status(&error, trail.id())), None))
                }
            }
        }
    }))
}

/// An empty text is a field that was not set.
fn secret(text: String) -> Option<SecretString> {
    Some(text).filter(|text| !text.is_empty()).map(SecretString::from)
}

fn not_revoked_yet() -> Error {
    Error::new(
        Kind::UpstreamUnavailable,
        "the session is closed; its refresh token is not revoked yet, which is tried on",
    )
}

fn granted_outcome(grant: &Grant) -> Outcome {
    if grant.near_expiry { Outcome::NearExpiry } else { Outcome::Ok }
}

/// What is kept of a caller's deadline, so that the answer is there before the caller gives up and hears nothing.
fn margin(timeout: Duration) -> Duration {
    (timeout / 10).min(Duration::from_millis(100))
}

/// The caller's `grpc-timeout` (gRPC over HTTP/2, "Requests"): at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn granted(grant: &Grant) -> Credentials {
    let held = &grant.credentials;
    let role = held.role_arn.as_ref();
    Credentials {
        access_key_id: held.access_key_id.clone(),
        secret_access_key: held.expose_secret_access_key().to_owned(),
        session_token: held.expose_session_token().to_owned(),
        expiration: Some(timestamp(held.expires.wall())),
        role_arn: role.map(ToString::to_string).unwrap_or_default(),
        account_id: role.and_then(|role| role.account_id()).unwrap_or_default().to_owned(),
        identity_id: held.identity_id.as_ref().map(|id| id.0.to_string()).unwrap_or_default(),
    }
}

pub(super) fn timestamp(at: SystemTime) -> prost_types::Timestamp {
    prost_types::Timestamp::from(at)
}

/// The status for a failure, with google.rpc.ErrorInfo, which tells the request's number too, and, where trying again helps,
/// RetryInfo.
pub(super) fn status(error: &Error, request_id: u64) -> Status {
    let row = reply::row(error.kind());
    let mut details =
        ErrorDetails::with_error_info(row.reason, "cupbearer", [("request_id".to_owned(), request_id.to_string())]);
    if error.kind().passes_by_itself() || error.kind() == Kind::TooManyRequests {
        details.set_retry_info(Some(Duration::from_secs(1)));
    }
    Status::with_error_details(row.grpc, row.message, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_one_form() {
        let parsed = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(parsed("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parsed("2M"), Some(Duration::from_secs(120)));
        assert_eq!(parsed("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(parsed("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parsed("7u"), Some(Duration::from_micros(7)));
        assert_eq!(parsed("7n"), Some(Duration::from_nanos(7)));
        for bent in ["", "S", "5", "-5S", "+5S", "123456789S", "5s", "5 S", "1.5S"] {
            assert_eq!(parsed(bent), None, "{bent}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
