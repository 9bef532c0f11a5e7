//! A running broker, as a command meets it: where it is, what is asked of it, and what it answers. Knows no command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use url::Url;

use crate::cli::Failure;
use crate::config;
use crate::error::chain;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// Time for one question. The broker holds a caller for less than a second.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Whose credentials are wanted, and from where.
#[derive(Debug, Args)]
pub(super) struct CredentialsArgs {
    /// Where the broker's HTTP door is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:2870")]
    endpoint: String,
    /// The profile [default: default].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The alias of the role to ask for [default: the role by the profile's rules].
    #[arg(long, value_name = "ALIAS")]
    role: Option<String>,
    /// A session, by its id or its configured name, in place of a profile; the token is then the session's own.
    #[arg(long, value_name = "ID", conflicts_with_all = ["profile", "role"])]
    session: Option<String>,
    /// The file with the user's ID token, on one line.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

impl CredentialsArgs {
    /// The address that answers with the credentials.
    pub(super) fn url(&self) -> Result<Url, Failure> {
        let path = match (&self.session, &self.profile, &self.role) {
            (Some(session), _, _) => format!("v1/sessions/{}", segment(session)?),
            (None, None, None) => "v1/credentials".to_owned(),
            (None, profile, None) => format!("v1/credentials/{}", segment(profile.as_deref().unwrap_or(DEFAULT))?),
            (None, profile, Some(role)) => {
                format!("v1/credentials/{}/{}", segment(profile.as_deref().unwrap_or(DEFAULT))?, segment(role)?)
            }
        };
        below(&self.endpoint, &path)
    }

    pub(super) fn token_file(&self) -> &Path {
        &self.token_file
    }
}

const DEFAULT: &str = "default";

/// The address of `path` at the broker whose door is at `endpoint`.
pub(super) fn below(endpoint: &str, path: &str) -> Result<Url, Failure> {
    let fault =
        |what: &str| Failure::Usage(format!("--endpoint {endpoint}: {what}; an example is http://127.0.0.1:2870"));
    let url = config::url(endpoint).map_err(fault)?;
    if url.path() != "/" {
        return Err(fault("it has a path of its own"));
    }
    url.join(path).map_err(|error| fault(&error.to_string()))
}

/// What the door takes for a name, and no other text: it would have to be encoded.
fn segment(name: &str) -> Result<&str, Failure> {
    let sound = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let fault =
        || Failure::Usage(format!("{name:?} is no name: letters, digits and any of _.- are; roles go by alias"));
    sound.then_some(name).ok_or_else(fault)
}

/// Asks over loopback, heeding no proxy variable.
pub(super) struct Asker(Client<HttpConnector, Empty<Bytes>>);

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Asker {
    pub(super) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// The answer to `GET url`.
    ///
    /// # Errors
    /// When there is none, with the reason.
    pub(super) async fn get(&self, url: &Url, authorization: Option<&HeaderValue>) -> Result<Answer, String> {
        if url.scheme() != "http" {
            return Err("this command speaks plain http alone, over loopback".to_owned());
        }
        let asking = tokio::time::timeout(QUESTION_TIMEOUT, self.ask(url, authorization));
        asking.await.unwrap_or_else(|_elapsed| Err(format!("no answer within {} s", QUESTION_TIMEOUT.as_secs())))
    }

    async fn ask(&self, url: &Url, authorization: Option<&HeaderValue>) -> Result<Answer, String> {
        let uri: Uri = url.as_str().parse().map_err(|_| "the address is no URI".to_owned())?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let response = self.0.request(request).await.map_err(|error| chain(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        Ok(Answer { status, body: body.map_err(|error| chain(&*error))?.to_bytes() })
    }
}

impl Answer {
    /// Code and text of a refusal, as the broker tells them.
    pub(super) fn refusal(&self) -> String {
        let told: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        match (told["code"].as_str(), told["message"].as_str()) {
            (Some(code), Some(message)) => format!("{} {code}: {message}", self.status),
            _ => format!(
                "status {}, in words that are not the broker's: is something else at this address?",
                self.status
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(endpoint: &str, profile: Option<&str>, role: Option<&str>, session: Option<&str>) -> Option<String> {
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        let (profile, role, session) = (owned(profile), owned(role), owned(session));
        let args =
            CredentialsArgs { endpoint: endpoint.to_owned(), profile, role, session, token_file: PathBuf::new() };
        args.url().ok().map(|url| url.to_string())
    }

    #[test]
    fn the_address_is_one_that_the_door_serves() {
        let at = "http://127.0.0.1:2870";
        let served = |path: &str| Some(format!("{at}{path}"));
        assert_eq!(url(at, None, None, None), served("/v1/credentials"));
        assert_eq!(url(at, Some("reports"), None, None), served("/v1/credentials/reports"));
        assert_eq!(url(at, None, Some("admin"), None), served("/v1/credentials/default/admin"));
        assert_eq!(url(at, None, None, Some("nightly")), served("/v1/sessions/nightly"));
        assert_eq!(
            url("https://broker.example", None, None, None).as_deref(),
            Some("https://broker.example/v1/credentials")
        );
        for endpoint in ["127.0.0.1:2870", "http://10.0.0.1:2870", "http://127.0.0.1:2870/v1/credentials", ""] {
            assert_eq!(url(endpoint, None, None, None), None, "{endpoint}");
        }
        for name in ["", "a/b", "..%2f", "arn:aws:iam::111122223333:role/admin"] {
            assert_eq!(url(at, Some(name), None, None), None, "{name}");
        }
    }
}
