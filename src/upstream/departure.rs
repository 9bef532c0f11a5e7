//! The moment at which a request goes onto the wire. Between the call of the SDK and that moment lie the search for the
//! broker's own identity and a connection's making, seconds in all: calls that were let through in one second and sent in
//! another one would be too many there. The HTTP client asks a request for its body when it writes it, and not before
//! there is a connection; nothing nearer to the wire can be seen from here. Knows no call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::upstream::budget::Ticket;

tokio::task_local! {
    /// The place of the call that this task makes now.
    static CALLING: Arc<Ticket>;
}

/// Makes a call whose requests tell `ticket` when they depart.
pub(super) async fn told<T>(ticket: Arc<Ticket>, call: impl Future<Output = T>) -> T {
    CALLING.scope(ticket, call).await
}

/// The body of a request of the call that this task makes now: it tells of its departure, if anybody wants to know.
pub(super) fn telling(body: SdkBody) -> SdkBody {
    match CALLING.try_with(Arc::clone) {
        Ok(ticket) => SdkBody::from_body_1_x(Telling { body, ticket }),
        Err(_nobody) => body,
    }
}

struct Telling {
    body: SdkBody,
    ticket: Arc<Ticket>,
}

impl Body for Telling {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.ticket.departs();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, SystemTime};

    use aws_credential_types::Credentials as OwnCredentials;
    use aws_smithy_runtime_api::client::http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
    use aws_types::region::Region;
    use http_body_util::BodyExt;

    use super::*;
    use crate::chance::Chance;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::RoleArn;
    use crate::upstream::bounded::Bounded;
    use crate::upstream::calls::Calls;
    use crate::upstream::clients::Clients;
    use crate::upstream::{Aws, Budget, Exchange, Flow, Order, Rates, Session, Target};

    /// A wire whose first connections take their time, and that writes down when it was written to.
    #[derive(Clone, Debug)]
    struct Wire {
        clock: Clock,
        slow: Arc<AtomicUsize>,
        written: Arc<Mutex<Vec<Duration>>>,
    }

    impl HttpClient for Wire {
        fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
            SharedHttpConnector::new(self.clone())
        }
    }

    impl HttpConnector for Wire {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let wire = self.clone();
            let slow = wire.slow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            HttpConnectorFuture::new(async move {
                tokio::time::sleep(Duration::from_millis(if slow { 1_300 } else { 10 })).await;
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert!(body.starts_with(b"Action=AssumeRole"), "the body is whole");
                wire.written.lock().unwrap().push(wire.clock.now().boot);
                let refused = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>";
                Ok(HttpResponse::new(403_u16.try_into().unwrap(), SdkBody::from(refused)))
            })
        }
    }

    fn sts(wire: &Wire) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .retry_config(aws_smithy_types::retry::RetryConfig::disabled())
            .credentials_provider(OwnCredentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
            .http_client(Bounded(SharedHttpClient::new(wire.clone())));
        aws_sdk_sts::Client::from_conf(config.build())
    }

    fn order() -> Order {
        let target = Target {
            flow: Flow::AssumeRole,
            identity_pool_id: "".into(),
            logins_key: None,
            region: "us-east-1".into(),
            duration: Duration::from_secs(3_600),
            external_id: None,
        };
        Order {
            target: Arc::new(target),
            issuer: "https://issuer".into(),
            subject: "alice".into(),
            token: None,
            role: Some(RoleArn::new("arn:aws:iam::111122223333:role/editor")),
            session: Arc::new(Session { name: "alice".to_owned(), ..Session::default() }),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_on_the_wire_however_long_connections_take() {
        let clock = Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let wire = Wire { clock: clock.clone(), slow: Arc::new(AtomicUsize::new(2)), written: Arc::default() };
        let rates = Rates {
            get_id: 1,
            get_credentials_for_identity: 1,
            get_open_id_token: 1,
            assume_role: 2,
            refresh_token: 1,
        };
        let clients = Clients { cognito: HashMap::new(), sts: HashMap::from([("us-east-1".to_owned(), sts(&wire))]) };
        let calls = Calls { clients, clock: clock.clone() };
        let budget = Arc::new(Budget::new(rates, clock.clone(), Chance::seeded(0)));
        let aws = Aws::over(Arc::new(calls), budget, clock, Arc::new(Metrics::new("test").unwrap()));
        let order = order();
        let done = futures::future::join_all((0..8).map(|_| aws.exchange(&order))).await;
        let codes: Vec<_> = done.into_iter().map(|done| done.unwrap_err().code).collect();
        assert_eq!(codes, ["AccessDenied"; 8]);
        let written = wire.written.lock().unwrap().clone();
        let crowded: Vec<_> =
            written.windows(3).filter(|three| three[2] - three[0] <= Duration::from_secs(1)).collect();
        assert!(crowded.is_empty(), "more than two in a second: {written:?}");
    }
}
