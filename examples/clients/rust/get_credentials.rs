//! A gRPC caller in a few lines: brings a token, gets credentials, says whose they are and never what they are.
//!
//! ```text
//! cargo run --example get_credentials -- 127.0.0.1:2871 TOKEN_FILE [ROLE]
//! ```

use std::error::Error;

use cupbearer::server::proto::{CredentialBrokerClient, GetCredentialsRequest};
use tonic::Request;
use tonic::transport::Endpoint;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the answer of a command")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: get_credentials ADDRESS TOKEN_FILE [ROLE]";
    let (address, file) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let role = arguments.next().unwrap_or_default();
    let token = std::fs::read_to_string(file)?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut request = Request::new(GetCredentialsRequest { role, ..GetCredentialsRequest::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {}", token.trim()).parse()?);
    let answer = CredentialBrokerClient::new(channel).get_credentials(request).await?.into_inner();
    let held = answer.credentials.ok_or("no credentials in the answer")?;
    println!("access key {}, identity {}, role {:?}", held.access_key_id, held.identity_id, held.role_arn);
    Ok(())
}
