//! Traces: a request, the exchange that it causes and the calls of it, by OpenTelemetry's protocol to a collector. Knows no
//! door and no flow.
//!
//! W3C's `traceparent` of a request is honoured in the log and the audit log, whether spans are exported or not. Spans are
//! exported only where the configuration names a collector; a span that cannot be queued is lost, and nobody waits. Their
//! attributes are names and numbers, and never a token, a claim or a user.

mod export;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::OnceLock;

use http::{HeaderMap, HeaderName};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{FutureExt, Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use url::Url;

pub use export::{Exporter, StartError, start};

/// Where spans go.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The collector's address; OTLP over HTTP, so that `/v1/traces` is below it.
    pub otlp_endpoint: Url,
    /// Which part of the requests is traced that do not come with a decision of their own.
    pub sample_ratio: f64,
}

/// The one who makes spans, if any are made. One for the process, as the log is.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What one request is known by, in the log, in the audit log and at the collector.
#[derive(Clone)]
pub struct Trail {
    id: u64,
    context: Option<Context>,
    /// The context's span is our own.
    recorded: bool,
}

/// Whose request an exchange is made for: its trace goes on there. Small, since every entry has room for one.
#[derive(Default)]
pub struct Cause(Option<Box<SpanContext>>);

/// A call that is under way.
pub struct Call(Option<opentelemetry_sdk::trace::Span>);

impl Trail {
    /// The request with the number `id`, which came with `headers`.
    pub fn begin(id: u64, headers: &HeaderMap, listener: &'static str) -> Self {
        let parent = headers.contains_key(&TRACEPARENT).then(|| {
            let nowhere = Context::new();
            TraceContextPropagator::new().extract_with_context(&nowhere, &HeaderExtractor(headers))
        });
        let Some(tracer) = TRACER.get() else { return Self { id, context: parent, recorded: false } };
        let parent = parent.unwrap_or_default();
        let attributes = [
            KeyValue::new("cupbearer.listener", listener),
            KeyValue::new("cupbearer.request_id", i64::try_from(id).unwrap_or(i64::MAX)),
        ];
        let builder = tracer.span_builder("request").with_kind(SpanKind::Server).with_attributes(attributes);
        let span = builder.start_with_context(tracer, &parent);
        Self { id, context: Some(parent.with_span(span)), recorded: true }
    }

    /// Its number, by which the log and the audit log tell of it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The trace that it belongs to, in W3C's form, if it belongs to one.
    pub fn trace_id(&self) -> Option<String> {
        let span = self.context.as_ref()?.span();
        let context = span.span_context();
        context.is_valid().then(|| context.trace_id().to_string())
    }

    /// Does `work` for this request: what it causes belongs to the request's trace.
    pub async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        // In one place, so that the two ways do not each make room for it.
        let work = pin!(work);
        match &self.context {
            Some(context) if self.recorded => work.with_context(context.clone()).await,
            _ => work.await,
        }
    }

    /// The request is answered.
    pub fn end(&self, outcome: &'static str, failed: bool) {
        let Some(context) = self.context.as_ref().filter(|_| self.recorded) else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new("cupbearer.outcome", outcome));
        if failed {
            span.set_status(Status::error(outcome));
        }
        span.end();
    }
}

impl Cause {
    /// The request for which this is called, within [`Trail::around`].
    pub fn current() -> Self {
        let told = TRACER.get().map(|_| Context::current().span().span_context().clone());
        Self(told.filter(SpanContext::is_valid).map(Box::new))
    }

    /// This one, or `other` if this is none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }

    /// Whether nobody waits for it.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

/// `work` as the span `name`, caused by `cause`; `outcome` says how it went, and whether it failed.
pub fn caused<T: Send + 'static>(
    cause: Cause,
    name: &'static str,
    attribute: &'static str,
    work: Pin<Box<dyn Future<Output = T> + Send>>,
    outcome: fn(&T) -> (&'static str, bool),
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    let Some(tracer) = TRACER.get() else { return work };
    let parent = cause.0.map_or_else(Context::new, |cause| Context::new().with_remote_span_context(*cause));
    let builder = tracer.span_builder(name).with_attributes([KeyValue::new("cupbearer.flow", attribute)]);
    let context = parent.with_span(builder.start_with_context(tracer, &parent));
    Box::pin(async move {
        let done = work.with_context(context.clone()).await;
        let (outcome, failed) = outcome(&done);
        let span = context.span();
        span.set_attribute(KeyValue::new("cupbearer.outcome", outcome));
        if failed {
            span.set_status(Status::error(outcome));
        }
        span.end();
        done
    })
}

impl Call {
    /// A call of `operation` to AWS begins, within [`caused`].
    pub fn begin(operation: &'static str) -> Self {
        Self(TRACER.get().map(|tracer| {
            let attributes = [KeyValue::new("rpc.system", "aws-api"), KeyValue::new("rpc.method", operation)];
            let builder = tracer.span_builder(operation).with_kind(SpanKind::Client).with_attributes(attributes);
            builder.start_with_context(tracer, &Context::current())
        }))
    }

    /// It has ended. `request_id` is AWS's, for a call that failed.
    pub fn end(self, outcome: &'static str, failed: bool, request_id: Option<&str>) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new("cupbearer.outcome", outcome));
        if let Some(id) = request_id {
            span.set_attribute(KeyValue::new("aws.request_id", id.to_owned()));
        }
        if failed {
            span.set_status(Status::error(outcome));
        }
        span.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace_id(traceparent: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(&TRACEPARENT, http::HeaderValue::from_static(traceparent));
        Trail::begin(7, &headers, "http").trace_id()
    }

    #[test]
    fn a_traceparent_is_honoured_if_it_is_one() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").as_deref(), Some(id));
        for bent in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-xyz-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_id(bent), None, "{bent}");
        }
        assert_eq!(Trail::begin(7, &HeaderMap::new(), "http").trace_id(), None);
    }
}
