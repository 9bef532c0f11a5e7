//! The per-request way: an API that reads and writes documents with the role of the user who asks.
//!
//! ```text
//! BROKER=127.0.0.1:2870 BUCKET=documents cargo run --example api -- PORT
//! ```
//!
//! GET and PUT `/documents/KEY` with `Authorization: <ID token>`. The broker answers from its cache, so it is asked at
//! every request: whose token has expired, or who lost a group, is refused by the next one. One S3 client serves all
//! users; the credentials go with the single operation.

use std::convert::Infallible;
use std::error::Error;

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use tokio::net::TcpListener;

/// What the handlers share.
struct Api {
    broker: Client<HttpConnector, Empty<Bytes>>,
    credentials: String,
    s3: aws_sdk_s3::Client,
    bucket: String,
}

/// The user's credentials, as the broker answers them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct User {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

/// A request that ends early: the status and the text for the user.
struct Refused(StatusCode, Bytes);

impl Api {
    /// The credentials of the user whose token this is, or the broker's own refusal.
    async fn user(&self, token: Option<&HeaderValue>) -> Result<Credentials, Refused> {
        let mut request = Request::get(&self.credentials);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Empty::new()).map_err(unreachable_broker)?;
        let answer = self.broker.request(request).await.map_err(unreachable_broker)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(unreachable_broker)?.to_bytes();
        if status != StatusCode::OK {
            return Err(Refused(status, body));
        }
        let user: User = serde_json::from_slice(&body).map_err(unreachable_broker)?;
        Ok(Credentials::new(user.access_key_id, user.secret_access_key, Some(user.token), None, "cupbearer"))
    }

    async fn document(&self, request: Request<Incoming>) -> Result<Bytes, Refused> {
        let user = self.user(request.headers().get(AUTHORIZATION)).await?;
        let with_user = aws_sdk_s3::config::Builder::new().credentials_provider(user);
        let key = request.uri().path().trim_start_matches("/documents/").to_owned();
        if request.method() == Method::GET {
            let asked = self.s3.get_object().bucket(&self.bucket).key(key).customize().config_override(with_user);
            let found = asked.send().await.map_err(|error| refused_by_s3(&error))?;
            return Ok(found.body.collect().await.map_err(unreachable_broker)?.into_bytes());
        }
        let body = request.into_body().collect().await.map_err(unreachable_broker)?.to_bytes();
        let asked = self.s3.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(body));
        let done = asked.customize().config_override(with_user).send().await;
        done.map(|_| Bytes::from_static(b"written")).map_err(|error| refused_by_s3(&error))
    }
}

fn unreachable_broker(error: impl Error) -> Refused {
    Refused(StatusCode::BAD_GATEWAY, Bytes::from(error.to_string()))
}

fn refused_by_s3<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Refused {
    let status = error.raw_response().and_then(|answer| StatusCode::from_u16(answer.status().as_u16()).ok());
    let code = error.code().unwrap_or("no answer").to_owned();
    Refused(status.unwrap_or(StatusCode::BAD_GATEWAY), Bytes::from(code))
}

#[tokio::main]
#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program of its own: it says where it listens")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: api PORT")?.parse()?;
    // No identity of the service's own: what has no user's credentials is not signed at all.
    let config = aws_config::defaults(BehaviorVersion::latest()).no_credentials().load().await;
    let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
    let api: &'static Api = Box::leak(Box::new(Api {
        broker: Client::builder(TokioExecutor::new()).build_http(),
        credentials: format!("http://{}/v1/credentials", std::env::var("BROKER")?),
        s3: aws_sdk_s3::Client::from_conf(s3),
        bucket: std::env::var("BUCKET")?,
    }));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = hyper::service::service_fn(async move |request| {
            let (status, body) = match api.document(request).await {
                Ok(body) => (StatusCode::OK, body),
                Err(Refused(status, body)) => (status, body),
            };
            let mut answer = Response::new(Full::new(body));
            *answer.status_mut() = status;
            Ok::<_, Infallible>(answer)
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
