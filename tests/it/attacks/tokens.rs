//! Bad tokens at the HTTP and the gRPC door: each hears the one text for all causes, and nothing is fetched for it
//! (A1 to A13, A16, A17, A19).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cupbearer::dev::{CLIENT_ID, ISSUER};
use serde_json::{Value, json};

use super::Ground;
use super::caller::{Caller, GET_CREDENTIALS, enveloped};
use super::forge::{Forge, KID, claims, header, hmac_by, signed_by};
use crate::support::http;
use crate::support::scene::token;
use crate::support::trap::Trap;

/// One row: its name in the table, and its tokens.
type Row = (&'static str, Vec<String>);

fn of_algorithms(forge: &Forge) -> Vec<Row> {
    let real = forge.sound();
    let real = URL_SAFE_NO_PAD.decode(real.rsplit_once('.').unwrap().1).unwrap();
    let none = ["none", "None", "NONE", "nOnE", "", " none"];
    let unsigned = none.iter().flat_map(|alg| [signed_by(alg, b""), signed_by(alg, b"x"), signed_by(alg, &real)]);
    let secrets = [forge.pem().into_bytes(), forge.der(), forge.jwk().to_string().into_bytes(), Vec::new()];
    let symmetric = ["HS256", "HS384", "HS512"];
    let symmetric = symmetric.iter().flat_map(|alg| secrets.iter().map(move |key| hmac_by(alg, key)));
    let curves = ["ES256", "ES384", "ES512", "EdDSA", "ES256K"];
    let psychic = curves.iter().flat_map(|alg| [64, 96, 132, 0].map(|bytes| signed_by(alg, &vec![0; bytes])));
    // SEQUENCE { INTEGER 0, INTEGER 0 }, as DER has it.
    let psychic = psychic.chain([signed_by("ES256", &[0x30, 6, 2, 1, 0, 2, 1, 0])]);
    let other_rsa =
        ["RS384", "RS512", "PS256", "PS384", "RS1", "rs256", "RSA", "RS256 "].map(|alg| signed_by(alg, &real));
    let mut header_of_a_curve = header();
    header_of_a_curve["kid"] = "curve".into();
    let confused = forge.raw(&header_of_a_curve.to_string(), &claims().to_string());
    vec![
        ("A1", unsigned.collect()),
        ("A2", symmetric.collect()),
        ("A3", psychic.chain(other_rsa).chain([confused, forge.headed("alg", json!(["RS256"]))]).collect()),
    ]
}

fn of_headers(forge: &Forge, trap: &Trap) -> Vec<Row> {
    let (own, url) = (Forge::new(), format!("http://{}/jwks.json", trap.address));
    let certificate = json!([STANDARD.encode(own.der())]);
    let brought = [("jwk", own.jwk()), ("jku", json!(url)), ("x5u", json!(url)), ("x5c", certificate)];
    let by_the_brought_key = brought.iter().map(|(name, value)| own.headed(name, value.clone()));
    let by_the_real_key = brought.iter().map(|(name, value)| forge.headed(name, value.clone()));
    let kids = [
        json!("../../dev/null"),
        json!("' OR 1=1 --"),
        json!("forged\u{0}"),
        json!("f\u{43e}rged"),
        json!("FORGED"),
        json!("forged "),
        json!("k".repeat(129)),
        json!("k".repeat(6_000)),
        json!(""),
        json!(7),
        json!(true),
        json!([KID]),
        json!({"kid": KID}),
        Value::Null,
    ];
    let kids = kids.iter().map(|kid| forge.headed("kid", kid.clone()));
    let nameless = forge.raw(r#"{"alg":"RS256"}"#, &claims().to_string());
    let extended = [
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
    ];
    vec![
        ("A4", by_the_brought_key.chain(by_the_real_key).collect()),
        ("A5", kids.chain([nameless]).collect()),
        ("A7", extended.iter().map(|(name, value)| forge.headed(name, value.clone())).collect()),
    ]
}

fn of_forms(forge: &Forge) -> Vec<Row> {
    let good = forge.sound();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (first, second) = signed.split_once('.').unwrap();
    let bomb = URL_SAFE_NO_PAD.encode(vec![0; 8_000]);
    let encrypted = |header: Value| format!("{}.x.y.{bomb}.z", URL_SAFE_NO_PAD.encode(header.to_string()));
    let encryptions = [
        encrypted(json!({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": KID})),
        encrypted(json!({"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 1_u64 << 31, "p2s": "x"})),
        encrypted(json!({"alg": "dir", "enc": "A256GCM", "zip": "DEF"})),
        format!("{good}.x.y"),
    ];
    let json_form = json!({"protected": first, "payload": second, "signature": signature}).to_string();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes.push(0);
    let bent = [
        json_form,
        signed.to_owned(),
        format!("{signed}."),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{first}..{signature}"),
        format!("{first}.{second} .{signature}"),
        format!("{first}\t.{second}.{signature}"),
        format!("{good}="),
        format!("{good}=="),
        format!("{first}=.{second}.{signature}"),
        format!("{signed}.{}", STANDARD.encode(&bytes)),
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes)),
        format!("{signed}.{}", STANDARD.encode(&bytes[..256])),
        other_last_bits(&good),
        ".".to_owned(),
        "..".to_owned(),
        "%00.%00.%00".to_owned(),
    ];
    vec![("A8", encryptions.into()), ("A9", bent.into())]
}

/// The same bytes in another spelling: the last letter of base64 has bits that say nothing.
fn other_last_bits(good: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = good.split_at(good.len() - 1);
    let place = alphabet.find(last).unwrap();
    format!("{rest}{}", char::from(alphabet.as_bytes()[place ^ 1]))
}

fn of_claims(forge: &Forge) -> Vec<Row> {
    let (head, body) = (header().to_string(), claims().to_string());
    let twice = [
        body.replacen('{', r#"{"sub":"somebody",  "#, 1),
        body.replacen('{', &format!(r#"{{"iss":"{ISSUER}","#), 1),
        body.replacen('{', r#"{"x":{"a":1,"a":2},"#, 1),
        body.replacen('{', r#"{"\u0073ub":"somebody","#, 1),
    ];
    let mut twice: Vec<_> = twice.iter().map(|body| forge.raw(&head, body)).collect();
    twice.push(forge.raw(&head.replacen('{', r#"{"kid":"x","#, 1), &body));
    twice.push(forge.raw(&head.replacen('{', r#"{"alg":"none","#, 1), &body));
    let times = [
        json!("never"),
        json!("1800000000"),
        json!(1.5e9),
        json!(true),
        json!(-1),
        json!(1_u64 << 63),
        json!(u64::MAX),
        json!([]),
        json!({}),
        Value::Null,
    ];
    let mut mistyped: Vec<_> =
        ["exp", "iat"].iter().flat_map(|name| times.iter().map(|time| forge.claiming(name, time.clone()))).collect();
    mistyped.extend(times[..9].iter().map(|time| forge.claiming("nbf", time.clone())));
    mistyped.extend(["exp", "iat", "nbf"].map(|name| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        forge.raw(&head, &claims.to_string().replacen('{', &format!("{{\"{name}\":1e400,"), 1))
    }));
    let past = claims()["iat"].as_u64().unwrap() - 10;
    mistyped.extend([forge.claiming("exp", json!(past)), forge.claiming("exp", json!(0))]);
    // There, and nothing: to be taken for absent would be to be taken.
    mistyped.extend(["exp", "iat", "nbf", "token_use", "iss", "aud", "sub"].map(|name| {
        let mut claims = claims();
        claims[name] = Value::Null;
        forge.raw(&head, &claims.to_string())
    }));
    vec![("A10", twice), ("A11", mistyped)]
}

fn of_issuers(forge: &Forge) -> Vec<Row> {
    let issuers = [
        ISSUER.replace("us-east-1_", "us-east-1_X"),
        ISSUER.replacen("us-east-1", "eu-west-1", 1),
        format!("{ISSUER}/"),
        ISSUER.to_uppercase(),
        ISSUER.replacen("https", "http", 1),
        ISSUER.replacen("https://", "", 1),
        ISSUER.replacen("cognito", "c\u{43e}gnito", 1),
        ISSUER.replacen("https://", "https://user@", 1),
        format!("{ISSUER}#x"),
        format!("{ISSUER}?x"),
        format!(" {ISSUER}"),
        "http://169.254.169.254/latest".to_owned(),
        String::new(),
    ];
    let mut issuers: Vec<_> = issuers.iter().map(|issuer| forge.claiming("iss", json!(issuer))).collect();
    issuers.extend([json!([ISSUER]), json!({"iss": ISSUER}), json!(7), Value::Null].map(|v| forge.claiming("iss", v)));
    let audiences = [json!("another"), json!([CLIENT_ID]), json!([CLIENT_ID, "another"]), json!(""), Value::Null];
    let mut audiences: Vec<_> = audiences.iter().map(|audience| forge.claiming("aud", audience.clone())).collect();
    for token_use in [json!("access"), json!("ID"), json!(""), json!(["id"]), Value::Null] {
        audiences.push(forge.claiming("token_use", token_use));
    }
    let mut access = claims();
    access["token_use"] = "access".into();
    access["client_id"] = access["aud"].take();
    access.as_object_mut().unwrap().remove("aud");
    audiences.push(forge.raw(&header().to_string(), &access.to_string()));
    let issued = claims()["iat"].as_u64().unwrap();
    let early = [forge.claiming("iat", json!(issued + 600)), forge.claiming("nbf", json!(issued + 600))];
    let anonymous = [json!(""), json!(7), json!(["a"]), Value::Null].map(|sub| forge.claiming("sub", sub));
    audiences.extend(anonymous);
    vec![("A12", issuers), ("A13", audiences), ("A19", early.into())]
}

/// Large ones: what is over the cap is not looked at, what is under it is refused for what it is.
fn of_sizes(forge: &Forge) -> Vec<Row> {
    let nested = |depth: usize| format!("{{\"kid\":\"{KID}\",\"x\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let number = format!("{{\"alg\":\"RS256\",\"kid\":\"{KID}\",\"x\":{}}}", "9".repeat(10_000));
    let large = [
        forge.raw(&nested(5_000), "{}"),
        forge.raw(&header().to_string(), &nested(5_000)),
        forge.raw(&number, "{}"),
        "a".repeat(16_384),
        ".".repeat(16_384),
        format!("{}.x.y", URL_SAFE_NO_PAD.encode("{".repeat(12_000))),
    ];
    vec![("A16", large.into())]
}

#[tokio::test]
async fn no_bad_token_passes_a_door() {
    let (forge, trap) = (Forge::new(), Trap::set().await);
    let curve = json!({"kty": "EC", "crv": "P-256", "kid": "curve", "x": "AA", "y": "AA"});
    let mut ground = Ground::before(forge.published(&[curve]).await, "").await;
    let refusal = ground.scene.ask("/v1/credentials", "").await.body;
    let rows = [
        of_algorithms(&forge),
        of_headers(&forge, &trap),
        of_forms(&forge),
        of_claims(&forge),
        of_issuers(&forge),
        of_sizes(&forge),
    ];
    for (row, tokens) in rows.into_iter().flatten() {
        let caller = Caller::open(ground.scene.grpc).await;
        for token in &tokens {
            let reply = ground.scene.ask("/v1/credentials", token).await;
            assert_eq!((reply.status, reply.body.as_str()), (401, refusal.as_str()), "{row}: {token}");
            let headers = [("authorization", token.as_str())];
            let answer = caller.call(GET_CREDENTIALS, &headers, enveloped(&[])).await.unwrap();
            assert_eq!((answer.status, answer.grpc), (200, Some(16)), "{row}: {token}: {answer:?}");
        }
        ground.after(row, 2 * tokens.len()).await;
    }
    assert_eq!(trap.visits(), 0, "a key was looked for where a token said");
    assert!(ground.scene.proxy.calls("jwks") <= 5, "{} fetches of keys", ground.scene.proxy.calls("jwks"));
    let sound = ground.scene.ask("/v1/credentials", &forge.sound()).await.status;
    assert_eq!(sound, 200, "the forger's key is good, so that the tokens were refused for what they are");
    ground.told("A1-A5, A7-A13, A16, A19");
}

/// Old sign-ins and long lives are the user pool's affair.
#[tokio::test]
async fn what_is_policy_and_no_fault_is_taken() {
    let mut ground = Ground::new().await;
    let now = claims()["iat"].as_u64().unwrap();
    for (name, value) in [("auth_time", json!(now - 90 * 86_400)), ("exp", json!(now + 3 * 86_400))] {
        let token = crate::support::scene::token_with(|claims| claims[name] = value);
        assert_eq!(ground.scene.ask("/v1/credentials", &token).await.status, 200, "A19 {name}");
    }
    ground.after("A19", 2).await;
}

/// Over the cap nothing is decoded: the parser of heads, or the first look at the token, sends it away.
#[tokio::test]
async fn what_is_too_large_is_not_looked_at() {
    let mut ground = Ground::new().await;
    let sizes = [16_385, 20_000, 33_000, 65_536, 1 << 20];
    for size in sizes {
        let reply = ground.scene.ask("/v1/credentials", &"a".repeat(size)).await;
        // One who goes on writing what is not read may be reset before the answer is seen.
        assert!(reply.status == 431 || (reply.status == 0 && size > 40_000), "A16 {size}: {reply:?}");
        let caller = Caller::open(ground.scene.grpc).await;
        let long = "a".repeat(size.min(100_000));
        let answer = caller.call(GET_CREDENTIALS, &[("authorization", &long)], enveloped(&[])).await;
        let refused = answer.as_ref().is_ok_and(|answer| answer.status == 431 || answer.grpc == Some(8));
        assert!(refused || answer.is_err(), "A16 {size}: {answer:?}");
    }
    ground.after("A16", 2 * sizes.len()).await;
}

/// A token that was taken a moment ago is remembered as a whole: with one bit changed it is another one.
#[tokio::test]
async fn a_remembered_token_has_no_neighbours() {
    let mut ground = Ground::new().await;
    let good = token("alice");
    assert_eq!(ground.scene.ask("/v1/credentials", &good).await.status, 200);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let bits = (0..bytes.len() * 8).step_by(19);
    let mut neighbours: Vec<_> = bits
        .map(|bit| {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
        })
        .collect();
    neighbours.extend([other_last_bits(&good), format!("{good}A"), good[..good.len() - 1].to_owned()]);
    for neighbour in &neighbours {
        assert_eq!(http::credentials(ground.scene.http, "/v1/credentials", neighbour).await.status, 401, "A17");
    }
    assert_eq!(ground.scene.ask("/v1/credentials", &good).await.status, 200);
    ground.after("A17", neighbours.len()).await;
    ground.told("A17");
}
