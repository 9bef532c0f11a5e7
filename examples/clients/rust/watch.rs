//! The gRPC way: credentials now, and each renewal, for as long as the token is good.
//!
//! ```text
//! cargo run --example watch -- 127.0.0.1:2871 TOKEN_FILE
//! ```
//!
//! A watch suits a job that outlives a request: the newest credentials are always at hand, and nobody polls.

use std::error::Error;

use cupbearer::server::proto::{CredentialBrokerClient, WatchCredentialsRequest};
use tonic::Request;
use tonic::transport::Endpoint;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the answer of a command")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: watch ADDRESS TOKEN_FILE";
    let (address, file) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let token = std::fs::read_to_string(file)?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut request = Request::new(WatchCredentialsRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {}", token.trim()).parse()?);
    let mut watch = CredentialBrokerClient::new(channel).watch_credentials(request).await?.into_inner();
    // It ends with UNAUTHENTICATED when the token has expired: watch again with a newer one.
    while let Some(message) = watch.message().await? {
        let held = message.credentials.ok_or("no credentials in a message")?;
        let (until, by) = (held.expiration.ok_or("no expiration")?, message.present_token_by.ok_or("no login's end")?);
        println!("{} until {until}, new token by {by}", held.access_key_id);
    }
    Ok(())
}
