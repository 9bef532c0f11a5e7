//! What AWS itself says, or the emulator in its place: key sets, clocks, identity pools, roles.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::auth::{HttpsFetcher, UserPool};
use crate::cli::Failure;
use crate::cli::doctor::DoctorArgs;
use crate::cli::doctor::offline::{SELF, Seen};
use crate::cli::terminal::Progress;
use crate::clock::Clock;
use crate::config::Config;
use crate::doctor::{Document, Finding, needs};
use crate::model::RoleArn;
use crate::upstream::{Flow, PoolInspector, RoleFault, RoleInspector};

/// From this on signatures and tokens are at risk: STS refuses at five minutes, and a token may live as long.
const SKEW: Duration = Duration::from_secs(60);

/// Time for finding out who asks, and for one answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Looks at everything that can be; what is seen of identity pools and roles goes into `seen`, where no file has said it.
pub(super) async fn look(config: &Config, args: &DoctorArgs, seen: &mut Seen) -> Result<Vec<Finding>, Failure> {
    let mut progress = Progress::new();
    let mut found = Vec::new();
    let fetcher = HttpsFetcher::new(config.auth.fetches_over_tls());
    let fetcher = fetcher.map_err(|error| {
        Failure::Failed(format!(
            "the system's certificate authorities cannot be read: {error}; install ca-certificates"
        ))
    })?;
    for pool in &config.auth.user_pools {
        progress.tell(&format!("fetching the key set of {}", pool.id));
        found.extend(keys(&fetcher, pool).await);
    }
    let profiles = config.broker.profiles.values().filter(|profile| profile.target.flow != Flow::AssumeRole);
    let pools: BTreeSet<_> = profiles.map(|profile| profile.target.identity_pool_id.to_string()).collect();
    if !pools.is_empty() {
        let inspector = PoolInspector::new(&config.upstream, None).await;
        for pool in pools {
            progress.tell(&format!("looking at {pool}"));
            found.extend(inspect(&inspector, &pool, seen).await);
        }
    }
    found.extend(roles(config, args, seen, &mut progress).await);
    Ok(found)
}

/// The trust policies that no file has shown: of the roles that profiles name, and that identity pools have.
async fn roles(config: &Config, args: &DoctorArgs, seen: &mut Seen, progress: &mut Progress) -> Vec<Finding> {
    let named: BTreeSet<_> = needs::all(&config.broker.profiles).into_keys().chain(of_pools(seen)).collect();
    let unseen = named.iter().filter(|role| !seen.trust.contains_key(*role)).filter_map(|role| RoleArn::parse(role));
    let unseen: Vec<_> = unseen.collect();
    let asks_who = args.broker_arn.as_deref() == Some(SELF);
    if unseen.is_empty() && !asks_who {
        return Vec::new();
    }
    progress.tell("looking for AWS credentials");
    let inspector = RoleInspector::new(&config.upstream, None).await;
    let mut found = Vec::new();
    if asks_who {
        let (broker, finding) = myself(&inspector, config).await;
        seen.broker = broker;
        found.push(finding);
    }
    for role in unseen {
        progress.tell(&format!("looking at {role}"));
        found.extend(trust(&inspector, &role, seen).await);
    }
    found
}

/// The roles that identity pools give to users who have signed in.
fn of_pools(seen: &Seen) -> Vec<String> {
    let roles = seen.pools.values().filter_map(|known| known.roles.as_ref());
    let defaults = roles.filter_map(|roles| roles["Roles"]["authenticated"].as_str());
    defaults.map(ToOwned::to_owned).collect()
}

async fn myself(inspector: &RoleInspector, config: &Config) -> (Option<String>, Finding) {
    match inspector.caller(&config.upstream).await {
        Ok(arn) => (Some(arn.clone()), Finding::ok("broker", arn, "this runs as it, which is taken for the broker")),
        Err(error) => {
            let fix = "run it with the broker's own AWS credentials, or name its ARN";
            (None, Finding::skipped("broker", SELF, format!("AWS does not say who this is: {error}"), fix))
        }
    }
}

async fn trust(inspector: &RoleInspector, role: &RoleArn, seen: &mut Seen) -> Option<Finding> {
    let fault = match inspector.role(role).await {
        Ok(told) => match Document::read(&told) {
            Ok(document) => {
                seen.trust.insert(role.to_string(), document);
                return None;
            }
            Err(wanted) => RoleFault::Unknown(wanted.to_owned()),
        },
        Err(fault) => fault,
    };
    seen.told.insert(role.to_string());
    Some(match fault {
        RoleFault::Missing => {
            let fix = "create it, or mend the profile and the groups that name it";
            Finding::error("trust", role.as_str(), "there is no such role", fix)
        }
        RoleFault::Unknown(error) => {
            let fix = "run it with AWS credentials that have what `cupbearer policy` prints for the doctor, or give the output of `aws iam get-role --role-name NAME` as --trust-policy FILE";
            Finding::skipped("trust", role.as_str(), format!("AWS does not say: {error}"), fix)
        }
    })
}

/// One user pool's key set, and how far its server's clock is from ours.
async fn keys(fetcher: &HttpsFetcher, pool: &UserPool) -> Vec<Finding> {
    let url = &pool.jwks_url;
    let (document, date) = match fetcher.fetch_dated(url).await {
        Ok(fetched) => fetched,
        Err(error) => {
            let fix = "let the broker reach this address, or mend user_pools.id (its region) and jwks_url";
            return vec![Finding::error("jwks", url.as_str(), format!("cannot be fetched: {error}"), fix)];
        }
    };
    let keys = serde_json::from_slice::<Value>(&document).ok().and_then(|set| set["keys"].as_array().map(Vec::len));
    let set = match keys {
        Some(count @ 1..) => Finding::ok("jwks", url.as_str(), format!("it has {count} keys")),
        _ => Finding::error("jwks", url.as_str(), "it is no key set", "mend user_pools.jwks_url"),
    };
    std::iter::once(set).chain(date.map(|date| skew(url.as_str(), date))).collect()
}

fn skew(about: &str, theirs: SystemTime) -> Finding {
    let ours = Clock::system().now().wall;
    let (way, skew) = match ours.duration_since(theirs) {
        Ok(ahead) => ("ahead of", ahead),
        Err(error) => ("behind", error.duration()),
    };
    let text = format!("this machine's clock is {} s {way} the server's", skew.as_secs());
    match skew > SKEW {
        true => {
            Finding::error("clock", about, text, "synchronise the clock (NTP): tokens and signatures are judged by it")
        }
        false => Finding::ok("clock", about, text),
    }
}

async fn inspect(inspector: &PoolInspector, pool: &str, seen: &mut Seen) -> Option<Finding> {
    let known = seen.pools.entry(pool.to_owned()).or_default();
    let describe = async {
        if known.description.is_none() {
            known.description = Some(inspector.describe(pool).await?);
        }
        if known.roles.is_none() {
            known.roles = Some(inspector.roles(pool).await?);
        }
        Ok::<_, String>(())
    };
    let done = tokio::time::timeout(PATIENCE, describe).await;
    let error = done.unwrap_or_else(|_elapsed| Err(format!("no answer within {} s", PATIENCE.as_secs()))).err()?;
    if error.contains("ResourceNotFoundException") {
        let fix = "mend identity_pool_id: the part before the colon is the region that is asked";
        return Some(Finding::error("pool", pool, format!("there is no such identity pool: {error}"), fix));
    }
    let fix = "run it with AWS credentials that have what `cupbearer policy` prints for the doctor, or give files as --identity-pool";
    Some(Finding::skipped("pool", pool, format!("AWS does not say: {error}"), fix))
}
