//! Tokens as a forger would make them who had the user pool's own key: whatever header, whatever payload, rightly signed.

use std::time::SystemTime;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use cupbearer::dev;
use serde_json::{Value, json};

use crate::support::proxy::{Fault, Proxy};
use crate::support::scene::{EMULATOR, embedded};

/// The name of the forger's key in the key set.
pub const KID: &str = "forged";

/// A key that the user pool publishes beside its own.
pub struct Forge {
    pair: RsaKeyPair,
}

impl Forge {
    pub fn new() -> Self {
        Self { pair: RsaKeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// The public half as a JSON Web Key.
    pub fn jwk(&self) -> Value {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KID, "n": n, "e": e})
    }

    /// The public half as PKCS#1 in DER.
    pub fn der(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// The same as PEM.
    pub fn pem(&self) -> String {
        let text = STANDARD.encode(self.der());
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// The emulator behind a proxy that publishes this key, and `others`, beside the emulator's own.
    pub async fn published(&self, others: &[Value]) -> Proxy {
        let proxy = embedded().await;
        let mut keys = own_keys();
        keys.push(self.jwk());
        keys.extend(others.iter().cloned());
        proxy.bend("jwks", Fault::Says(200, json!({ "keys": keys }).to_string()));
        proxy
    }

    /// A token of these very texts, signed.
    pub fn raw(&self, header: &str, payload: &str) -> String {
        let signed = join(header, payload);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A sound header with one member changed, over sound claims.
    pub fn headed(&self, name: &str, value: Value) -> String {
        let mut header = header();
        header[name] = value;
        self.raw(&header.to_string(), &claims().to_string())
    }

    /// Sound claims with one changed, or taken away by null.
    pub fn claiming(&self, name: &str, value: Value) -> String {
        let mut claims = claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        self.raw(&header().to_string(), &claims.to_string())
    }

    /// One that nobody could refuse.
    pub fn sound(&self) -> String {
        self.raw(&header().to_string(), &claims().to_string())
    }
}

pub fn header() -> Value {
    json!({"alg": "RS256", "kid": KID})
}

/// Alice's claims, fresh.
pub fn claims() -> Value {
    EMULATOR.id_claims("alice", SystemTime::now()).unwrap()
}

/// The two parts that are signed.
pub fn join(header: &str, payload: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// A token under `alg` and a signature that is none, or made of anything.
pub fn signed_by(alg: &str, signature: &[u8]) -> String {
    let header = json!({"alg": alg, "kid": KID}).to_string();
    format!("{}.{}", join(&header, &claims().to_string()), URL_SAFE_NO_PAD.encode(signature))
}

/// A token whose HMAC is keyed with `key`, as if the public key were a shared secret.
pub fn hmac_by(alg: &str, key: &[u8]) -> String {
    let algorithm = match alg {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let signed = join(&json!({"alg": alg, "kid": KID}).to_string(), &claims().to_string());
    let tag = hmac::sign(&hmac::Key::new(algorithm, key), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The emulator's own key set.
pub fn own_keys() -> Vec<Value> {
    keys_of(&EMULATOR)
}

pub fn keys_of(emulator: &dev::Emulator) -> Vec<Value> {
    let path = format!("/{}/.well-known/jwks.json", dev::USER_POOL_ID);
    let answer = emulator.answer(::http::Request::get(path).body(Bytes::new()).unwrap(), SystemTime::now());
    let set: Value = serde_json::from_slice(answer.body()).unwrap();
    set["keys"].as_array().unwrap().clone()
}
