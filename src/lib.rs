//! cupbearer: a credential broker that runs beside an application.
//!
//! It takes a Cognito user pool ID token (the **CUP token**), decides which IAM role its bearer may have, and hands
//! back short-lived AWS credentials from a Cognito identity pool (the **CIP credentials**), which it keeps fresh.
//!
//! # The way of a request
//!
//! ```text
//! server/{http,grpc} -> broker.credentials -> auth.verify -> roles.resolve -> cache: a hit, no lock, no upstream
//! miss -> refresher -> upstream.exchange -> slot.swap -> every waiter;  due queue -> the same arrow
//! ```
//!
//! # The floors
//!
//! Nothing imports upward, and rooms on one floor do not import each other, except on the ground (F0) and under the
//! roof (F7). `tests/it/floors.rs` holds this, and the absences below.
//!
//! | floor | rooms |
//! |---|---|
//! | F7 | `main` `cli` `app` `confine` `reload` `log` `notify`: what was typed, the wiring, what the process gives up, another configuration, the end |
//! | F6 | `doctor`: what AWS and an application's surroundings have to be like for a configuration |
//! | F5 | `config`: the only reader of the configuration and of the environment |
//! | F4 | `dev`: a small Cognito and STS for `cupbearer dev` and tests |
//! | F3 | `server`: the doors, bytes to question and back; one table from error to wire |
//! | F2 | `broker`: the decision, the cache, the refresher, the schedule |
//! | F1 | `auth`: token in, caller out; `roles`: pure choice of a role; `templates`: claims into names, tags, policies; `upstream`: the AWS SDK |
//! | F0 | `model` `credentials` `error` `secret` `secret_file` `audit` `metrics` `digest` `clock` `chance` `tally` `supervise` `trace`: the ground |
//!
//! # What is nowhere
//!
//! - An AWS SDK type outside `upstream`; a status code below `server`.
//! - A reading of a clock outside `clock`, of the environment outside `config`; a random number that is no secret
//!   outside `chance`.
//! - A task started outside `app` and `server`.
//! - `expose_secret` where no bytes leave: it is in the doors, in `upstream`, in the verifier, and in the emulator. The
//!   same goes for `expose_document` and `expose_session_token`: the doors alone.
//! - A fallback: to another role, to the broker's own role, to an unauthenticated identity, to another region.

pub mod audit;
pub mod chance;
pub mod clock;
pub mod credentials;
pub mod digest;
pub mod error;
pub mod metrics;
pub mod model;
pub mod secret;
pub mod secret_file;
pub mod supervise;
pub mod tally;
pub mod trace;

pub mod auth;
pub mod roles;
pub mod templates;
pub mod upstream;

pub mod broker;

pub mod server;

pub mod dev;

pub mod config;

pub mod doctor;

pub mod app;
pub mod cli;
mod confine;
mod log;
mod notify;
pub mod reload;
