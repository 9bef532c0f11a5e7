//! Key sets. `$N` in the input is the modulus of a key that signs a good token.

use std::sync::Arc;

use bytes::Bytes;
use cupbearer::auth::{FetchKeys, Fetching, Verifier};
use cupbearer::chance::Chance;
use cupbearer::clock::Clock;
use cupbearer::metrics::Metrics;
use cupbearer::secret::CupToken;
use serde_json::Value;
use tokio::runtime::Runtime;
use url::Url;

use super::ground::{KEY, KID, auth_config, good_token};

/// The document, and nothing else.
struct Says(Bytes);

impl FetchKeys for Says {
    fn fetch<'a>(&'a self, _url: &'a Url) -> Fetching<'a> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

thread_local! {
    static METRICS: Arc<Metrics> = Arc::new(Metrics::new("fuzz").unwrap());
    // Time passes by itself: a key that is not there is waited for.
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    static TOKEN: String = good_token();
}

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace("$N", &KEY.modulus);
    let fetcher: Arc<dyn FetchKeys> = Arc::new(Says(Bytes::from(text.clone())));
    let metrics = METRICS.with(Arc::clone);
    let (verifier, keepers, _) = Verifier::new(auth_config(), &fetcher, Clock::system(), Chance::seeded(1), metrics);
    let token = CupToken::new(&TOKEN.with(Clone::clone));
    let taken = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let keeper = async {
                for keeper in keepers {
                    keeper.run().await;
                }
            };
            // The first fetch is over when the keeper first waits; a token is then judged by what came.
            tokio::select! {
                biased;
                () = keeper => false,
                done = tokio::time::timeout(std::time::Duration::from_millis(20), verifier.verify(&token)) =>
                    matches!(done, Ok(Ok(_))),
            }
        })
    });
    if taken {
        let document: Value = serde_json::from_str(&text).expect("a key set is JSON");
        let keys = document["keys"].as_array().expect("with keys");
        let ours = |key: &Value| key["kid"] == KID && key["kty"] == "RSA" && key["n"] == KEY.modulus.as_str();
        assert!(keys.iter().any(ours), "{text}");
    }
}
