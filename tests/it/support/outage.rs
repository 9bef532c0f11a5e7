//! An outage, from one caller's side.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::daemon::PATIENCE;
use super::http::{self, Reply};

/// With AWS gone, the caller is served to the real expiry of what is held: nothing is handed out after it, and nothing
/// is refused before it. Says how often it was served.
pub async fn is_bridged_to_the_end(door: SocketAddr, token: &str) -> usize {
    let started = Instant::now();
    let mut served = 0;
    let mut end = SystemTime::UNIX_EPOCH;
    loop {
        let asked = SystemTime::now();
        let reply = http::credentials(door, "/v1/credentials", token).await;
        if reply.status != 200 {
            assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")));
            assert!(SystemTime::now() >= end, "refused before the end");
            return served;
        }
        end = expiration(&reply);
        assert!(asked < end, "served after the end");
        assert!(started.elapsed() < PATIENCE * 2, "served for ever");
        served += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn expiration(reply: &Reply) -> SystemTime {
    let body = reply.json();
    OffsetDateTime::parse(body["Expiration"].as_str().unwrap(), &Rfc3339).unwrap().into()
}
