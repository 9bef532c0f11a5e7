//! Whom a role trusts, and who the broker itself is, for `cupbearer doctor`. Not on the way of any request.
//!
//! The SDK's client of IAM would be the largest part of the program, for one of its 170 calls: here that call is made of
//! the SDK's own libraries, its signer, its HTTP client and its reader of XML.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_xml::decode::{Document, try_data};
use serde_json::{Value, json};
use url::Url;

use crate::clock::Clock;
use crate::error::chain;
use crate::model::RoleArn;
use crate::upstream::clients::{self, Config};

/// Looks at roles as whoever runs it.
pub struct RoleInspector {
    own: Result<Credentials, String>,
    endpoint: Option<Url>,
    patience: Duration,
}

/// Why nobody knows whom a role trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleFault {
    /// There is no such role.
    Missing,
    /// AWS, or the way there, said something else.
    Unknown(String),
}

/// The IAM of a partition: its one host, and the region that its requests are signed for (AWS General Reference, "AWS
/// Identity and Access Management endpoints"; for aws-eusc the endpoint rules of AWS's own SDKs).
const HOSTS: &[(&str, &str, &str)] = &[
    ("aws", "iam.amazonaws.com", "us-east-1"),
    ("aws-cn", "iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
    ("aws-us-gov", "iam.us-gov.amazonaws.com", "us-gov-west-1"),
    ("aws-eusc", "iam.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
];

/// What IAM says of a role that is not there.
const MISSING: &str = "NoSuchEntity";

/// An answer that is no success: its code and message.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
struct Refused {
    code: String,
    message: String,
}

impl RoleInspector {
    /// Finds out who asks: `own`, or who AWS's default places name.
    pub async fn new(config: &Config, own: Option<SharedCredentialsProvider>) -> Self {
        let own = match own {
            Some(given) => given,
            None => clients::default_identity(region(config)).await,
        };
        let own = own.provide_credentials().await.map_err(|error| chain(&error));
        Self { own, endpoint: elsewhere(config), patience: config.call_timeout }
    }

    /// The role's name and trust policy, as `aws iam get-role` tells them.
    ///
    /// # Errors
    /// When there is no such role, or AWS does not say.
    pub async fn role(&self, arn: &RoleArn) -> Result<Value, RoleFault> {
        let name = arn.as_str().rsplit('/').next().unwrap_or_default();
        let partition = arn.as_str().split(':').nth(1).unwrap_or_default();
        let told = self.named(partition, name).await?;
        match told["Role"]["Arn"].as_str() {
            Some(theirs) if theirs == arn.as_str() => Ok(told),
            // IAM goes by the name, within the account of whoever asks.
            theirs => Err(RoleFault::Unknown(format!(
                "the role of this name in the account that was asked is {}",
                theirs.unwrap_or("another one")
            ))),
        }
    }

    /// The ARN of the user or role as which this runs: of a role's session, the role's.
    ///
    /// # Errors
    /// With what AWS, or the way there, said.
    pub async fn caller(&self, config: &Config) -> Result<String, String> {
        let own = SharedCredentialsProvider::new(self.own.clone()?);
        let answer = clients::sts(region(config), config, Some(own)).get_caller_identity().send().await;
        let arn = answer.map_err(|error| chain(&error))?.arn.unwrap_or_default();
        let Some((partition, account, name)) = assumed(&arn) else { return Ok(arn) };
        // The session's ARN leaves out the role's path.
        let told = self.named(partition, name).await.ok();
        let whole = told.and_then(|told| told["Role"]["Arn"].as_str().map(ToOwned::to_owned));
        Ok(whole.unwrap_or_else(|| format!("arn:{partition}:iam::{account}:role/{name}")))
    }

    async fn named(&self, partition: &str, name: &str) -> Result<Value, RoleFault> {
        let own = self.own.clone().map_err(RoleFault::Unknown)?;
        let (host, region) = place(partition)?;
        let url = self.endpoint.as_ref().map_or_else(|| format!("https://{host}/"), ToString::to_string);
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("Action", "GetRole"), ("Version", "2010-05-08"), ("RoleName", name)])
            .finish();
        let endpoint = url.clone();
        let get_role = Operation::builder()
            .service_name("IAM")
            .operation_name("GetRole")
            .http_client(clients::http())
            .endpoint_url(&endpoint)
            .no_auth()
            .no_retry()
            .timeout_config(clients::timeouts(self.patience))
            .serializer(move |form: String| signed(&url, form, &own, region))
            .deserializer(read)
            .build();
        get_role.invoke(form).await.map_err(|error| match &error {
            SdkError::ServiceError(refused) if refused.err().code == MISSING => RoleFault::Missing,
            _ => RoleFault::Unknown(chain(&error)),
        })
    }
}

/// The host and the region of a partition's IAM.
fn place(partition: &str) -> Result<(&'static str, &'static str), RoleFault> {
    let found = HOSTS.iter().find(|(one, _, _)| *one == partition).map(|(_, host, region)| (*host, *region));
    let unknown =
        || format!("it is not known here where the IAM of partition {partition} is: look at the role yourself");
    found.ok_or_else(|| RoleFault::Unknown(unknown()))
}

/// Where IAM is, if AWS is elsewhere as a whole: where one other address was given for all of it.
fn elsewhere(config: &Config) -> Option<Url> {
    let sts = config.sts_endpoint_url.as_ref();
    sts.filter(|url| config.cognito_identity_endpoint_url.as_ref() == Some(*url)).cloned()
}

fn region(config: &Config) -> &str {
    config.sts_regions.first().or(config.pool_regions.first()).map_or("us-east-1", String::as_str)
}

/// The partition, account and role of `arn:P:sts::A:assumed-role/R/SESSION`.
fn assumed(arn: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<_> = arn.split(':').collect();
    let ["arn", partition, "sts", "", account, session] = parts[..] else { return None };
    let name = session.strip_prefix("assumed-role/")?.split('/').next()?;
    Some((partition, account, name))
}

fn signed(url: &str, form: String, own: &Credentials, region: &str) -> Result<HttpRequest, BoxError> {
    let parsed = Url::parse(url)?;
    let host = parsed[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
    let headers = [("host", host.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let identity = own.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("iam")
        .time(Clock::system().now().wall)
        .settings(SigningSettings::default())
        .build()?
        .into();
    let body = SignableBody::Bytes(form.as_bytes());
    let signable = SignableRequest::new("POST", url, headers.into_iter(), body)?;
    let (made, _) = sign(signable, &params)?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(form.as_str()));
    request.set_method("POST")?;
    request.set_uri("/")?;
    for (name, value) in headers.into_iter().chain(made.headers()) {
        request.headers_mut().try_insert(name.to_owned(), value.to_owned())?;
    }
    Ok(request)
}

fn read(response: &HttpResponse) -> Result<Value, OrchestratorError<Refused>> {
    let text = response.body().bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    if !response.status().is_success() {
        let code = first(text, "Code").unwrap_or_else(|| response.status().as_u16().to_string());
        let message = first(text, "Message").unwrap_or_default();
        return Err(OrchestratorError::operation(Refused { code, message }));
    }
    let field = |name| first(text, name).ok_or_else(|| OrchestratorError::other(format!("no {name} in the answer")));
    Ok(json!({"Role": {
        "Arn": field("Arn")?,
        "AssumeRolePolicyDocument": field("AssumeRolePolicyDocument")?,
    }}))
}

/// The text of the first element of this name.
fn first(text: &str, name: &str) -> Option<String> {
    let mut document = Document::new(text);
    while let Some(element) = document.next_start_element() {
        if element.local() == name {
            return try_data(&mut document.scoped_to(element)).ok().map(|text| text.into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_an_iam_of_its_own() {
        assert_eq!(place("aws"), Ok(("iam.amazonaws.com", "us-east-1")));
        assert_eq!(place("aws-us-gov"), Ok(("iam.us-gov.amazonaws.com", "us-gov-west-1")));
        assert_eq!(place("aws-eusc"), Ok(("iam.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1")));
        let Err(RoleFault::Unknown(text)) = place("aws-iso") else { panic!("a host was guessed") };
        assert!(text.contains("partition aws-iso"), "{text}");
    }

    #[test]
    fn a_session_is_of_its_role() {
        assert_eq!(assumed("arn:aws-cn:sts::111122223333:assumed-role/r/s"), Some(("aws-cn", "111122223333", "r")));
        for other in
            ["arn:aws:iam::111122223333:user/u", "arn:aws:sts::111122223333:federated-user/u", "", "arn:aws:sts"]
        {
            assert_eq!(assumed(other), None, "{other}");
        }
    }

    #[test]
    fn the_first_element_of_a_name_is_read_at_any_depth() {
        let text = "<?xml version=\"1.0\"?><A xmlns=\"x\"><B><Arn>one &amp; two</Arn><C/></B><Arn>three</Arn></A>";
        assert_eq!(first(text, "Arn").as_deref(), Some("one & two"));
        for other in ["", "no XML", "<A><B>", "<A></B>"] {
            assert_eq!(first(other, "Arn"), None, "{other}");
        }
    }
}
