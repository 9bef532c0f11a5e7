//! The connections to AWS, kept for as long as AWS answers. When its machine, or a NAT before it, vanishes without a word,
//! the system goes on sending into the void for a quarter of an hour, and a call that is given up says nothing of the
//! connections beside its own: each of those would take one more exchange to be found dead. So a call that gets no
//! answer puts all of them out of use; the next one makes a new one. Knows no call.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// A client that begins with new connections after a call that was given up.
#[derive(Clone)]
pub(super) struct Connections {
    make: fn() -> SharedHttpClient,
    /// With the connections that are in use.
    current: Arc<ArcSwap<SharedHttpClient>>,
}

#[derive(Debug)]
struct Connector {
    connections: Connections,
    of: Arc<SharedHttpClient>,
    connector: SharedHttpConnector,
}

/// A request without an answer.
struct Unanswered {
    connections: Connections,
    of: Arc<SharedHttpClient>,
    answered: bool,
}

impl Connections {
    /// Over the clients that `make` makes, each with connections of its own.
    pub(super) fn new(make: fn() -> SharedHttpClient) -> Self {
        Self { make, current: Arc::new(ArcSwap::from_pointee(make())) }
    }
}

impl HttpClient for Connections {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let of = self.current.load_full();
        let connector = of.http_connector(settings, components);
        SharedHttpConnector::new(Connector { connections: self.clone(), of, connector })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.current.load().connector_metadata()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answering = self.connector.call(request);
        let (connections, of) = (self.connections.clone(), Arc::clone(&self.of));
        let waiting = Unanswered { connections, of, answered: false };
        HttpConnectorFuture::new(async move {
            let answer = answering.await;
            waiting.ends();
            answer
        })
    }
}

impl Unanswered {
    /// There was an answer, or word that there will be none. Takes all of it: a closure that only set the flag would have a
    /// copy of that, and nothing to drop.
    fn ends(mut self) {
        self.answered = true;
    }
}

impl Drop for Unanswered {
    /// Of many calls that are given up together one makes the new client; those under way on the old one go on.
    fn drop(&mut self) {
        if !self.answered {
            let current = &self.connections.current;
            if Arc::ptr_eq(&current.load(), &self.of) {
                current.store(Arc::new((self.connections.make)()));
            }
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connections")
    }
}
