//! The verifier, with keys of its own and a fetcher that tests steer; under paused time, without sockets.

mod vectors;

use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::fetch::Fetching;
use super::*;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEf123";
const CLIENT: &str = "1example23456789";

static KEYS: LazyLock<[RsaKeyPair; 2]> =
    LazyLock::new(|| [(); 2].map(|()| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));

/// Serves one document, or fails; counts.
struct Script {
    document: Mutex<Result<Bytes, String>>,
    fetches: AtomicUsize,
}

impl FetchKeys for Script {
    fn fetch<'a>(&'a self, _: &'a Url) -> Fetching<'a> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.fetches.fetch_add(1, Ordering::Relaxed);
            self.document.lock().unwrap().clone()
        })
    }
}

impl Script {
    fn new(keys: &[(&str, usize)]) -> Arc<Self> {
        Arc::new(Self { document: Mutex::new(Ok(document(keys))), fetches: AtomicUsize::new(0) })
    }

    fn serve(&self, document: Result<Bytes, String>) {
        *self.document.lock().unwrap() = document;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }
}

fn document(keys: &[(&str, usize)]) -> Bytes {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(kid, number)| {
            let public = PublicKeyComponents::<Vec<u8>>::from(KEYS[*number].public_key());
            let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
            json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e})
        })
        .collect();
    json!({ "keys": keys }).to_string().into()
}

fn sign(signed: &str, key: usize) -> String {
    let mut signature = vec![0; KEYS[key].public_modulus_len()];
    KEYS[key].sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn raw(header: &str, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    sign(&format!("{}.{}", encode(header), encode(payload)), 0)
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": "one"})
}

fn payload() -> Value {
    json!({
        "iss": ISSUER, "aud": CLIENT, "sub": "6f0c1e2a", "token_use": "id",
        "iat": NOW - 10, "exp": NOW + 3600, "cognito:groups": ["admin"], "email_verified": true,
    })
}

fn token() -> String {
    raw(&header().to_string(), &payload().to_string())
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        object.as_object_mut().unwrap().remove(name);
    } else {
        object[name] = value;
    }
    object
}

struct Setting {
    verifier: Arc<Verifier>,
    clock: Clock,
    metrics: Arc<Metrics>,
    keeper: tokio::task::JoinSet<()>,
}

/// A verifier with a running keeper; a `JoinSet` ends it with the test.
async fn setting(script: &Arc<Script>) -> Setting {
    let clock = Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let pool = UserPool {
        id: "us-east-1_AbCdEf123".into(),
        client_ids: vec![CLIENT.into()],
        issuers: vec![ISSUER.into()],
        jwks_url: Url::parse("https://keys.invalid/").unwrap(),
    };
    let config = Config {
        user_pools: vec![pool],
        token_bytes: 16_384,
        access_tokens: false,
        verdicts: NonZeroUsize::new(100).unwrap(),
    };
    let fetcher: Arc<dyn FetchKeys> = Arc::clone(script) as _;
    let (verifier, keepers, _) =
        Verifier::new(config, &fetcher, clock.clone(), Chance::seeded(0), Arc::clone(&metrics));
    let mut keeper = tokio::task::JoinSet::new();
    keepers.into_iter().for_each(|one| drop(keeper.spawn(one.run())));
    tokio::time::sleep(Duration::from_millis(50)).await;
    Setting { verifier: Arc::new(verifier), clock, metrics, keeper }
}

impl Setting {
    async fn kind(&self, token: &str) -> Option<Kind> {
        self.verifier.verify(&CupToken::new(token)).await.err().map(|error| error.kind())
    }

    fn counted(&self, result: &str) -> bool {
        let wanted = format!("cupbearer_token_verifications_total{{result=\"{result}\"}} ");
        self.metrics.render().unwrap().lines().any(|line| line.starts_with(&wanted) && !line.ends_with(" 0"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_token_is_verified_once_and_expires_all_the_same() {
    let setting = setting(&Script::new(&[("one", 0)])).await;
    let token = token();
    let caller = setting.verifier.verify(&CupToken::new(&token)).await.unwrap();
    assert_eq!((&*caller.subject, &*caller.client_id), ("6f0c1e2a", CLIENT));
    assert_eq!(setting.kind(&token).await, None);
    assert!(setting.counted("ok") && setting.counted("cached"));

    tokio::time::advance(Duration::from_millis(3_599_900)).await;
    assert_eq!(setting.kind(&token).await, None);
    tokio::time::advance(Duration::from_millis(100)).await;
    assert_eq!(setting.kind(&token).await, Some(Kind::Unauthorized), "now >= exp is expired");
    assert!(setting.counted("expired"));
}

/// Tokens that are bent in form or content, and what each counts as.
fn bent_tokens(good: &str) -> Vec<(&'static str, String)> {
    let (h, p) = (header().to_string(), payload().to_string());
    let claim = |name: &str, value: Value| raw(&h, &with(payload(), name, value).to_string());
    let head = |name: &str, value: Value| raw(&with(header(), name, value).to_string(), &p);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[100] ^= 1;
    vec![
        ("malformed", String::new()),
        ("malformed", "garbage".to_owned()),
        ("malformed", "a.b.c".to_owned()),
        ("malformed", signed.to_owned()),
        ("malformed", format!("{good}.")),
        ("malformed", format!("{good}.{signature}")),
        ("malformed", format!("{good}.x.y")),
        ("malformed", format!("{good}=")),
        ("malformed", format!(" {good}")),
        ("malformed", unsigned("RS256")),
        ("signature", format!("{signed}.{}", URL_SAFE_NO_PAD.encode(flipped))),
        ("signature", sign(signed, 1)),
        ("malformed", raw("[]", &p)),
        ("malformed", raw(&h, "7")),
        ("malformed", raw(r#"{"alg":"RS256","kid":"one","kid":"one"}"#, &p)),
        ("malformed", raw(&h, &p.replacen('{', r#"{"sub":"6f0c1e2a","#, 1))),
        ("malformed", raw(&h, &format!("{p}{p}"))),
        ("malformed", raw(&h, &format!("{}{}", "[".repeat(2000), "]".repeat(2000)))),
        ("malformed", raw(&h, &p.replacen('{', r#"{"x":1e400,"#, 1))),
        ("malformed", head("crit", json!(["exp"]))),
        ("malformed", head("b64", json!(false))),
        ("malformed", head("zip", json!("DEF"))),
        ("unknown_key", head("kid", json!("../../dev/null"))),
        ("unknown_key", head("kid", json!("оne"))),
        ("issuer", claim("iss", json!(format!("{ISSUER}/")))),
        ("issuer", claim("iss", json!(ISSUER.replace("https", "http")))),
        ("issuer", claim("iss", json!(ISSUER.to_uppercase()))),
        ("issuer", claim("iss", json!([ISSUER]))),
        ("issuer", claim("iss", Value::Null)),
        ("audience", claim("aud", json!("another"))),
        ("audience", claim("aud", json!([CLIENT]))),
        ("audience", claim("aud", Value::Null)),
        ("token_use", claim("token_use", json!("access"))),
        ("token_use", claim("token_use", Value::Null)),
        ("malformed", claim("sub", Value::Null)),
        ("malformed", claim("sub", json!(""))),
        ("malformed", claim("sub", json!(7))),
        ("expired", claim("exp", json!(NOW))),
        ("malformed", claim("iat", json!(NOW + 600))),
        ("malformed", claim("nbf", json!(NOW + 600))),
    ]
}

/// Tokens with a value that is not of its type, or an algorithm that is not ours.
fn mistyped_tokens(good: &str) -> Vec<(&'static str, String)> {
    let (h, p) = (header().to_string(), payload().to_string());
    let claim = |name: &str, value: Value| raw(&h, &with(payload(), name, value).to_string());
    let head = |name: &str, value: Value| raw(&with(header(), name, value).to_string(), &p);
    let mut table = Vec::new();
    for alg in ["none", "None", "HS256", "RS384", "RS512", "PS256", "ES256", "rs256", ""] {
        table.push(("malformed", unsigned(alg)));
        table.push(("algorithm", head("alg", json!(alg))));
    }
    table.push(("algorithm", head("alg", json!(["RS256"]))));
    table.push(("algorithm", head("alg", Value::Null)));
    for kid in [json!(7), json!(["one"]), json!(""), json!("k".repeat(129)), Value::Null] {
        table.push(("malformed", head("kid", kid)));
    }
    for bent in [json!("never"), json!(1.5), json!(true), json!(-1), json!(u64::MAX), json!({}), Value::Null] {
        table.push(("malformed", claim("exp", bent.clone())));
        table.push(("malformed", claim("iat", bent)));
    }
    let standard = good.replace(['-', '_'], "+");
    if standard != good {
        table.push(("malformed", standard));
    }
    table
}

fn unsigned(alg: &str) -> String {
    let head = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "one"}).to_string());
    format!("{head}.{}.", URL_SAFE_NO_PAD.encode(payload().to_string()))
}

#[tokio::test(start_paused = true)]
async fn no_bent_token_is_taken() {
    let setting = setting(&Script::new(&[("one", 0)])).await;
    let good = token();
    for (result, token) in bent_tokens(&good).iter().chain(&mistyped_tokens(&good)) {
        let before = setting.metrics.render().unwrap();
        assert_eq!(setting.kind(token).await, Some(Kind::Unauthorized), "{result}: {token}");
        let line = format!("result=\"{result}\"}} ");
        let count = |text: &str| {
            let found = text.lines().find(|l| l.contains("token_verifications") && l.contains(&line));
            found.map(str::to_owned)
        };
        assert_ne!(count(&before), count(&setting.metrics.render().unwrap()), "counted as {result}: {token}");
    }
    assert_eq!(setting.kind(&good).await, None, "the next good one is taken");
}

#[tokio::test(start_paused = true)]
async fn size_is_looked_at_before_anything_else() {
    let setting = setting(&Script::new(&[("one", 0)])).await;
    assert_eq!(setting.kind(&"a".repeat(16_384)).await, Some(Kind::Unauthorized));
    assert_eq!(setting.kind(&"a".repeat(16_385)).await, Some(Kind::RequestTooLarge));
}

#[tokio::test(start_paused = true)]
async fn last_bits_of_base64_have_one_spelling() {
    let setting = setting(&Script::new(&[("one", 0)])).await;
    let good = token();
    let mut bent = good.clone();
    let last = bent.pop().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.find(last).unwrap();
    bent.push(alphabet.as_bytes()[place ^ 1].into());
    assert_eq!(setting.kind(&good).await, None);
    assert_eq!(setting.kind(&bent).await, Some(Kind::Unauthorized), "also right after a hit");
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_fetched_once_for_all_who_ask() {
    let script = Script::new(&[("one", 0)]);
    let setting = setting(&script).await;
    script.serve(Ok(document(&[("one", 0), ("two", 1)])));
    let head = URL_SAFE_NO_PAD.encode(with(header(), "kid", json!("two")).to_string());
    let rotated = sign(&format!("{head}.{}", URL_SAFE_NO_PAD.encode(payload().to_string())), 1);
    let asked = (0..50).map(|_| setting.kind(&rotated));
    assert!(futures::future::join_all(asked).await.iter().all(Option::is_none));
    assert_eq!(script.fetches(), 2, "one at start, one for the new key");

    for number in 0..1_000 {
        let stray = raw(&with(header(), "kid", json!(format!("stray-{number}"))).to_string(), &payload().to_string());
        assert_eq!(setting.kind(&stray).await, Some(Kind::Unauthorized));
        tokio::time::advance(Duration::from_millis(60)).await;
    }
    assert!(script.fetches() <= 2 + 6, "a minute of unknown keys: {} fetches", script.fetches());
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_ends_its_verdicts() {
    let script = Script::new(&[("one", 0), ("two", 1)]);
    let setting = setting(&script).await;
    let token = raw(&header().to_string(), &with(payload(), "exp", json!(NOW + 86_400)).to_string());
    assert_eq!(setting.kind(&token).await, None);
    script.serve(Ok(document(&[("two", 1)])));
    tokio::time::sleep(Duration::from_secs(17 * 60)).await;
    assert_eq!(setting.kind(&token).await, Some(Kind::Unauthorized), "the timer found the key gone");
}

#[tokio::test(start_paused = true)]
async fn only_another_judgement_ends_verdicts() {
    let script = Script::new(&[("one", 0)]);
    let setting = setting(&script).await;
    let fetcher: Arc<dyn FetchKeys> = script;
    let generation = |change: fn(&mut Config)| {
        let mut config = setting.verifier.config.clone();
        change(&mut config);
        setting.verifier.renewed(config, &fetcher).0.generation() - setting.verifier.generation()
    };
    assert_eq!(generation(|config| config.token_bytes = 9_999), 0);
    assert_eq!(generation(|config| config.verdicts = NonZeroUsize::MIN), 0);
    assert_eq!(generation(|config| config.access_tokens = true), 1);
    assert_eq!(generation(|config| config.user_pools[0].client_ids.clear()), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_at_hand_outlive_their_server_and_unknown_ones_are_not_refused() {
    let script = Script::new(&[("one", 0)]);
    let setting = setting(&script).await;
    let stray = raw(&with(header(), "kid", json!("new")).to_string(), &payload().to_string());
    for failure in [Err("down".to_owned()), Ok(Bytes::from_static(b"<html>"))] {
        script.serve(failure);
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(setting.kind(&stray).await, Some(Kind::KeysUnavailable));
        assert_eq!(setting.kind(&token()).await, None, "old keys stay");
    }
    script.serve(Ok(document(&[("one", 0)])));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(setting.kind(&stray).await, Some(Kind::Unauthorized), "now it is known to be unknown");
}

#[tokio::test(start_paused = true)]
async fn without_any_keys_nothing_is_refused_and_the_pool_is_named() {
    let script = Script::new(&[("one", 0)]);
    script.serve(Err("down".to_owned()));
    let mut setting = setting(&script).await;
    assert_eq!(setting.verifier.waiting_for(), [ISSUER.into()]);
    assert_eq!(setting.kind(&token()).await, Some(Kind::KeysUnavailable));
    script.serve(Ok(document(&[("one", 0)])));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(setting.verifier.waiting_for().is_empty());
    assert_eq!(setting.kind(&token()).await, None);
    setting.verifier.observe();
    let seconds = epoch(setting.clock.now().wall);
    assert!(setting.metrics.jwks_last_success.get().abs_diff(seconds) < 60);
    setting.keeper.shutdown().await;
    assert_eq!(setting.kind(&token()).await, None, "keys outlive their keeper");
}

#[tokio::test(start_paused = true)]
async fn keys_that_moved_are_known_until_they_were_fetched_at_their_new_place() {
    let script = Script::new(&[("one", 0)]);
    let setting = setting(&script).await;
    let moved = |from: &Verifier, to: &str, change: fn(&mut UserPool)| {
        let mut config = from.config.clone();
        config.user_pools[0].jwks_url = Url::parse(to).unwrap();
        change(&mut config.user_pools[0]);
        let fetcher: Arc<dyn FetchKeys> = Arc::clone(&script) as _;
        let (verifier, mut keepers) = from.renewed(config, &fetcher);
        (verifier, keepers.pop().unwrap())
    };
    let kind = async |verifier: &Verifier| {
        let judged = verifier.verify(&CupToken::new(&token())).await;
        judged.err().map(|error| error.kind())
    };
    let (verifier, keeper) = moved(&setting.verifier, "https://moved.invalid/", |_| {});
    assert_eq!((kind(&verifier).await, verifier.waiting_for().len()), (None, 0), "nobody has fetched yet");
    let mut keepers = tokio::task::JoinSet::new();
    script.serve(Err("down".to_owned()));
    keepers.spawn(keeper.run());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(kind(&verifier).await, None, "the new place is down");
    script.serve(Ok(document(&[("one", 1)])));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(kind(&verifier).await, Some(Kind::Unauthorized), "another key of that name: the verdict has ended, too");

    let more = |pool: &mut UserPool| pool.issuers.push("https://another".into());
    let (wider, _) = moved(&verifier, "https://elsewhere.invalid/", more);
    assert_eq!(kind(&wider).await, Some(Kind::KeysUnavailable), "they are not another issuer's");
}

fn epoch(at: SystemTime) -> i64 {
    i64::try_from(crate::clock::epoch_seconds(at)).unwrap()
}
