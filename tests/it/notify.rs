//! What a service manager hears on `NOTIFY_SOCKET`, by a real datagram socket.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::scene::embedded;
use crate::support::settings::Settings;

/// The next message that `wanted` wants; the others are passed over.
async fn heard(socket: &UnixDatagram, wanted: &'static str) -> String {
    let socket = socket.try_clone().unwrap();
    let hear = move || loop {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted} was not heard: {error}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with(wanted) {
            return text;
        }
    };
    tokio::task::spawn_blocking(hear).await.unwrap()
}

#[tokio::test]
async fn a_service_manager_is_told() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let proxy = embedded().await;
    let text = Settings::new(&proxy.url).text();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let mut daemon = Daemon::serve_unready(place.path(), &text, &variables).await;
    assert_eq!(heard(&socket, "").await, "READY=1\n", "nothing before it");
    heard(&socket, "WATCHDOG=1").await;
    heard(&socket, "WATCHDOG=1").await;
    daemon.signal(Signal::HUP);
    assert!(heard(&socket, "RELOADING=1").await.contains("\nMONOTONIC_USEC="));
    heard(&socket, "READY=1").await;
    daemon.terminate();
    heard(&socket, "STOPPING=1").await;
    assert!(daemon.ended().await.success());
}

/// Ready is what `/readyz` means by it: with the user pool's keys at hand, and not before.
#[tokio::test]
async fn nobody_is_told_before_the_keys_are_there() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let proxy = embedded().await;
    let text = Settings { jwks: "http://127.0.0.1:9/none".to_owned(), ..Settings::new(&proxy.url) }.text();
    let mut daemon = Daemon::serve_unready(place.path(), &text, &[("NOTIFY_SOCKET", path.to_str().unwrap())]).await;
    let vain = daemon.wait_for(|daemon| daemon.log().contains("127.0.0.1:9").then_some(())).await;
    assert!(vain.is_some(), "{}", daemon.log());
    daemon.terminate();
    assert_eq!(heard(&socket, "").await, "STOPPING=1\n", "READY=1 was never said");
    assert!(daemon.ended().await.success());
}
