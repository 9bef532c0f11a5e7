//! What tests over real sockets share: the program as a process, an emulator behind a counting proxy, raw HTTP.

pub mod daemon;
pub mod http;
pub mod outage;
pub mod proxy;
pub mod scene;
pub mod settings;
pub mod third_party;
pub mod tools;
