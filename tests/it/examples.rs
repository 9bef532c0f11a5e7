//! The clients of `examples/clients` do what their texts say.

use std::process::Command;

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
    let token = stage.dir.path().join("bob");
    for program in [python("python/stock.py", stage.dir.path()), node("node/stock.mjs"), Command::new(built("whoami"))]
    {
        stage.is_read_as_the_editor(program, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.as_os_str()).await;
    }
}

#[tokio::test]
async fn a_watch_tells_what_is_in_force() {
    let stage = Stage::new().await;
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let mut compile = Command::new(TOOLS.python("python"));
    compile.args(["-m", "grpc_tools.protoc", "-I", proto]).current_dir(stage.dir.path());
    compile.args(["--python_out=.", "--grpc_python_out=.", "cupbearer/v1/broker.proto"]);
    assert!(tokio::task::spawn_blocking(move || compile.status().unwrap()).await.unwrap().success());
    let mut watch = Command::new(built("watch"));
    watch.env("NO_COLOR", "1");
    stage.is_watched(python("python/watch.py", stage.dir.path()), &[]).await;
    stage.is_watched(node("node/watch.mjs"), &[proto]).await;
    stage.is_watched(watch, &[]).await;
}
