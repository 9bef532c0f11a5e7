//! Doors beyond loopback, in a network of their own: the test runs itself again in one, since a process cannot reach into
//! another.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::http;
use crate::support::scene::{Scene, token};
use crate::support::tls::{Authority, DAY, NAME};
use crate::tool;

/// What the network has beside loopback's own addresses: a routed one, that of ECS, a pod's, and one of the internet.
const ADDRESSES: [&str; 4] = ["192.0.2.1", "169.254.170.2", "172.17.0.2", "198.51.100.7"];

#[test]
fn doors_beyond_loopback_are_served_under_tls_and_link_local_ones_to_neighbours() {
    let addresses = ADDRESSES.map(|address| format!("ip addr add {address}/32 dev lo")).join(" && ");
    let script = format!(
        "ip link set lo up && {addresses} && exec \"$0\" --exact --ignored --nocapture beyond::in_a_network_of_its_own"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-euc", &script]).arg(std::env::current_exe().unwrap());
    let done = tool(&mut command, "apt-get install util-linux iproute2, and be root");
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    assert!(told.contains("1 passed"), "{told}");
}

#[tokio::test]
#[ignore = "it is run by the one above, in a network of its own"]
async fn in_a_network_of_its_own() {
    let authority = Authority::new();
    let pair = authority.pair(&[NAME, "192.0.2.1"], DAY);
    let scene = Scene::edited("", "authenticated_role", |text, dir| {
        let at = |name: &str| dir.join(name);
        std::fs::write(at("pem"), format!("{}{}", pair.certificate, pair.key)).unwrap();
        std::fs::set_permissions(at("pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let tls = format!("tls = {{ cert_file = {0:?}, key_file = {0:?} }}\nallow_non_loopback = true", at("pem"));
        let text = text.replace("http = \"127.0.0.1:0\"", "http = \"192.0.2.1:0\"");
        text.replace("grpc = \"127.0.0.1:0\"", &format!("grpc = \"0.0.0.0:0\"\n{tls}"))
    });
    let (scene, alice) = (scene.await, token("alice"));
    assert_eq!(scene.http.ip(), ADDRESSES[0].parse::<IpAddr>().unwrap());
    let caller = authority.caller();
    for host in [NAME.to_owned(), scene.http.to_string()] {
        let headers = [("Host", host.as_str()), ("Authorization", alice.as_str())];
        assert_eq!(caller.get(scene.http, "/v1/credentials", &headers).await.status, 200, "{host}");
    }
    assert_eq!(http::credentials(scene.http, "/v1/credentials", &alice).await.status, 0, "not plain");
    let grpc = SocketAddr::new(ADDRESSES[0].parse().unwrap(), scene.grpc.port());
    assert!(caller.channel(grpc).await.is_ok());

    let plain = Scene::edited("", "authenticated_role", |text, _| {
        text.replace("http = \"127.0.0.1:0\"", "http = \"169.254.170.2:0\"\nallow_non_loopback = true")
    });
    let plain = plain.await;
    assert!(plain.daemon.log().contains("it is plain"), "{}", plain.daemon.log());
    for (from, expected) in [("169.254.170.2", 200), ("172.17.0.2", 200), ("192.0.2.1", 0), ("198.51.100.7", 0)] {
        assert_eq!(asked_from(from, plain.http, &alice).await, expected, "from {from}");
    }
}

/// The status of a question that comes from this address; 0 if there is no answer.
async fn asked_from(from: &str, address: SocketAddr, token: &str) -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = http::request("GET", "/v1/credentials", address, &[("Authorization", token)]);
    stream.write_all(request.as_bytes()).await.ok();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}
