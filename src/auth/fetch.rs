//! The one HTTP request of this room: a key set, over TLS, bounded in time and size. Knows no key.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::DATE;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use url::Url;

use crate::error::chain;

/// Longest key set document that is read, in bytes; Cognito's has about 1,000.
const DOCUMENT_BYTES: usize = 64 * 1024;

/// Time for the whole fetch, TLS handshake included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// A future that is boxed because it stands behind a trait object.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + 'a>>;

/// Brings the document at a URL; a trait so that tests can bring it without a network.
pub trait FetchKeys: Send + Sync {
    /// The document's bytes, or what went wrong, for the log.
    fn fetch<'a>(&'a self, url: &'a Url) -> Fetching<'a>;
}

/// Fetches with hyper and rustls. Follows no redirect and heeds no proxy variable: a key set comes from where the
/// configuration says and from nowhere else.
pub struct HttpsFetcher {
    /// For loopback, the only place where the configuration lets an http address be.
    plain: Client<HttpConnector, Empty<Bytes>>,
    tls: Option<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>>,
}

impl HttpsFetcher {
    /// A fetcher that, with `tls`, trusts the system's certificate authorities.
    ///
    /// # Errors
    /// When the system's certificate store cannot be read.
    pub fn new(tls: bool) -> std::io::Result<Self> {
        let plain = Client::builder(TokioExecutor::new()).build_http();
        if !tls {
            return Ok(Self { plain, tls: None });
        }
        let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_only().enable_http1().build();
        Ok(Self { plain, tls: Some(Client::builder(TokioExecutor::new()).build(connector)) })
    }

    /// The document at `url`, and the server's clock as it answered, by its `Date` header.
    ///
    /// # Errors
    /// With what went wrong.
    pub async fn fetch_dated(&self, url: &Url) -> Result<(Bytes, Option<SystemTime>), String> {
        let fetching = tokio::time::timeout(FETCH_TIMEOUT, self.get(url));
        fetching.await.unwrap_or_else(|_| Err("no whole answer within 3 s".to_owned()))
    }

    async fn get(&self, url: &Url) -> Result<(Bytes, Option<SystemTime>), String> {
        let uri: Uri = url.as_str().parse().map_err(|_| "the address is not a URI".to_owned())?;
        let request = Request::get(uri)
            .header("accept", "application/json")
            .header("user-agent", concat!("cupbearer/", env!("CUPBEARER_VERSION")))
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = match (&self.tls, url.scheme()) {
            (Some(tls), "https") => tls.request(request).await,
            (None, "https") => return Err("TLS was not set up".to_owned()),
            _ => self.plain.request(request).await,
        };
        let response = response.map_err(|error| chain(&error))?;
        if response.status() != StatusCode::OK {
            return Err(format!("the server answered {}", response.status().as_u16()));
        }
        let date = response.headers().get(DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| OffsetDateTime::parse(text, &Rfc2822).ok()).map(SystemTime::from);
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES).collect().await;
        Ok((body.map_err(|error| chain(&*error))?.to_bytes(), date))
    }
}

impl FetchKeys for HttpsFetcher {
    fn fetch<'a>(&'a self, url: &'a Url) -> Fetching<'a> {
        Box::pin(async move { self.fetch_dated(url).await.map(|(document, _date)| document) })
    }
}
