//! The door of scrapers and kubelets: any address, any name, three pages.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::support::http::{get, request, send};
use crate::support::scene::{Scene, token};

async fn scene() -> (Scene, SocketAddr) {
    let scene = Scene::edited("metrics = \"0.0.0.0:0\"", "authenticated_role", |text, dir| {
        std::fs::write(dir.join("token"), "0123456789abcdef").unwrap();
        format!("{text}\n[admin]\ntoken_file = {:?}\n", dir.join("token"))
    });
    let scene = scene.await;
    let bound = scene.daemon.address("metrics").await;
    assert!(bound.ip().is_unspecified(), "{bound}");
    (scene, SocketAddr::from(([127, 0, 0, 1], bound.port())))
}

#[tokio::test]
async fn it_shows_three_pages_under_any_name_and_nothing_else() {
    let (scene, metrics) = scene().await;
    for host in ["10.0.0.7:9090", "cupbearer.team.svc.cluster.local", "[fd00::7]:9090"] {
        for path in ["/livez", "/readyz", "/metrics"] {
            let reply =
                send(metrics, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
            assert_eq!(reply.status, 200, "{host} {path}");
            assert!(!reply.head.to_lowercase().contains("access-control"), "{}", reply.head);
        }
    }
    let purge = "POST /purge HTTP/1.1\r\nHost: x\r\nAuthorization: 0123456789abcdef\r\nContent-Length: 12\r\n\
                 Connection: close\r\n\r\n{\"all\":true}";
    let bare = "GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n";
    for (status, bytes) in [
        (405, request("POST", "/metrics", metrics, &[])),
        (405, purge.to_owned()),
        (400, bare.to_owned()),
        (403, request("GET", "/metrics", metrics, &[("Origin", "https://evil.example")])),
        (404, request("GET", "/", metrics, &[])),
        (404, request("GET", "/purge", metrics, &[])),
        (404, request("GET", "/v1/credentials", metrics, &[("Authorization", &token("alice"))])),
    ] {
        assert_eq!(send(metrics, &bytes).await.status, status, "{bytes}");
    }
    assert_eq!(send(scene.admin, &purge.replace("Host: x", "Host: 127.0.0.1")).await.status, 200, "admin takes it");
    assert_eq!(scene.metric("cupbearer_requests_total{listener=\"metrics\",outcome=\"ok\"}").await, 9.0);
    assert_eq!(scene.proxy.calls("GetId"), 0);
}

#[tokio::test]
async fn its_connections_take_no_place_from_the_other_doors() {
    let (scene, metrics) = scene().await;
    let mut held = Vec::new();
    let mut status = 200;
    for _ in 0..200 {
        held.push(TcpStream::connect(metrics).await.unwrap());
        status = get(metrics, "/livez", &[]).await.status;
        if status == 503 {
            break;
        }
    }
    assert_eq!(status, 503, "it has its own limit");
    assert_eq!(get(scene.admin, "/livez", &[]).await.status, 200);
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    drop(held);
}
