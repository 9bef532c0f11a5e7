//! The gRPC example in Java, with Debian's Java and gRPC; the AWS SDK, which the others need, is not among its packages.

use std::path::Path;
use std::process::Command;

use crate::support::example::{Stage, file};
use crate::tool;

const INSTALL: &str = "apt-get install openjdk-17-jdk-headless protobuf-compiler protobuf-compiler-grpc-java-plugin \
    libgrpc-java libprotobuf-dev libprotobuf-java libnetty-java libguava-java libjsr305-java libperfmark-java \
    libgeronimo-annotation-1.3-spec-java";

/// What grpc-netty-shaded, grpc-stub and grpc-protobuf are in Debian.
const JARS: [&str; 20] = [
    "geronimo-annotation-1.3-spec",
    "grpc-api",
    "grpc-context",
    "grpc-core",
    "grpc-netty",
    "grpc-protobuf",
    "grpc-protobuf-lite",
    "grpc-stub",
    "guava",
    "jsr305",
    "netty-buffer",
    "netty-codec",
    "netty-codec-http",
    "netty-codec-http2",
    "netty-common",
    "netty-handler",
    "netty-resolver",
    "netty-transport",
    "perfmark-api",
    "protobuf",
];

/// Runs a step to its end.
fn step(command: &mut Command) {
    let done = tool(command, INSTALL);
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The program, made in `dir` by protoc and javac.
fn made(dir: &Path) -> Command {
    let classes = JARS.map(|jar| format!("/usr/share/java/{jar}.jar:")).concat() + dir.to_str().unwrap();
    let mut generate = Command::new("protoc");
    generate.args(["-I", concat!(env!("CARGO_MANIFEST_DIR"), "/proto"), "--java_out=.", "--grpc-java_out=."]);
    generate.args(["--plugin=protoc-gen-grpc-java=/usr/bin/grpc_java_plugin", "cupbearer/v1/broker.proto"]);
    step(generate.current_dir(dir));
    let mut compile = Command::new("javac");
    compile.args(["-sourcepath", ".", "-d", ".", "-cp", &classes]);
    step(compile.arg(file("java/Watch.java")).current_dir(dir));
    let mut program = Command::new("java");
    program.args(["-cp", &classes, "Watch"]);
    program
}

#[tokio::test]
async fn the_java_watch_tells_what_is_in_force() {
    let stage = Stage::new().await;
    let dir = stage.dir.path().to_owned();
    let program = tokio::task::spawn_blocking(move || made(&dir)).await.unwrap();
    stage.is_watched(program, &[]).await;
}
