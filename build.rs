//! Compiles the gRPC interface, in Rust, so that a build needs no protoc; and hands the version on.

use protox::prost::Message;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script its directory by the environment")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    // Of releases, which deploy/release/version.sh takes from git; looking at git here would build anew for each commit.
    println!("cargo::rerun-if-env-changed=CUPBEARER_VERSION");
    let released = std::env::var("CUPBEARER_VERSION").unwrap_or_default();
    let version = if released.is_empty() { env!("CARGO_PKG_VERSION") } else { &released };
    println!("cargo::rustc-env=CUPBEARER_VERSION={version}");
    let files = protox::compile(["cupbearer/v1/broker.proto"], ["proto"])?;
    // What reflection tells.
    let place = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("interface.bin");
    std::fs::write(place, files.encode_to_vec())?;
    // Connections are ours on both sides: tonic's own transport is left out of the program. Messages that hold secrets have
    // a `Debug` of ours (`src/server/proto.rs`).
    let secret = ["Credentials", "OpenSessionRequest", "OpenSessionResponse", "UpdateSessionRequest"];
    let secret = secret.map(|message| format!("cupbearer.v1.{message}"));
    tonic_prost_build::configure().build_transport(false).skip_debug(secret).compile_fds(files)?;
    Ok(())
}
