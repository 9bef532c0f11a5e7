//! A stock AWS SDK for Rust beside cupbearer: no line of it is about cupbearer.
//!
//! It finds its credentials through `AWS_CONTAINER_CREDENTIALS_FULL_URI` and `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`,
//! says who it is, reads an object and tries to write one:
//!
//! ```text
//! cargo run --example whoami -- BUCKET KEY
//! ```

use std::process::ExitCode;

use aws_config::BehaviorVersion;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(bucket), Some(key)) = (arguments.next(), arguments.next()) else {
        return say(2, &serde_json::json!({"error": "usage: whoami BUCKET KEY"}));
    };
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let caller = match aws_sdk_sts::Client::new(&config).get_caller_identity().send().await {
        Ok(caller) => caller,
        Err(error) => return say(1, &serde_json::json!({"error": format!("{error:?}")})),
    };
    // Path-style addresses also work where bucket names are no host names.
    let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
    let s3 = aws_sdk_s3::Client::from_conf(s3);
    let read = s3.get_object().bucket(&bucket).key(&key).send().await.is_ok();
    let body = ByteStream::from_static(b"written by whoami");
    let write = match s3.put_object().bucket(&bucket).key("probe/whoami").body(body).send().await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code().unwrap_or("no code").to_owned(),
    };
    say(0, &serde_json::json!({"arn": caller.arn(), "account": caller.account(), "read": read, "write": write}))
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(code: u8, answer: &serde_json::Value) -> ExitCode {
    println!("{answer}");
    ExitCode::from(code)
}
