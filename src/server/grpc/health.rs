//! `grpc.health.v1`: whether the broker is ready, for everybody who asks. Knows no token.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as Interface, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::HealthService;

use crate::metrics::Outcome;
use crate::server::grpc::MESSAGE_BYTES;
use crate::server::grpc::service::{Call, finish};
use crate::server::{House, stopping};

/// How often it is looked whether readiness has changed.
const PERIOD: Duration = Duration::from_millis(250);

/// The service's name, as health checks ask for it.
const SERVICE: &str = "cupbearer.v1.CredentialBroker";

/// tonic's own, in which each watch needs a place on its connection.
pub(super) struct Health {
    house: Arc<House>,
    service: HealthService,
}

/// Each change of readiness.
type Watched = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

/// The service. It asks for no token, and so its messages are bounded as all are.
pub(super) fn server(house: &Arc<House>) -> HealthServer<Health> {
    let service = HealthService::from_health_reporter(house.health.clone());
    HealthServer::new(Health { house: Arc::clone(house), service }).max_decoding_message_size(MESSAGE_BYTES)
}

#[tonic::async_trait]
impl Interface for Health {
    type WatchStream = Watched;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.service.check(request).await
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watched>, Status> {
        let call = Call::new(&self.house, request);
        let place = call.connection.place_to_watch();
        let place =
            finish(&self.house, &call.trail, call.connection.listener, call.started, Outcome::Ok, place)?.into_inner();
        let watched = self.service.watch(Request::new(call.message)).await?;
        Ok(watched.map(|changes| {
            let changes = changes.inspect(move |_| {
                let _held = &place;
            });
            Box::pin(changes) as Watched
        }))
    }
}

/// Keeps the health service as ready as the house is. At the end it ends those who watch: they would hold their
/// connections open.
pub(in crate::server) async fn watch_health(house: &House) {
    let (mut phase, mut health) = (house.phase.clone(), house.health.clone());
    let mut told = None;
    loop {
        let ready = house.waiting_for().is_empty();
        if told != Some(ready) {
            told = Some(ready);
            let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            for service in ["", SERVICE] {
                health.set_service_status(service, status).await;
            }
        }
        if tokio::time::timeout(PERIOD, stopping(&mut phase)).await.is_ok() {
            for service in ["", SERVICE] {
                health.clear_service_status(service).await;
            }
            return;
        }
    }
}
