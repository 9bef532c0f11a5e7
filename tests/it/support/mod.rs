//! What tests over real sockets share: the program as a process, an emulator behind a proxy that counts and misbehaves,
//! raw HTTP.

pub mod daemon;
pub mod dawdler;
pub mod example;
pub mod fault;
pub mod figures;
pub mod http;
pub mod line;
pub mod old_tls;
pub mod outage;
pub mod proxy;
pub mod scene;
pub mod settings;
pub mod stack;
pub mod third_party;
pub mod tls;
pub mod told;
pub mod tools;
pub mod trap;
mod wire;
