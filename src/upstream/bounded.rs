//! An HTTP client that says when a request departs, and reads no more of an answer than AWS ever says. Knows no call.
//!
//! The SDK reads an answer to its end, whatever its length: without this, whoever can answer in AWS's place, or a
//! proxy gone mad, could take all our memory. Answers are not unpacked by anyone, so that what is counted is what
//! is kept.

use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

use crate::upstream::departure;

/// Longest answer that is read, in bytes; AWS's have a few thousand.
const ANSWER_BYTES: usize = 64 * 1024;

/// A client whose requests tell of their departure, and whose answers fail once they are longer than 64 KiB.
#[derive(Debug)]
pub(super) struct Bounded(pub(super) SharedHttpClient);

#[derive(Debug)]
struct Connector(SharedHttpConnector);

impl HttpClient for Bounded {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector(self.0.http_connector(settings, components)))
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answering = self.0.call(request.map(departure::telling));
        HttpConnectorFuture::new(async move {
            let answer = answering.await?;
            Ok(answer.map(|body| SdkBody::from_body_1_x(Limited::new(body, ANSWER_BYTES))))
        })
    }
}
