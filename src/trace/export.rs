//! The way of spans to a collector: OpenTelemetry's own queue and thread, and an HTTP client of ours. Knows no span.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::warn;

use crate::trace::{Config, TRACER};

/// Time for one batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the last batch.
const LAST_BATCH: Duration = Duration::from_secs(2);

/// Longest answer of a collector that is read, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// Spans are exported for as long as it is there.
pub struct Exporter(SdkTracerProvider);

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system's certificate authorities cannot be read.
    #[error("the system's certificate authorities cannot be read: {0}; install the package ca-certificates")]
    Certificates(#[source] std::io::Error),
    /// The exporter does not like what it was given.
    #[error("spans cannot be exported: {0}; check [tracing] otlp_endpoint")]
    Exporter(#[from] ExporterBuildError),
}

/// Begins to export spans, in a process that does not do so yet. Has to be called on a runtime.
///
/// # Errors
/// When the machine lacks what TLS needs.
pub fn start(config: &Config, version: &'static str) -> Result<Exporter, StartError> {
    let sender = Sender::new(config.otlp_endpoint.scheme() == "https").map_err(StartError::Certificates)?;
    let endpoint = format!("{}/v1/traces", config.otlp_endpoint.as_str().trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(sender)
        .with_endpoint(endpoint)
        .with_timeout(SEND_TIMEOUT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name("cupbearer")
        .with_attribute(opentelemetry::KeyValue::new("service.version", version))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio))))
        .with_resource(resource)
        .build();
    TRACER.get_or_init(|| provider.tracer("cupbearer"));
    Ok(Exporter(provider))
}

impl Exporter {
    /// Sends what is left, for as long as the last batch may take; blocks.
    pub fn finish(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_BATCH) {
            warn!(%error, "the last spans were not exported");
        }
    }
}

/// Sends batches. The exporter has a thread of its own, on which no socket of the runtime works: what it sends is sent on
/// the runtime.
struct Sender {
    runtime: Handle,
    plain: Client<HttpConnector, Full<Bytes>>,
    tls: Option<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
    failing: AtomicBool,
}

impl Sender {
    fn new(tls: bool) -> std::io::Result<Self> {
        let plain = Client::builder(TokioExecutor::new()).build_http();
        let tls = match tls {
            true => {
                let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_only().enable_http1().build();
                Some(Client::builder(TokioExecutor::new()).build(connector))
            }
            false => None,
        };
        Ok(Self { runtime: Handle::current(), plain, tls, failing: AtomicBool::new(false) })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = request.map(Full::new);
        let sending = match &self.tls {
            Some(tls) => tls.request(request),
            None => self.plain.request(request),
        };
        let receiving = async move {
            let (head, body) = sending.await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        // Made there too: a timer needs its runtime from the start.
        self.runtime.spawn(async move { tokio::time::timeout(SEND_TIMEOUT, receiving).await }).await??
    }

    /// A collector that is away is told of once, and once more when it is back.
    fn note(&self, failure: Option<String>) {
        let fails = failure.is_some();
        if self.failing.swap(fails, Ordering::Relaxed) == fails {
            return;
        }
        match failure {
            Some(error) => {
                warn!(%error, "spans cannot be exported; they are lost until they can: check [tracing] otlp_endpoint")
            }
            None => warn!("spans are exported again"),
        }
    }
}

#[tonic::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let done = self.send(request).await;
        self.note(match &done {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the collector answers {}", response.status().as_u16())),
            Err(error) => Some(crate::error::chain(&**error)),
        });
        done
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}
