//! What the targets stand on: a key made for this run, tokens signed with it, an AWS that says what it is told, and the
//! whole program with its doors on loopback.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cupbearer::auth::{Config, UserPool};
use cupbearer::clock::rfc3339;
use cupbearer::{app, config};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use url::Url;

pub const ISSUER: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Fuzz00001";
pub const CLIENT: &str = "1fuzz23456789";
pub const KID: &str = "fuzz";
pub const IDENTITY: &str = "us-east-1:11111111-2222-3333-4444-555555555555";
pub const OPEN_ID_TOKEN: &str = "an-open-id-token-that-is-not-told";

/// Every operation of STS, by this name.
pub const STS: &str = "sts";

/// The key of this run. No token of it outlives the run.
pub static KEY: LazyLock<Key> = LazyLock::new(Key::generate);

pub struct Key {
    pair: KeyPair,
    /// The modulus, as a key set has it.
    pub modulus: String,
}

impl Key {
    fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = pair.public_key().as_ref();
        // RSAPublicKey (RFC 8017 A.1.1) of 2,048 bits: both numbers have their places.
        assert_eq!((der.len(), &der[..9]), (270, &[0x30, 0x82, 1, 10, 2, 0x82, 1, 1, 0][..]));
        let modulus = URL_SAFE_NO_PAD.encode(&der[9..265]);
        Self { pair, modulus }
    }

    /// The key set that has this key alone.
    pub fn document(&self) -> String {
        let key = json!({"kty": "RSA", "kid": KID, "use": "sig", "alg": "RS256", "n": self.modulus, "e": "AQAB"});
        json!({"keys": [key]}).to_string()
    }

    /// A token of these two parts, whatever they are, with a signature that is right.
    pub fn sign(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signing = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
        signing.unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub fn header() -> Value {
    json!({"alg": "RS256", "kid": KID})
}

/// The claims of a token that is taken.
pub fn claims() -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    json!({
        "iss": ISSUER, "sub": "somebody", "aud": CLIENT, "token_use": "id", "iat": now, "auth_time": now, "exp": now + 3_600,
        "cognito:roles": ["arn:aws:iam::111122223333:role/fuzz"],
        "cognito:preferred_role": "arn:aws:iam::111122223333:role/fuzz",
    })
}

pub fn good_token() -> String {
    KEY.sign(header().to_string().as_bytes(), claims().to_string().as_bytes())
}

pub fn auth_config() -> Config {
    let pool = UserPool {
        id: "us-east-1_Fuzz00001".into(),
        client_ids: vec![CLIENT.into()],
        issuers: vec![ISSUER.into()],
        jwks_url: Url::parse("http://127.0.0.1/jwks.json").unwrap(),
    };
    Config {
        user_pools: vec![pool],
        token_bytes: 16_384,
        access_tokens: false,
        verdicts: std::num::NonZeroUsize::new(64).unwrap(),
    }
}

/// One thread for everything, so that what is covered belongs to the input that is run.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What AWS answers to the operation with this name from now on: a status and a body.
type Answers = Arc<Mutex<Vec<(String, u16, Vec<u8>)>>>;

/// An AWS on loopback.
#[derive(Clone)]
pub struct Aws {
    pub address: SocketAddr,
    pub answers: Answers,
}

impl Aws {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let aws = Self { address: listener.local_addr().unwrap(), answers: Answers::default() };
        let answers = Arc::clone(&aws.answers);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answers = Arc::clone(&answers);
                let service = service_fn(move |request| {
                    let answers = Arc::clone(&answers);
                    async move { Ok::<_, Infallible>(answer(&answers, request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        aws
    }

    pub fn says(&self, operation: &str, status: u16, body: &[u8]) {
        self.answers.lock().unwrap().push((operation.to_owned(), status, body.to_vec()));
    }

    pub fn is_well(&self) {
        self.answers.lock().unwrap().clear();
    }
}

async fn answer(answers: &Answers, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    // A caller that goes away in the middle gets an answer that it does not read.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = match target.rsplit_once('.') {
        Some((_, operation)) => operation.to_owned(),
        None if body.is_empty() => "jwks".to_owned(),
        None => STS.to_owned(),
    };
    let told = answers.lock().unwrap().iter().find(|(name, ..)| *name == operation).cloned();
    let (status, body) = told.map_or_else(|| (200, well(&operation)), |(_, status, body)| (status, body));
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.1")
        .body(Full::from(body))
        .unwrap()
}

fn well(operation: &str) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let in_an_hour = SystemTime::now() + Duration::from_secs(3_600);
    let body = match operation {
        "jwks" => return KEY.document().into_bytes(),
        STS => return assumed(in_an_hour).into_bytes(),
        "GetId" => json!({"IdentityId": IDENTITY}),
        "GetOpenIdToken" => json!({"IdentityId": IDENTITY, "Token": OPEN_ID_TOKEN}),
        "GetCredentialsForIdentity" => json!({"IdentityId": IDENTITY, "Credentials": {
            "AccessKeyId": "ASIAFUZZ", "SecretKey": "secret", "SessionToken": "session", "Expiration": now + 3_600}}),
        _ => json!({}),
    };
    body.to_string().into_bytes()
}

/// AssumeRoleWithWebIdentity's answer.
fn assumed(expires: SystemTime) -> String {
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAFUZZ</AccessKeyId>\
         <SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>{}</Expiration>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        rfc3339(expires)
    )
}

/// The configuration of the program under test, before this AWS.
pub fn settings(aws: SocketAddr) -> String {
    format!(
        "[server]\nhttp = \"127.0.0.1:0\"\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ndrain_seconds = 0\n\
         [aws]\nregion = \"us-east-1\"\nendpoint_url = \"http://{aws}\"\n[[user_pools]]\nid = \"us-east-1_Fuzz00001\"\n\
         client_ids = [\"{CLIENT}\"]\nissuers = [\"{ISSUER}\"]\njwks_url = \"http://{aws}/jwks.json\"\n\
         [profiles.default]\nflow = \"enhanced\"\nidentity_pool_id = \"us-east-1:99999999-2222-3333-4444-555555555555\"\n\
         [profiles.default.roles]\nmapping = \"token\"\n[upstream]\nget_id_per_second = 10_000\n\
         get_credentials_for_identity_per_second = 10_000\n"
    )
}

/// The program, its doors open, in a runtime that runs while something is asked of it.
pub struct House {
    runtime: Runtime,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    token: RefCell<(SystemTime, String)>,
    _signals: tokio::sync::mpsc::Sender<()>,
}

thread_local! {
    static HOUSE: House = House::open();
}

impl House {
    fn open() -> Self {
        let runtime = runtime();
        let (signals, told) = tokio::sync::mpsc::channel(1);
        let [http, grpc, admin] = runtime.block_on(async {
            let aws = Aws::start().await;
            let config = config::parse("fuzz.toml", &settings(aws.address), &|_| None);
            let bound = app::bind(config.unwrap_or_else(|faults| panic!("{faults}")), None).await.unwrap();
            let addresses = bound.addresses().unwrap();
            tokio::spawn(async move { bound.run(told).await.unwrap() });
            addresses
        });
        let house =
            Self { runtime, http, grpc, token: RefCell::new((SystemTime::now(), good_token())), _signals: signals };
        let ready = |reply: Vec<u8>| String::from_utf8_lossy(&reply).starts_with("HTTP/1.1 200");
        let question = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        while !ready(house.run(say(admin, question.as_bytes()))) {}
        house
    }

    /// A token that is taken, and not about to end.
    pub fn token(&self) -> String {
        let mut token = self.token.borrow_mut();
        if token.0.elapsed().is_ok_and(|age| age > Duration::from_secs(600)) {
            *token = (SystemTime::now(), good_token());
        }
        token.1.clone()
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

pub fn with_house<T>(work: impl FnOnce(&House) -> T) -> T {
    HOUSE.with(work)
}

/// Says `bytes` on a connection of their own, and returns what is answered: all of it if the far end closes, and what has
/// come if it waits for more.
pub async fn say(door: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(door).await.unwrap();
    // One who is refused in the middle cannot say the rest.
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(100), stream.read_buf(&mut answer)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return answer,
            Err(_silence) => return answer,
        }
    }
}

/// The statuses of all answers in what was said by an HTTP/1.1 door.
pub fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 ") || text.starts_with("HTTP/1.0 "), "{text}");
    let heads = text.split("HTTP/1.").skip(1);
    heads.filter_map(|head| head.get(2..5)?.parse().ok()).collect()
}
