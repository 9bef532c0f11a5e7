//! Compiles the gRPC interface; in Rust, so that a build needs no protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["cupbearer/v1/broker.proto"], ["proto"])?;
    // Connections are ours on both sides: tonic's own transport is left out of the program. Messages that hold secrets have
    // a `Debug` of ours (`src/server/proto.rs`).
    let secret = ["Credentials", "OpenSessionRequest", "OpenSessionResponse", "UpdateSessionRequest"];
    let secret = secret.map(|message| format!("cupbearer.v1.{message}"));
    tonic_prost_build::configure().build_transport(false).skip_debug(secret).compile_fds(files)?;
    Ok(())
}
