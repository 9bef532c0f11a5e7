//! `[[user_pools]]`: who may issue tokens. Knows no profile.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use url::Url;

use crate::auth::UserPool;
use crate::config::defaults::*;
use crate::config::faults::{Found, Place};
use crate::config::field::{Field, List};
use crate::config::logins::ClientSecrets;
use crate::config::{ReadFile, forms, logins, raw};

/// What the pools read so far lay claim to, by line.
#[derive(Default)]
pub(super) struct Claims {
    /// All ids, also those at fault, so that a profile that names one is not told as well.
    ids: HashMap<String, usize>,
    /// An issuer belongs to one pool: the verifier finds the pool, and so the keys, by the issuer alone.
    issuers: HashMap<Arc<str>, Owner>,
    pools: usize,
    /// What the pools' confidential clients have to show.
    pub(super) secrets: ClientSecrets,
    /// Some id could not even be read.
    unknown: bool,
}

/// A pool that claims an issuer.
struct Owner {
    /// Its place among the pools.
    pool: usize,
    line: usize,
}

/// The sound pools, in the file's order, and what all of them claim.
pub(super) fn resolve(typed: Field<Vec<raw::UserPool>>, read: ReadFile<'_>, found: &Found) -> (Vec<UserPool>, Claims) {
    let typed = typed.at_least_one(found, "[[user_pools]] with an id and client_ids");
    let mut claims = Claims { unknown: typed.is_empty(), ..Claims::default() };
    let sound = typed.into_iter().filter_map(|pool| claims.resolve(pool, read, found)).collect();
    (sound, claims)
}

/// The regions of `pools`, each once.
pub(super) fn regions(pools: &[UserPool]) -> Vec<String> {
    let regions: BTreeSet<_> = pools.iter().filter_map(|pool| pool.id.split('_').next()).collect();
    regions.into_iter().map(str::to_owned).collect()
}

impl Claims {
    /// Whether a pool of this id is, or may be, in the file.
    pub(super) fn may_have(&self, id: &str) -> bool {
        self.unknown || self.ids.contains_key(id)
    }

    fn resolve(&mut self, typed: raw::UserPool, read: ReadFile<'_>, found: &Found) -> Option<UserPool> {
        self.pools += 1;
        let repeated = self.claim_id(&typed.id, found);
        let id = typed.id.judged(found, forms::user_pool_id);
        let id = id.required(found, "the user pool's id, REGION_NAME");
        let client_ids = typed.client_ids.each(found, forms::client_id);
        let client_ids = client_ids.required(found, "the app clients whose tokens are taken, a list of their ids");
        let issuers = issuers(typed.issuers, id.as_deref().filter(|_| !repeated), found);
        issuers.iter().for_each(|(issuer, place)| self.claim_issuer(issuer, place, found));
        let jwks_url = jwks_url(typed.jwks_url, issuers.first().map(|(issuer, _)| &**issuer), found);
        let (id, client_ids) = (Arc::<str>::from(id?), texts(client_ids?));
        let secrets = logins::client_secrets(typed.client_secret_file, &id, &client_ids, read, found);
        self.secrets.by_client.extend(secrets.by_client);
        self.secrets.files.extend(secrets.files);
        Some(UserPool { id, client_ids, issuers: texts(issuers), jwks_url: jwks_url? })
    }

    /// Returns whether another pool has the id already.
    fn claim_id(&mut self, id: &Field<String>, found: &Found) -> bool {
        let Some(text) = id.as_given() else {
            self.unknown = true;
            return false;
        };
        let earlier = self.ids.insert(text.clone(), id.place.line);
        if let Some(line) = earlier {
            found.tell(&id.place, format!("listed twice: the user pool of line {line} has this id already"));
        }
        earlier.is_some()
    }

    fn claim_issuer(&mut self, issuer: &Arc<str>, place: &Place, found: &Found) {
        let owner = Owner { pool: self.pools, line: place.line };
        let earlier = self.issuers.insert(Arc::clone(issuer), owner);
        // Twice in one pool's list has been told already.
        if let Some(Owner { line, .. }) = earlier.filter(|owner| owner.pool != self.pools) {
            let message =
                format!("claimed twice: another user pool has this issuer, by line {line}; give each its own");
            found.tell(place, message);
        }
    }
}

/// The issuers with their places; by default those of the pool `id`.
fn issuers(typed: Field<List>, id: Option<&str>, found: &Found) -> Vec<(Arc<str>, Place)> {
    let place = typed.place.clone();
    if !typed.is_absent() {
        let judge = |text: String| forms::url(&text).map(|_| text);
        return typed.each(found, judge).given().unwrap_or_default();
    }
    let region_of = |id: &str| id.split('_').next().unwrap_or_default().to_owned();
    let issuer = |service, id| format!("https://{service}.{}.{DEFAULT_ISSUER_DOMAIN}/{id}", region_of(id));
    let both = id.into_iter().flat_map(|id| DEFAULT_ISSUER_SERVICES.map(|service| issuer(service, id)));
    both.map(|issuer| (issuer.into(), place.clone())).collect()
}

/// Where the keys are; by default where the issuer publishes them.
fn jwks_url(typed: Field<String>, issuer: Option<&str>, found: &Found) -> Option<Url> {
    let place = typed.place.clone();
    let typed = if typed.is_absent() {
        let default = format!("{}{DEFAULT_JWKS_PATH}", issuer?.trim_end_matches('/'));
        Field::found(place, default)
    } else {
        typed
    };
    typed.judged(found, |text| forms::url(&text)).given()
}

fn texts(placed: Vec<(Arc<str>, Place)>) -> Vec<Arc<str>> {
    placed.into_iter().map(|(text, _)| text).collect()
}
