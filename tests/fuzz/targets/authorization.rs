//! The Authorization header, as its bytes come over the wire. `$T` in the input is a token that is taken.

use super::ground::{House, say, statuses, with_house};

pub fn run(data: &[u8]) {
    with_house(|house| judge(house, data));
}

fn judge(house: &House, data: &[u8]) {
    let own = replaced(data, b"$T", house.token().as_bytes());
    let mut request =
        format!("GET /v1/credentials HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: ", house.http)
            .into_bytes();
    request.extend(&own);
    request.extend(b"\r\n\r\n");
    let answer = house.run(say(house.http, &request));
    let statuses = statuses(&answer);
    assert!(!statuses.contains(&500), "{}", String::from_utf8_lossy(&answer));
    if statuses.contains(&200) {
        assert!(own != data, "credentials without a token");
    }
    // No header of ours is as long, and nothing that was sent comes back.
    if let Ok(text) = std::str::from_utf8(data)
        && text.len() >= 64
    {
        assert!(!String::from_utf8_lossy(&answer).contains(text));
    }
}

pub fn replaced(data: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match data.windows(from.len()).position(|window| window == from) {
        Some(at) => [&data[..at], to, &data[at + from.len()..]].concat(),
        None => data.to_vec(),
    }
}
