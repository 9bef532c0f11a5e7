//! The status page in Debian's Chromium, at the size of a phone and of a desk.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::scene::{Scene, token};
use crate::support::third_party::client;
use crate::support::tools::TOOLS;
use crate::tool;

/// What the browser sees of the status page by `admin`, screen by screen, and where its pictures are.
pub async fn seen(admin: SocketAddr, name: &str) -> (Value, PathBuf) {
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&shots).unwrap();
    let mut browser = Command::new("node");
    browser.arg(client("status_page.mjs")).args(["--browser", "/usr/bin/chromium"]).arg("--shots").arg(&shots);
    browser.args(["--url", &format!("http://{admin}/")]);
    let run = move || {
        browser.env("NODE_PATH", TOOLS.node_modules());
        tool(&mut browser, "apt-get install nodejs chromium")
    };
    let done = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (serde_json::from_slice(&done.stdout).unwrap(), shots)
}

#[tokio::test]
async fn the_status_page_fits_a_phone_and_asks_for_nothing_else() {
    let scene = Scene::new().await;
    for user in ["alice", "bob"] {
        assert_eq!(scene.ask("/v1/credentials", &token(user)).await.status, 200);
    }
    let (found, shots) = seen(scene.admin, "status").await;
    for (screen, wide) in [("phone", 375), ("desk", 1100)] {
        let found = &found[screen];
        assert!(found["width"].as_i64().unwrap() <= wide, "it has to be scrolled sideways: {found}");
        assert_eq!(found["complaints"], serde_json::json!([]), "{found}");
        assert_eq!(found["requests"], serde_json::json!(["/"]), "{found}");
        assert!(found["headings"][0].as_str().unwrap().contains("ready"), "{found}");
        let rows = found["rows"].as_array().unwrap();
        assert!(rows.iter().any(|row| row.as_str().unwrap().starts_with("default\tenhanced\t2\t0\t0")), "{found}");
        assert!(shots.join(format!("{screen}.png")).metadata().unwrap().len() > 5_000);
    }
}
