//! cupbearer: a credential broker beside an application.
#![allow(missing_docs)]
pub mod clock;
pub mod error;
pub mod metrics;
pub mod model;
pub mod secret;
pub mod auth;
pub mod roles;
