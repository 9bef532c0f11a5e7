//! Compiles the gRPC interface, in Rust, so that a build needs no protoc; and hands the version on.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    // Of releases, which deploy/release/version.sh takes from git; looking at git here would build anew for each commit.
    println!("cargo::rerun-if-env-changed=CUPBEARER_VERSION");
    let released = std::env::var("CUPBEARER_VERSION").unwrap_or_default();
    let version = if released.is_empty() { env!("CARGO_PKG_VERSION") } else { &released };
    println!("cargo::rustc-env=CUPBEARER_VERSION={version}");
    let files = protox::compile(["cupbearer/v1/broker.proto"], ["proto"])?;
    // Connections are ours on both sides: tonic's own transport is left out of the program.
    tonic_prost_build::configure().build_transport(false).compile_fds(files)?;
    Ok(())
}
