//! One binary for all tests that see the crate from outside: rules of the house, the core under paused time, and the
//! program over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a panic is a test's report")]
#![allow(unreachable_pub, reason = "a binary is reached by nobody")]
#![allow(clippy::disallowed_methods, reason = "tests see the real clock and their own environment")]
#![allow(clippy::print_stdout, reason = "figures are told with --nocapture")]

mod attacks;
mod audit;
mod clients;
mod cognito_local;
mod confined;
mod core;
mod deploy;
mod dev;
mod docs;
mod doctor;
mod doors;
mod doors_metrics;
mod doors_socket;
mod doors_tls;
mod examples;
mod exec;
mod explain;
mod faults;
mod floors;
mod flows;
mod fuzz;
mod grpc;
mod leaks;
mod lifecycle;
mod metrics;
mod notify;
mod policies;
mod purge;
mod readme;
mod refresh;
mod refusals;
mod reload;
mod sessions;
mod simulation;
mod state;
mod status;
mod support;
mod texts;
mod third_party;
mod traces;
mod unprintable;
mod upstream;
