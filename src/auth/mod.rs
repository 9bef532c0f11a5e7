//! Token in, [`Caller`] out. Knows no role, no AWS API and no door.
//!
//! A token is judged by [`token`] (form), [`claims`] (content) and the key set of the user pool that its issuer names
//! ([`keys`]). A verdict is remembered by the digest of the whole token ([`verdicts`]), so that a hit costs a hash.

mod claims;
mod fetch;
mod fingerprint;
mod jwks;
mod keys;
mod token;
mod verdicts;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::chance::Chance;
use crate::clock::{Clock, Moment};
use crate::digest::{Digest, sha256};
use crate::error::{Error, Kind};
use crate::metrics::{Metrics, Verification};
use crate::model::{Caller, Claims};
use crate::secret::CupToken;
use crate::supervise::{LongLived, supervise};

pub use fetch::{FetchKeys, Fetching, HttpsFetcher};
pub use fingerprint::fingerprint;
pub use keys::Keeper;
pub use verdicts::Verdict;

use keys::{KeySet, Lookup};
use verdicts::Verdicts;

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The user pools whose users may ask.
    pub user_pools: Vec<UserPool>,
    /// Longest token that is looked at, in bytes.
    pub token_bytes: usize,
    /// Whether any profile takes access tokens as well as ID tokens.
    pub access_tokens: bool,
    /// How many verdicts are remembered.
    pub verdicts: NonZeroUsize,
}

impl Config {
    /// Whether any key set is fetched over TLS, so that certificate authorities are needed.
    pub fn fetches_over_tls(&self) -> bool {
        self.user_pools.iter().any(|pool| pool.jwks_url.scheme() == "https")
    }

    /// Whether a token is judged by both alike, sizes and numbers apart.
    fn judges_as(&self, other: &Self) -> bool {
        let Self { user_pools, access_tokens, token_bytes: _, verdicts: _ } = self;
        *user_pools == other.user_pools && *access_tokens == other.access_tokens
    }
}

/// One Cognito user pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPool {
    /// Its id: `REGION_NAME`.
    pub id: Arc<str>,
    /// The app clients whose tokens are taken: the allowed values of `aud`.
    pub client_ids: Vec<Arc<str>>,
    /// The allowed values of `iss`.
    pub issuers: Vec<Arc<str>>,
    /// Where the pool publishes its keys.
    pub jwks_url: Url,
}

/// Verifies tokens against the key sets of the configured user pools. Does not change: another configuration has
/// another verifier, which shares what stays ([`Verifier::renewed`]).
pub struct Verifier {
    clock: Clock,
    chance: Chance,
    metrics: Arc<Metrics>,
    config: Config,
    /// Goes up with each change of what is taken: a verdict given under another one no longer holds.
    generation: u64,
    pools: HashMap<Arc<str>, Arc<Pool>>,
    verdicts: Arc<Verdicts>,
}

/// Drops verdicts when their tokens expire: what a token says of its bearer is not kept for longer.
pub struct Sweeper {
    verdicts: Arc<Verdicts>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// How often it looks.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// A user pool with its keys as they are now.
struct Pool {
    config: UserPool,
    keys: Arc<KeySet>,
}

/// Why a token was not taken: the metric's label, and a sentence for the log that holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) result: Verification,
    pub(crate) cause: &'static str,
}

impl Verifier {
    /// A verifier and, for each user pool, the [`Keeper`] that has to run for it to get any keys; and its [`Sweeper`].
    pub fn new(
        config: Config,
        fetcher: &Arc<dyn FetchKeys>,
        clock: Clock,
        chance: Chance,
        metrics: Arc<Metrics>,
    ) -> (Self, Vec<Keeper>, Sweeper) {
        let verdicts = Arc::new(Verdicts::new(config.verdicts));
        let sweeper = Sweeper { verdicts: Arc::clone(&verdicts), clock: clock.clone(), metrics: Arc::clone(&metrics) };
        let mut verifier = Self { clock, chance, metrics, config, generation: 0, pools: HashMap::new(), verdicts };
        let (pools, keepers) = verifier.open_pools(&verifier.config, fetcher);
        verifier.pools = pools;
        (verifier, keepers, sweeper)
    }

    /// The verifier for another configuration. The keys of user pools whose `jwks_url` stays are kept; for the others
    /// there are keepers, and where only the `jwks_url` is another one the old keys do until these have fetched. Those of
    /// pools that are gone end with the last request that needs them.
    pub fn renewed(&self, config: Config, fetcher: &Arc<dyn FetchKeys>) -> (Self, Vec<Keeper>) {
        let (pools, keepers) = self.open_pools(&config, fetcher);
        self.verdicts.limit(config.verdicts);
        let generation = self.generation + u64::from(!config.judges_as(&self.config));
        let (clock, chance) = (self.clock.clone(), self.chance.clone());
        let (metrics, verdicts) = (Arc::clone(&self.metrics), Arc::clone(&self.verdicts));
        (Self { clock, chance, metrics, config, generation, pools, verdicts }, keepers)
    }

    /// Whether another configuration has key sets that this one has not, and that are fetched over TLS.
    pub fn lacks_keys_over_tls(&self, config: &Config) -> bool {
        let mut lacking = config.user_pools.iter().filter(|pool| self.keys_from(&pool.jwks_url).is_none());
        lacking.any(|pool| pool.jwks_url.scheme() == "https")
    }

    /// Which configuration this is: the same number means that the same tokens are taken.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The id of the user pool whose tokens from `issuer` to `client_id` are taken, if one's are.
    pub fn admits(&self, issuer: &str, client_id: &str) -> Option<&Arc<str>> {
        let pool = &self.pools.get(issuer)?.config;
        pool.client_ids.iter().any(|known| **known == *client_id).then_some(&pool.id)
    }

    /// What this configuration makes of a token whose signature was verified before.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`] with the first rule that the token breaks.
    pub fn read_again(&self, token: &CupToken) -> Result<Caller, Error> {
        read_unverified(token.expose_secret(), &self.config, self.clock.now())
    }

    /// Judges `token`, now and every time: a verdict is remembered, its expiry is checked again.
    ///
    /// Waits for a fetch of the key set when the token names a key that is not in it, for 3 s at most.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`] for a token that is not to be trusted, [`Kind::RequestTooLarge`] for one over the size
    /// cap, [`Kind::KeysUnavailable`] when its key is unknown and the key set cannot be fetched.
    pub async fn verify(&self, token: &CupToken) -> Result<Arc<Caller>, Error> {
        self.verdict(token, || Ok(())).await.map(|verdict| verdict.caller)
    }

    /// The same, with what tells later whether it still holds; and for a token without a verdict `may_judge` is asked
    /// first.
    ///
    /// # Errors
    /// As [`Verifier::verify`], and with what `may_judge` says.
    pub async fn verdict(
        &self,
        token: &CupToken,
        may_judge: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Verdict, Error> {
        let text = token.expose_secret();
        let Some(digest) = self.digest(text) else {
            self.metrics.verified(Verification::TooLarge);
            return Err(Error::new(Kind::RequestTooLarge, "the token is longer than limits.token_bytes"));
        };
        if let Some(verdict) = self.remembered(&digest) {
            self.metrics.verified(Verification::Cached);
            return Ok(verdict);
        }
        may_judge()?;
        match self.judge(text).await {
            Ok(verdict) => {
                self.metrics.verified(Verification::Ok);
                self.verdicts.keep(digest, verdict.clone(), self.clock.now());
                Ok(verdict)
            }
            Err(fault) => Err(self.refuse(fault)),
        }
    }

    /// What verdicts on `token` are remembered by, if it is not too long to be looked at.
    pub fn digest(&self, token: &str) -> Option<Digest> {
        (token.len() <= self.config.token_bytes).then(|| sha256(token.as_bytes()))
    }

    /// The same of a token that nobody may see.
    pub fn digest_of(&self, token: &CupToken) -> Option<Digest> {
        self.digest(token.expose_secret())
    }

    /// The issuers whose key sets have never been fetched.
    pub fn waiting_for(&self) -> Vec<Arc<str>> {
        let mut waiting: Vec<_> = self
            .pools
            .values()
            .filter(|pool| !pool.keys.current().is_fetched())
            .filter_map(|pool| pool.config.issuers.first().cloned())
            .collect();
        waiting.sort();
        waiting.dedup();
        waiting
    }

    /// Sets the gauges that are read rather than counted.
    pub fn observe(&self) {
        let oldest = self.pools.values().map(|pool| pool.keys.current().fetched_at_seconds()).min();
        self.metrics.jwks_last_success.set(i64::try_from(oldest.unwrap_or(0)).unwrap_or(i64::MAX));
    }

    fn remembered(&self, digest: &Digest) -> Option<Verdict> {
        let verdict = self.verdicts.get(digest)?;
        (verdict.configuration == self.generation && verdict.holds(self.clock.now())).then_some(verdict)
    }

    /// The pools of `config` by issuer, with the keys of this verifier's where they come from the same address, and a
    /// keeper for each other key set.
    fn open_pools(&self, config: &Config, fetcher: &Arc<dyn FetchKeys>) -> (HashMap<Arc<str>, Arc<Pool>>, Vec<Keeper>) {
        let mut pools = HashMap::new();
        let mut keepers = Vec::new();
        for config in &config.user_pools {
            let keys = self.keys_from(&config.jwks_url).cloned().unwrap_or_else(|| {
                let (means, metrics) = ((self.clock.clone(), self.chance.clone()), Arc::clone(&self.metrics));
                let seed = self.keys_of(config).map(|keys| keys.current()).unwrap_or_default();
                let (keys, keeper) = KeySet::new(config.jwks_url.clone(), seed, Arc::clone(fetcher), means, metrics);
                keepers.push(keeper);
                Arc::new(keys)
            });
            let pool = Arc::new(Pool { config: config.clone(), keys });
            pools.extend(config.issuers.iter().map(|issuer| (Arc::clone(issuer), Arc::clone(&pool))));
        }
        (pools, keepers)
    }

    fn keys_from(&self, url: &Url) -> Option<&Arc<KeySet>> {
        self.pools.values().find(|pool| pool.config.jwks_url == *url).map(|pool| &pool.keys)
    }

    /// The keys of the pool that had all issuers of `pool` before: its tokens are the same ones, wherever the keys are
    /// fetched from now.
    fn keys_of(&self, pool: &UserPool) -> Option<&Arc<KeySet>> {
        let before = self.pools.get(pool.issuers.first()?)?;
        pool.issuers.iter().all(|issuer| before.config.issuers.contains(issuer)).then_some(&before.keys)
    }

    async fn judge(&self, text: &str) -> Result<Verdict, Fault> {
        let parts = token::split(text)?;
        let claims = token::claims(&parts)?;
        let issuer = claims::issuer(&claims)?;
        let (issuer, pool) = self.pools.get_key_value(issuer).ok_or(Rejection::ISSUER)?;
        let found = pool.keys.find(&parts.kid).await;
        let (key, generation) = match found {
            Lookup::Found { key, generation } => (key, generation),
            Lookup::Unknown => return Err(Rejection::UNKNOWN_KEY.into()),
            Lookup::Unavailable => return Err(Fault::KeysUnavailable),
        };
        token::verify_signature(&parts, &key)?;
        let caller = claims::judge(&claims, issuer, &pool.config, self.config.access_tokens, self.clock.now())?;
        let keys = pool.keys.standing(generation);
        Ok(Verdict { caller: Arc::new(caller), keys, configuration: self.generation })
    }

    fn refuse(&self, fault: Fault) -> Error {
        match fault {
            Fault::Rejected(rejection) => {
                self.metrics.verified(rejection.result);
                Error::new(Kind::Unauthorized, rejection.cause)
            }
            Fault::KeysUnavailable => {
                self.metrics.verified(Verification::UnknownKey);
                Error::new(
                    Kind::KeysUnavailable,
                    "the token's key is not known and the user pool's key set cannot be fetched: check jwks_url",
                )
            }
        }
    }
}

/// The claims of a token that was verified before, in this spelling: only who has its bearer may ask. None of a text that
/// is no token.
pub fn claims_of(token: &CupToken) -> Claims {
    let claims = token::split(token.expose_secret()).and_then(|parts| token::claims(&parts));
    claims.unwrap_or_default()
}

/// The caller that `text` claims to come from, judged by everything but its signature: for people who ask why, offline.
/// Nothing may be given to such a caller.
///
/// # Errors
/// [`Kind::Unauthorized`] with the first rule that the token breaks.
pub fn read_unverified(text: &str, config: &Config, now: Moment) -> Result<Caller, Error> {
    let judged = || {
        let claims = token::claims(&token::split(text)?)?;
        let issuer = claims::issuer(&claims)?;
        let named = |pool: &UserPool| pool.issuers.iter().find(|known| &***known == issuer).cloned();
        let found = config.user_pools.iter().find_map(|pool| Some((named(pool)?, pool)));
        let (issuer, pool) = found.ok_or(Rejection::ISSUER)?;
        claims::judge(&claims, &issuer, pool, config.access_tokens, now)
    };
    judged().map_err(|rejection: Rejection| Error::new(Kind::Unauthorized, rejection.cause))
}

impl Sweeper {
    /// Sweeps for as long as it runs, and goes on after a panic.
    pub async fn run(self) {
        supervise(self).await;
    }
}

impl LongLived for Sweeper {
    const NAME: &'static str = "sweeper of verdicts";

    async fn work(&mut self) {
        loop {
            tokio::time::sleep(SWEEP_PERIOD).await;
            self.verdicts.sweep(self.clock.now());
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Why [`Verifier::judge`] came to no verdict.
enum Fault {
    Rejected(Rejection),
    KeysUnavailable,
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}
