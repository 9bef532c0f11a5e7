//! The Go example, with Debian's Go and its packages of the AWS SDK: the toolchain is too large for a newcomer's test run.

use std::process::Command;

use crate::support::example::{Stage, file};
use crate::tool;

#[tokio::test]
async fn the_go_api_serves_each_user_with_the_users_own_role() {
    let stage = Stage::new().await;
    let program = stage.dir.path().join("api");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(file("go/api.go"));
    // Debian's packages are in a GOPATH, and nothing is fetched.
    build.envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOPROXY", "off")]);
    let install = "apt-get install golang-go golang-github-aws-aws-sdk-go-v2-dev";
    let done = tokio::task::spawn_blocking(move || tool(&mut build, install)).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let broker = format!("http://{}", stage.daemon.address("http").await);
    let api = stage.api(Command::new(&program), broker).await;
    api.proves_the_roles(&stage).await;
    let form = tool(Command::new("gofmt").arg("-l").arg(file("go")), install);
    assert!(form.status.success() && form.stdout.is_empty(), "{form:?}");
}
