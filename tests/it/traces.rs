//! Traces on the wire: `traceparent` in the log, the audit log and a refusal, and spans at a collector that decodes them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::http;
use crate::support::scene::{Scene, embedded, token};
use crate::support::settings::Settings;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A collector: what it was sent, decoded, and as bytes.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    raw: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    async fn start() -> (Self, SocketAddr) {
        let (collector, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (address, seen) = (listener.local_addr().unwrap(), collector.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let seen = seen.clone();
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        seen.raw.lock().unwrap().extend_from_slice(&body);
                        let decoded = ExportTraceServiceRequest::decode(body).unwrap();
                        let resources = decoded.resource_spans.into_iter();
                        let spans = resources.flat_map(|one| one.scope_spans).flat_map(|one| one.spans);
                        seen.spans.lock().unwrap().extend(spans);
                        Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::new(Bytes::new())))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (collector, address)
    }

    /// The spans of one trace, once one of these names is among them.
    async fn trace(&self, id: &str, name: &str) -> Vec<Span> {
        let started = tokio::time::Instant::now();
        loop {
            let spans = self.spans.lock().unwrap().clone();
            let ours: Vec<_> = spans.iter().filter(|span| hex(&span.trace_id) == id).cloned().collect();
            if ours.iter().any(|span| span.name == name) {
                return ours;
            }
            let names: Vec<_> = spans.iter().map(|span| (&span.name, hex(&span.trace_id))).collect();
            assert!(started.elapsed() < PATIENCE, "no {name} in {id}: {names:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:?}"))
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == key)?;
    match found.value.clone()?.value? {
        Any::StringValue(text) => Some(text),
        Any::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_its_exchange_and_its_calls_are_one_trace() {
    let ((collector, address), proxy) = (Collector::start().await, embedded().await);
    let more = format!("---[tracing]\notlp_endpoint = \"http://{address}\"\n");
    let text = Settings { more: &more, ..Settings::new(&proxy.url) }.text();
    let mut scene = Scene::before(proxy, &text, &[("OTEL_BSP_SCHEDULE_DELAY", "50")]).await;
    let bearer = token("alice");
    let reply = http::get(scene.http, "/v1/credentials", &[("Authorization", &bearer), ("traceparent", PARENT)]).await;
    assert_eq!(reply.status, 200);
    let spans = collector.trace(TRACE, "request").await;
    let request = named(&spans, "request");
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!(attribute(request, "cupbearer.outcome").as_deref(), Some("ok"));
    let spans = collector.trace(TRACE, "exchange").await;
    let exchange = named(&spans, "exchange");
    assert_eq!(exchange.parent_span_id, request.span_id);
    assert_eq!(attribute(exchange, "cupbearer.flow").as_deref(), Some("enhanced"));
    for call in ["GetId", "GetCredentialsForIdentity"] {
        let spans = collector.trace(TRACE, call).await;
        assert_eq!(named(&spans, call).parent_span_id, exchange.span_id, "{call}");
    }
    let reply = http::get(scene.http, "/v1/credentials", &[("Authorization", "Canary.x.y")]).await;
    assert_eq!(reply.status, 401);
    let id = reply.header("cupbearer-request-id").unwrap().to_owned();
    scene.daemon.terminate();
    assert!(scene.daemon.ended().await.success());
    let all = collector.spans.lock().unwrap().clone();
    let refused = all.iter().find(|span| attribute(span, "cupbearer.request_id").as_ref() == Some(&id)).unwrap();
    assert_eq!(attribute(refused, "cupbearer.outcome").as_deref(), Some("unauthorized"));
    let raw = collector.raw.lock().unwrap().clone();
    for secret in [bearer.as_str(), "Canary", "alice", "0a1c2d3e-4f50-4612-9734-a1b2c3d4e5f6"] {
        let secret = secret.as_bytes();
        assert!(!raw.windows(secret.len()).any(|bytes| bytes == secret), "a span tells a secret");
    }
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_holds_nobody_up() {
    // It takes connections and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for endpoint in ["http://127.0.0.1:9".to_owned(), format!("http://{}", hanging.local_addr().unwrap())] {
        let proxy = embedded().await;
        let more = format!("---[tracing]\notlp_endpoint = \"{endpoint}\"\n");
        let text = Settings { more: &more, ..Settings::new(&proxy.url) }.text();
        let variables = [("OTEL_BSP_SCHEDULE_DELAY", "50"), ("OTEL_BSP_MAX_QUEUE_SIZE", "8")];
        let mut scene = Scene::before(proxy, &text, &variables).await;
        let bearer = token("alice");
        for _ in 0..200 {
            assert_eq!(scene.ask("/v1/credentials", &bearer).await.status, 200, "{endpoint}");
        }
        if endpoint.ends_with(":9") {
            let told = |daemon: &Daemon| daemon.log().contains("spans cannot be exported").then_some(());
            assert!(scene.daemon.wait_for(told).await.is_some(), "{}", scene.daemon.log());
            assert_eq!(scene.daemon.log().matches("spans cannot be exported").count(), 1, "told once");
        }
        scene.daemon.terminate();
        assert!(scene.daemon.ended().await.success(), "{endpoint}");
    }
}

#[tokio::test]
async fn a_traceparent_and_the_requests_number_are_in_the_log_and_the_audit_log() {
    let audit = tempfile::tempdir().unwrap();
    let file = audit.path().join("audit.jsonl");
    let more = format!("---[audit]\nfile = \"{}\"\n", file.display());
    let scene = Scene::with(&more, "authenticated_role").await;
    let reply = http::get(scene.http, "/v1/credentials", &[("Authorization", "a.b.c"), ("traceparent", PARENT)]).await;
    let id: u64 = reply.header("cupbearer-request-id").unwrap().parse().unwrap();
    let with_id = |text: &str| {
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["request_id"] == id).collect::<Vec<_>>()
    };
    let logged = scene.daemon.wait_for(|daemon| with_id(&daemon.log()).pop()).await.unwrap();
    assert_eq!((&logged["message"], &logged["trace_id"]), (&"refused".into(), &TRACE.into()), "{logged}");
    let read = |_: &Daemon| with_id(&std::fs::read_to_string(&file).unwrap_or_default()).pop();
    let audited = scene.daemon.wait_for(read).await.unwrap();
    assert_eq!((&audited["decision"], &audited["trace_id"]), (&"denied".into(), &TRACE.into()), "{audited}");
    // Without one, the number alone.
    let reply = scene.ask("/v1/credentials", "a.b.c").await;
    let id: u64 = reply.header("cupbearer-request-id").unwrap().parse().unwrap();
    let found = scene.daemon.wait_for(|_| {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.rfind(|line| line["request_id"] == id)
    });
    assert_eq!(found.await.unwrap().get("trace_id"), None);
}
