//! Bad messages and calls at the gRPC door (A38, A40, A42).

use super::Ground;
use super::caller::{Caller, GET_CREDENTIALS, envelope, enveloped};

/// An input: the call, its headers, its body, and the gRPC statuses it may hear.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<u8>, &'static [u32]);

/// Every call that takes a message and answers once or is refused, and what one hears of a message that is sound and brings no
/// token, or asks for the health of a service that there is not.
const CALLS: [(&str, &[u32]); 8] = [
    (GET_CREDENTIALS, &[UNAUTHENTICATED]),
    ("/cupbearer.v1.CredentialBroker/WatchCredentials", &[UNAUTHENTICATED]),
    ("/cupbearer.v1.CredentialBroker/ExplainRole", &[UNAUTHENTICATED]),
    ("/cupbearer.v1.CredentialBroker/OpenSession", &[UNAUTHENTICATED]),
    ("/cupbearer.v1.CredentialBroker/UpdateSession", &[UNAUTHENTICATED]),
    ("/cupbearer.v1.CredentialBroker/CloseSession", &[UNAUTHENTICATED]),
    ("/grpc.health.v1.Health/Check", &[NOT_FOUND]),
    ("/grpc.health.v1.Health/Watch", &[NOT_FOUND]),
];

/// The longest message.
const MOST: usize = 32 * 1024;

const INVALID: u32 = 3;
const NOT_FOUND: u32 = 5;
const TOO_LARGE: u32 = 8;
const UNIMPLEMENTED: u32 = 12;
const UNAUTHENTICATED: u32 = 16;

async fn run(ground: &mut Ground, row: &str, cases: Vec<Case<'_>>) {
    let caller = Caller::open(ground.scene.grpc).await;
    for (path, headers, body, wanted) in &cases {
        let answer = caller.call(path, headers, body.clone()).await.unwrap();
        let shown = (path, headers, &body[..body.len().min(40)]);
        assert!(answer.grpc.is_some_and(|status| wanted.contains(&status)), "{row}: {shown:?}: {answer:?}");
        assert!(answer.body.is_empty(), "{row}: {shown:?}: {answer:?}");
    }
    ground.after(row, cases.len()).await;
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![(number << 3) | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap());
    field.extend(bytes);
    field
}

#[tokio::test]
async fn a_message_is_bounded_and_plain() {
    let mut ground = Ground::new().await;
    let deflated = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x63, 0x60, 0, 2, 0, 0];
    let mut cases: Vec<Case> = vec![
        (GET_CREDENTIALS, vec![("grpc-encoding", "gzip")], envelope(1, 16, &deflated), &[INVALID, UNIMPLEMENTED]),
        (GET_CREDENTIALS, vec![("grpc-encoding", "deflate")], envelope(1, 16, &deflated), &[INVALID, UNIMPLEMENTED]),
        (GET_CREDENTIALS, vec![("grpc-encoding", "zstd")], enveloped(&[]), &[INVALID, UNIMPLEMENTED]),
        (GET_CREDENTIALS, vec![("grpc-encoding", "br")], enveloped(&[]), &[INVALID, UNIMPLEMENTED]),
        (GET_CREDENTIALS, vec![("grpc-encoding", "evil, gzip")], enveloped(&[]), &[INVALID, UNIMPLEMENTED]),
        (GET_CREDENTIALS, vec![], envelope(1, 16, &deflated), &[INVALID, UNIMPLEMENTED]),
        (GET_CREDENTIALS, vec![], envelope(2, 0, b""), &[INVALID]),
        (GET_CREDENTIALS, vec![], envelope(255, 0, b""), &[INVALID]),
    ];
    let [largest, larger] = [MOST, MOST + 1].map(|size| enveloped(&field(1, &vec![b'a'; size - 4])));
    assert_eq!(largest.len(), 5 + MOST, "with a tag and three bytes of length");
    for (path, sound) in CALLS {
        cases.extend([
            (path, vec![], envelope(0, u32::MAX, b"xyz"), &[TOO_LARGE][..]),
            (path, vec![], envelope(0, 1 << 31, b""), &[TOO_LARGE]),
            (path, vec![], envelope(1, u32::MAX, b""), &[TOO_LARGE, INVALID, UNIMPLEMENTED]),
            (path, vec![], enveloped(&vec![0; 4 << 20]), &[TOO_LARGE]),
            (path, vec![], larger.clone(), &[TOO_LARGE]),
            (path, vec![], largest.clone(), sound),
        ]);
    }
    run(&mut ground, "A38", cases).await;
    ground.told("A38");
}

#[tokio::test]
async fn a_message_that_is_none_is_refused() {
    let mut ground = Ground::new().await;
    let mut groups = vec![0x7b; 5_000];
    groups.extend(vec![0x7c; 5_000]);
    let unknown: Vec<u8> = (0..1_500).flat_map(|_| field(15, b"unknown field")).collect();
    let mut cases: Vec<Case> = Vec::new();
    for (path, sound) in CALLS {
        for message in
            [field(1, &[0xff, 0xfe, 0xfd]), field(1, &[0xed, 0xa0, 0x80]), vec![0x0a], vec![0x0a, 0x05, b'a']]
        {
            cases.push((path, vec![], enveloped(&message), &[INVALID]));
        }
        cases.push((path, vec![], enveloped(&[field(1, b"a"), field(1, b"b")].concat()), sound));
    }
    let malformed: Vec<Vec<u8>> = vec![
        field(2, &[0xc3, 0x28]),
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![0xff; 20],
        vec![0x08, 0xff],
        vec![0x0d, 1, 2, 3, 4],
        vec![0x08, 1],
        vec![0x00, 1],
        vec![0x0e],
        vec![0x0f],
        vec![0x7c],
        vec![0x7b],
        groups,
        b"{\"profile\":\"default\"}".to_vec(),
        b"<html>".to_vec(),
    ];
    for message in malformed {
        cases.push((GET_CREDENTIALS, vec![], enveloped(&message), &[INVALID]));
    }
    // Fields that are not ours are left alone, as protobuf has it; the last of two counts. What is missing is the token.
    for message in [unknown, Vec::new()] {
        cases.push((GET_CREDENTIALS, vec![], enveloped(&message), &[UNAUTHENTICATED]));
    }
    for body in [
        vec![],
        vec![0],
        vec![0, 0, 0],
        envelope(0, 10, b"abc"),
        [enveloped(&[]), enveloped(&[])].concat(),
        [enveloped(&[]), vec![7; 9]].concat(),
    ] {
        cases.push((GET_CREDENTIALS, vec![], body, &[INVALID, UNAUTHENTICATED]));
    }
    run(&mut ground, "A40", cases).await;
    ground.told("A40");
}

/// What is served is what is in the .proto, and health.
#[tokio::test]
async fn nothing_else_is_served() {
    let mut ground = Ground::new().await;
    let good = ground.good.clone();
    let paths = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo /grpc.channelz.v1.Channelz/GetTopChannels \
        /grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo /cupbearer.v1.CredentialBroker/Purge \
        /cupbearer.v1.CredentialBroker/getCredentials /cupbearer.v1.CredentialBroker/ /cupbearer.v1.Admin/Purge \
        /cupbearer.v1.CredentialBroker/GetCredentials/ /cupbearer.v1.CredentialBroker//GetCredentials \
        //cupbearer.v1.CredentialBroker/GetCredentials /cupbearer.v1.CredentialBroker/%47etCredentials /metrics / \
        /v1/credentials /grpc.health.v1.Health/List /grpc.health.v1.Health/check /envoy.service.auth.v3.Authorization/Check";
    let headers = vec![("authorization", good.as_str())];
    let mut cases: Vec<Case> = Vec::new();
    for path in paths.split_whitespace() {
        cases.push((path, headers.clone(), enveloped(&[]), &[UNIMPLEMENTED, INVALID]));
    }
    let forwarded = [
        ("x-forwarded-for", "10.0.0.1"),
        ("via", "1.1 proxy"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    for header in forwarded {
        cases.push((GET_CREDENTIALS, vec![headers[0], header], enveloped(&[]), &[7]));
    }
    run(&mut ground, "A42", cases).await;
    let caller = Caller::open(ground.scene.grpc).await;
    for (kind, wanted) in [("application/json", 415), ("text/html", 415), ("", 415)] {
        let answer = caller.call(GET_CREDENTIALS, &[("content-type", kind), headers[0]], enveloped(&[])).await.unwrap();
        let refused = answer.status == wanted || answer.grpc.is_some_and(|status| status != 0);
        assert!(refused && answer.body.is_empty(), "A42: {kind:?}: {answer:?}");
    }
    let health = caller.call("/grpc.health.v1.Health/Check", &[], enveloped(&[])).await.unwrap();
    assert_eq!(health.grpc, Some(0), "health is for everybody");
    ground.after("A42", 4).await;
    ground.told("A42");
}
