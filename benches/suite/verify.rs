//! First sight of a token: form, signature, claims, fingerprint; against the bare verification of its signature.

use std::hint::black_box;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cupbearer::clock::Clock;
use cupbearer::dev;
use cupbearer::secret::CupToken;
use http::Request;
use serde_json::Value;

use crate::cpu;
use crate::figures::{Figure, Findings, Plot};
use crate::turns::Turns;
use crate::world::{EMULATOR, World, runtime, tokens};

const BATCH: usize = 400;
const ROUNDS: usize = 15;

pub fn run(findings: &mut Findings) {
    let runtime = runtime();
    let world = runtime.block_on(World::new(Clock::system(), 1_000_000));
    let key = public_key();
    let fresh: Vec<CupToken> = tokens(BATCH * (ROUNDS + 1)).iter().map(|token| CupToken::new(token)).collect();
    let mut batches = fresh.chunks(BATCH);
    let known = world.token(0);
    let (signed, signature) = known.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let bare = || {
        let started = cpu::thread();
        for _ in 0..BATCH {
            key.verify_sig(black_box(signed.as_bytes()), black_box(&signature)).unwrap();
        }
        per_one(started)
    };
    let first_sight = || {
        let batch = batches.next().unwrap();
        let started = cpu::thread();
        for token in batch {
            // Judged and refused its alias, so that nothing is exchanged.
            drop(black_box(runtime.block_on(world.broker.explain(token, &world.ask))));
        }
        per_one(started)
    };
    let turns = Turns::take(ROUNDS, bare, first_sight);
    findings.figures.push(
        Figure::at_most("first sight of a token / aws-lc-rs verification", turns.ratio(), "x", 1.3, 1.1).noted(
            format!(
                "{:.1} us against {:.1} us; {}. The verdict is kept and the role explained within it",
                turns.subject(),
                turns.yardstick(),
                turns.span()
            ),
        ),
    );
    findings.plots.push(Plot {
        file: "verify",
        title: "First sight of a token, CPU time".to_owned(),
        bars: vec![
            ("aws-lc-rs, the signature alone".to_owned(), turns.yardstick()),
            ("first sight".to_owned(), turns.subject()),
        ],
        unit: "us",
    });
}

fn per_one(started: std::time::Duration) -> f64 {
    (cpu::thread() - started).as_nanos() as f64 / BATCH as f64 / 1_000.0
}

/// The key that signs the emulator's ID tokens, parsed once.
fn public_key() -> ParsedPublicKey {
    let path = format!("/{}/.well-known/jwks.json", dev::USER_POOL_ID);
    let request = Request::get(path).body(Bytes::new()).unwrap();
    let document = EMULATOR.answer(request, std::time::SystemTime::UNIX_EPOCH).into_body();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let known = crate::world::token(0, Clock::system().now().wall);
    let header = URL_SAFE_NO_PAD.decode(known.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let key = document["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let key = RsaPublicKeyComponents { n: part("n"), e: part("e") };
    key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).unwrap()
}
