//! The clients of `examples/clients` do what their texts say.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::example::{Stage, built, node, python};
use crate::support::tools::TOOLS;

#[tokio::test]
async fn two_apis_in_two_languages_serve_each_user_with_the_users_own_role() {
    let stage = Stage::new().await;
    let http = stage.daemon.address("http").await;
    let url = format!("http://{http}");
    let in_python = stage.api(python("python/api.py", stage.dir.path()), url.clone()).await;
    let in_javascript = stage.api(node("node/api.mjs"), url).await;
    tokio::join!(in_python.proves_the_roles(&stage), in_javascript.proves_the_roles(&stage));
}

#[tokio::test]
async fn the_rust_api_serves_each_user_with_the_users_own_role() {
    let stage = Stage::new().await;
    let http = stage.daemon.address("http").await;
    let api = stage.api(Command::new(built("api")), http.to_string()).await;
    api.proves_the_roles(&stage).await;
}

#[tokio::test]
async fn a_stock_program_reads_as_the_user() {
    let stage = Stage::new().await;
    let uri = format!("http://{}/v1/credentials", stage.daemon.address("http").await);
    for program in [python("python/stock.py", stage.dir.path()), node("node/stock.mjs"), Command::new(built("whoami"))]
    {
        let mut command = stage.isolated(program);
        command.args([stage.world.fact("bucket"), stage.world.fact("key")]);
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri);
        command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", stage.dir.path().join("bob"));
        let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let told = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && told.contains(":assumed-role/rbac-users-editor-role/"), "{done:?}");
    }
}

#[tokio::test]
async fn a_watch_tells_what_is_in_force() {
    let stage = Stage::new().await;
    let grpc = stage.daemon.address("grpc").await;
    let token = stage.dir.path().join("alice");
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let mut compile = Command::new(TOOLS.python("python"));
    compile.args(["-m", "grpc_tools.protoc", "-I", proto]).current_dir(stage.dir.path());
    compile.args(["--python_out=.", "--grpc_python_out=.", "cupbearer/v1/broker.proto"]);
    assert!(tokio::task::spawn_blocking(move || compile.status().unwrap()).await.unwrap().success());
    let http = stage.daemon.address("http").await;
    let held =
        crate::support::http::credentials(http, "/v1/credentials", stage.world.fact("tokens.alice")).await.json();
    let mut watch = Command::new(built("watch"));
    watch.env("NO_COLOR", "1");
    let programs =
        [(python("python/watch.py", stage.dir.path()), None), (node("node/watch.mjs"), Some(proto)), (watch, None)];
    for (program, more) in programs {
        let mut command = stage.isolated(program);
        command.arg(grpc.to_string()).arg(&token).args(more).stdout(Stdio::piped());
        let first = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            line
        });
        let first = first.await.unwrap();
        let key = held["AccessKeyId"].as_str().unwrap();
        assert!(first.starts_with(key) && first.contains("new token by 20"), "{first:?}");
    }
}
