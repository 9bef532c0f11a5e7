//! cupbearer: a credential broker beside an application.
#![allow(missing_docs)]
pub mod auth;
pub mod broker;
pub mod clock;
pub mod dev;
pub mod error;
pub mod metrics;
pub mod model;
pub mod roles;
pub mod secret;
pub mod upstream;
pub mod server;
