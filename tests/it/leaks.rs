//! No secret is ever seen: a marker goes through every path at the loudest log level, and then everything that the
//! program said is searched.

use std::sync::Arc;

use cupbearer::dev;

use crate::support::daemon::Daemon;
use crate::support::http;
use crate::support::proxy::{Backend, Fault, Proxy};
use crate::support::scene::{EMULATOR, token, token_with};
use crate::support::settings::Settings;

#[tokio::test]
async fn no_secret_is_logged_counted_or_echoed() {
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    let dir = tempfile::tempdir().unwrap();
    let loud = [("RUST_LOG", "trace,aws_smithy_runtime=trace,hyper=trace,h2=trace")];
    let mut daemon = Daemon::serve_unready(dir.path(), &Settings::new(&proxy.url).text(), &loud).await;
    daemon.ready().await;
    let (http, admin) = (daemon.address("http").await, daemon.address("admin").await);

    let marked = token_with(|claims| claims["custom:marker"] = "MARKER-CLAIM".into());
    let mut secrets = vec!["MARKER".to_owned(), "alice@".to_owned()];
    let mut said = String::new();
    for token in [&marked, &token("bob"), "MARKER.NOT-A.TOKEN", "MARKER"] {
        let reply = http::credentials(http, "/v1/credentials", token).await;
        secrets.extend(token.split('.').filter(|part| part.len() > 20).map(ToOwned::to_owned));
        if reply.status == 200 {
            let body = reply.json();
            secrets.extend(["SecretAccessKey", "Token"].map(|name| body[name].as_str().unwrap().to_owned()));
        } else {
            said += &reply.body;
        }
    }
    // An upstream that echoes the token, in an error and in place of an answer.
    let echoed = token_with(|claims| claims["sub"] = "echoed".into());
    for fault in [
        Fault::aws(400, "NotAuthorizedException", &format!("Invalid login token {echoed}")),
        Fault::Says(200, format!("{{\"IdentityId\": \"{echoed}\"")),
        Fault::Says(500, echoed.clone()),
    ] {
        proxy.bend("*", fault);
        said += &http::credentials(http, "/v1/credentials", &echoed).await.body;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    secrets.extend(echoed.split('.').map(ToOwned::to_owned));
    proxy.mend();
    said += &http::get(admin, "/metrics", &[]).await.body;
    said += &http::get(admin, "/readyz", &[]).await.body;
    daemon.terminate();
    daemon.ended().await;
    let log = daemon.log();
    assert!(log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\""), "the log was loud");
    assert!(log.contains("refused"), "and something was told");
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "logged: {secret}");
        assert!(!said.contains(secret.as_str()), "said: {secret}");
        assert!(!daemon.out().contains(secret.as_str()), "printed: {secret}");
    }
    let written: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(written, ["cupbearer.toml"], "nothing was written to disk");
}

#[test]
fn types_with_secrets_do_not_print_them() {
    let token = cupbearer::secret::CupToken::new("MARKER");
    assert_eq!(format!("{token:?}"), "CupToken(6 bytes)");
    let emulator = format!("{:?}", **EMULATOR);
    assert!(!emulator.contains(dev::PASSWORD), "{emulator}");
}
