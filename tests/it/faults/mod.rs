//! The world breaks around the running program: every file is a group of rows of the fault matrix, on real sockets and
//! in real time. What takes hours is simulated elsewhere (`core`); what needs root is in `tests/system`.

mod crowds;
mod ends;
mod handlers;
mod hosts;
mod keys;
mod malformed;
mod network;
mod pauses;
mod pipes;
mod zones;

use std::time::Instant;

use crate::support::figures::Times;
use crate::support::line::Line;
use crate::support::scene::Scene;

/// Cognito's call for credentials.
const EXCHANGE: &str = "GetCredentialsForIdentity";

/// Asks so many times on one connection for what is cached; each must be answered with it.
async fn hits(scene: &Scene, token: &str, number: usize) -> Times {
    let mut line = Line::open(scene.http).await.unwrap();
    let mut times = Times::default();
    for _ in 0..number {
        let asked = Instant::now();
        let reply = line.ask("/v1/credentials", token).await.unwrap();
        times.add(asked.elapsed());
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    times
}
