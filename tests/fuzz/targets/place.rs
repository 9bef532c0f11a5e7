//! A request's target and its Host: the input's first line, and the rest of it. `$P` in the rest is the door's own port.

use super::authorization::replaced;
use super::ground::{House, say, statuses, with_house};

pub fn run(data: &[u8]) {
    with_house(|house| judge(house, data));
}

fn judge(house: &House, data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (target, host) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let port = house.http.port().to_string();
    let host = replaced(host, b"$P", port.as_bytes());
    let request =
        [b"GET ", target, b" HTTP/1.1\r\nHost: ", &host, b"\r\nAuthorization: x\r\nConnection: close\r\n\r\n"];
    let answer = house.run(say(house.http, &request.concat()));
    let statuses = statuses(&answer);
    for status in &statuses {
        assert!(![200, 500].contains(status), "{}", String::from_utf8_lossy(&answer));
    }
    let whole = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_graphic);
    if statuses == [401] && whole(target) && whole(&host) {
        // It came as far as the token, so that it named this door.
        let host = String::from_utf8_lossy(&host).to_ascii_lowercase();
        let name = host.strip_suffix(&format!(":{port}")).unwrap_or(&host);
        assert!(["127.0.0.1", "localhost", "[::1]"].contains(&name), "{host}");
        let target = String::from_utf8_lossy(target);
        assert!(target.contains("/v1/"), "{target}");
    }
}
