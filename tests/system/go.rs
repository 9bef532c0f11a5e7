//! The Go examples, with Debian's Go and its packages of the AWS SDK: the toolchain is too large for a newcomer's test run.

use std::process::Command;

use crate::support::example::{Stage, file};
use crate::tool;

const INSTALL: &str = "apt-get install golang-go golang-github-aws-aws-sdk-go-v2-dev";

/// The program that an example makes.
async fn made(stage: &Stage, name: &str) -> Command {
    let program = stage.dir.path().join(name);
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(file("go").join(name).with_extension("go"));
    // Debian's packages are in a GOPATH, and nothing is fetched.
    build.envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOPROXY", "off")]);
    let done = tokio::task::spawn_blocking(move || tool(&mut build, INSTALL)).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Command::new(program)
}

#[tokio::test]
async fn the_go_examples_serve_each_user_with_the_users_own_role() {
    let stage = Stage::new().await;
    let broker = format!("http://{}", stage.daemon.address("http").await);
    let api = stage.api(made(&stage, "api").await, broker).await;
    api.proves_the_roles(&stage).await;
    // This SDK is older than the token file.
    let token = stage.world.fact("tokens.bob");
    let stock = made(&stage, "stock").await;
    stage.is_read_as_the_editor(stock, "AWS_CONTAINER_AUTHORIZATION_TOKEN", token.as_ref()).await;
    // Debian's gRPC is too old for the watch.
    let form = tool(Command::new("gofmt").arg("-l").arg(file("go")), INSTALL);
    assert!(form.status.success() && form.stdout.is_empty(), "{form:?}");
}
