//! The bodies of the fuzz targets: bytes in, the real code, and what must hold whatever the bytes are. They are shared by
//! libFuzzer and by the replay of the corpus in `cargo test`.

pub mod authorization;
pub mod configuration;
mod ground;
pub mod grpc;
pub mod key_set;
pub mod place;
pub mod reply;
pub mod token;

/// What a target does with an input.
pub type Run = fn(&[u8]);

/// The targets by their names, which are those of the corpus' directories too.
pub const ALL: [(&str, Run); 7] = [
    ("authorization", authorization::run),
    ("configuration", configuration::run),
    ("grpc", grpc::run),
    ("key_set", key_set::run),
    ("place", place::run),
    ("reply", reply::run),
    ("token", token::run),
];
