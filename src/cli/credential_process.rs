//! `cupbearer credential-process`: credentials for `credential_process` in `~/.aws/config` (AWS SDKs and Tools Reference
//! Guide, "Process credential provider").

use std::io::Write;
use std::time::Duration;

use clap::Args;
use http::HeaderValue;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cli::Failure;
use crate::cli::broker::{Answer, Asker, CredentialsArgs};
use crate::cli::duration::seconds;
use crate::cli::serve::on_runtime;
use crate::clock::Clock;
use crate::secret_file::SecretFile;

#[derive(Debug, Args)]
pub(super) struct ProcessArgs {
    #[command(flatten)]
    credentials: CredentialsArgs,
    /// How long to try while the broker, or AWS behind it, is not there.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
    timeout: Duration,
}

/// How long after a failure that passes by itself; the broker's own Retry-After.
const PAUSE: Duration = Duration::from_secs(1);

/// What the broker's HTTP door answers. No `Debug`: it holds secrets.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Held<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: &'a str,
    account_id: Option<&'a str>,
}

/// What AWS's programs take. No `Debug`: it holds secrets.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: &'a str,
    expiration: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
}

pub(super) fn run(args: ProcessArgs) -> Result<(), Failure> {
    let url = args.credentials.url()?;
    let file = SecretFile::new(args.credentials.token_file());
    on_runtime(async move {
        let token = file.read().await.map_err(|error| {
            let path = file.path().display();
            Failure::Failed(format!("--token-file {path} cannot be read: {error}; write the user's ID token there"))
        })?;
        let mut authorization = HeaderValue::from_str(token.expose_secret())
            .map_err(|_| Failure::Failed("the token cannot be a header".to_owned()))?;
        authorization.set_sensitive(true);
        let asker = Asker::new();
        let clock = Clock::system();
        let until = clock.now().boot + args.timeout;
        let answer = loop {
            let failure = match asker.get(&url, Some(&authorization)).await {
                Ok(answer) if answer.status == 200 => break answer,
                Ok(answer) if answer.status != 503 => {
                    return Err(Failure::Failed(format!("{url} refuses with {}", answer.refusal())));
                }
                Ok(answer) => format!("{url} answers {}", answer.refusal()),
                Err(error) => format!("{url} cannot be asked: {error}; is the broker running? See `cupbearer wait`"),
            };
            if clock.now().boot + PAUSE > until {
                return Err(Failure::Failed(failure));
            }
            tokio::time::sleep(PAUSE).await;
        };
        std::io::stdout().write_all(&output(&answer)?)?;
        Ok(())
    })
}

fn output(answer: &Answer) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let fault = |_| Failure::Failed("the answer is none of a broker: check --endpoint".to_owned());
    let held: Held<'_> = serde_json::from_slice(&answer.body).map_err(fault)?;
    let output = Output {
        version: 1,
        access_key_id: held.access_key_id,
        secret_access_key: held.secret_access_key,
        session_token: held.token,
        expiration: held.expiration,
        account_id: held.account_id,
    };
    let mut text = Zeroizing::new(serde_json::to_vec(&output).map_err(fault)?);
    text.push(b'\n');
    Ok(text)
}
