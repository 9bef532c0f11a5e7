//! A request's handler panics (F21). No request can make it do so, which is the point of most other tests: the doors are
//! opened here with a hold that no clock can count to, which is met by whoever asks for what is not cached. In real time,
//! on real sockets, in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cupbearer::audit::Audit;
use cupbearer::server::{Config, Doors, Limits, LocalPeers, Phase};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;

use crate::core::{LIMITS, SDK, World};
use crate::grpc::{ask_on, channel};
use crate::support::http;
use crate::support::line::Line;

/// Doors in this process.
struct Open {
    addresses: [SocketAddr; 3],
    _phase: watch::Sender<Phase>,
    _tasks: JoinSet<()>,
}

impl Open {
    async fn to(world: &World, hold: Duration) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            http: any,
            grpc: any,
            grpc_uds: None,
            grpc_uds_peers: LocalPeers::default(),
            tls: None,
            grpc_reflection: false,
            admin: any,
            metrics: None,
            limits: Limits { connections: 100, header_bytes: 24_576 },
            cold_hold: hold,
            longest_hold: hold,
            drain: Duration::ZERO,
            admin_token: None,
        };
        let doors = Doors::bind(config).await.unwrap();
        let addresses = doors.addresses().unwrap();
        let (phase, seen) = watch::channel(Phase::Serving);
        let (broker, metrics) = (Arc::clone(&world.broker), Arc::clone(&world.metrics));
        let (audit, clock) = (Audit::off(Arc::clone(&metrics)), world.clock.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { doors.run(broker, metrics, audit, clock, seen).await.unwrap() });
        Self { addresses, _phase: phase, _tasks: tasks }
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_told_counted_and_harms_nobody_else() {
    let world = World::new(LIMITS).await;
    let (alice, bob) = (world.token("alice", 3_600), world.token("bob", 3_600));
    // The second time it is found, and where it is is remembered.
    for _ in 0..2 {
        world.ask(&alice, None, SDK).await.unwrap();
    }
    let open = Open::to(&world, Duration::MAX).await;
    let [door, grpc, admin] = open.addresses;

    // On one connection: it is neither cut, nor are those who come after on it refused.
    let mut line = Line::open(door).await.unwrap();
    assert_eq!(line.ask("/v1/credentials", &alice).await.unwrap().status, 200, "cached");
    let reply = line.ask("/v1/credentials", &bob).await.unwrap();
    assert_eq!((reply.status, &reply.json()["code"]), (500, &json!("InternalError")));
    assert!(!reply.body.contains("panic") && !reply.body.contains("overflow"), "no detail: {}", reply.body);
    assert_eq!(world.metrics.panics.get(), 1);
    assert_eq!(line.ask("/v1/credentials", &alice).await.unwrap().status, 200);

    let channel = channel(grpc).await;
    let status = ask_on(channel.clone(), &bob, "", None).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    assert!(!status.message().contains("overflow"), "no detail: {status:?}");
    assert_eq!(world.metrics.panics.get(), 2);
    assert!(ask_on(channel, &alice, "", None).await.is_ok(), "on the same connection");
    let told = http::get(admin, "/metrics", &[]).await.body;
    assert!(told.lines().any(|line| line == "cupbearer_panics_total 2"), "{told}");
    assert_eq!(http::get(admin, "/readyz", &[]).await.status, 200, "and it goes on");

    // Whom the panic met is served as soon as it is over.
    let open = Open::to(&world, Duration::from_secs(10)).await;
    assert_eq!(http::credentials(open.addresses[0], "/v1/credentials", &bob).await.status, 200);
    assert_eq!(world.metrics.panics.get(), 2);
}
