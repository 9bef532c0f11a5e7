//! What files say: read here, judged by `crate::doctor`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::cli::Failure;
use crate::cli::doctor::DoctorArgs;
use crate::clock::Clock;
use crate::config::Config;
use crate::doctor::{self, Document, Finding, PoolDocuments, needs};
use crate::model::Ask;
use crate::secret::CupToken;
use crate::upstream::Flow;
use crate::{auth, broker};

/// What is known of AWS.
#[derive(Default)]
pub(super) struct Seen {
    /// By identity pool.
    pub(super) pools: HashMap<String, PoolDocuments>,
    /// Trust policies by role.
    pub(super) trust: HashMap<String, Document>,
    /// The roles of which something else was told already.
    pub(super) told: HashSet<String>,
    /// The broker's own user or role.
    pub(super) broker: Option<String>,
}

/// What stands for the broker's own ARN where STS is to tell it.
pub(super) const SELF: &str = "self";

/// Reads what the arguments name.
pub(super) fn read(args: &DoctorArgs) -> Result<Seen, Failure> {
    let own = args.broker_arn.clone().filter(|arn| arn != SELF);
    if args.offline && own != args.broker_arn {
        return Err(Failure::Usage("--broker-arn self asks STS, which --offline rules out: name the ARN".to_owned()));
    }
    let mut seen = Seen { broker: own, ..Seen::default() };
    for path in &args.identity_pool {
        let document = json(path)?;
        let pool = document["IdentityPoolId"].as_str().map(ToOwned::to_owned);
        let pool = pool.ok_or_else(|| fault(path, "there is no IdentityPoolId in it"))?;
        seen.pools.entry(pool).or_default().add(document).map_err(|wanted| fault(path, wanted))?;
    }
    for text in &args.trust_policy {
        // A path may hold `=` too; a role's ARN begins with `arn:`.
        let (role, path) =
            text.split_once('=').filter(|(role, _)| role.starts_with("arn:")).unwrap_or(("", text.as_str()));
        let path = Path::new(path);
        let document = json(path)?;
        let named = document["Role"]["Arn"].as_str().unwrap_or(role).to_owned();
        if named.is_empty() {
            return Err(fault(path, "it does not say whose it is: write ROLE_ARN=FILE"));
        }
        seen.trust.insert(named, Document::read(&document).map_err(|wanted| fault(path, wanted))?);
    }
    Ok(seen)
}

/// Judges a configuration by what is known.
pub(super) fn judge(config: &Config, args: &DoctorArgs, seen: &Seen) -> Result<Vec<Finding>, Failure> {
    let mut found: Vec<_> = config
        .warnings()
        .into_iter()
        .map(|warning| {
            let (about, text) = warning.split_once(": ").unwrap_or(("configuration", warning.as_str()));
            Finding::warning("configuration", about, text, "see docs/configuration.md on this key")
        })
        .collect();
    found.extend(doctor::quotas(config, args.brokers));
    let nothing = PoolDocuments::default();
    let mut profiles: Vec<_> = config.broker.profiles.iter().collect();
    profiles.sort_by_key(|(name, _)| *name);
    for (name, profile) in profiles.iter().filter(|(_, profile)| profile.target.flow != Flow::AssumeRole) {
        let documents = seen.pools.get(&*profile.target.identity_pool_id).unwrap_or(&nothing);
        found.extend(doctor::pool(name, profile, config, documents));
    }
    let needs = needs::all(&config.broker.profiles);
    for (role, needs) in needs.iter().filter(|(role, _)| *role != needs::ANY_OTHER) {
        match seen.trust.get(role) {
            Some(document) => found.extend(doctor::trust(role, document, needs, seen.broker.as_deref())),
            None if seen.told.contains(role) => {}
            None => {
                let fix = "give the output of `aws iam get-role --role-name NAME` as --trust-policy FILE";
                found.push(Finding::skipped("trust", role, "nobody has shown its trust policy", fix));
            }
        }
    }
    // A role that the configuration does not name, and that is given all the same.
    if let Some(any) = needs.get(needs::ANY_OTHER) {
        for (role, document) in seen.trust.iter().filter(|(role, _)| !needs.contains_key(*role)) {
            found.extend(doctor::trust(role, document, any, seen.broker.as_deref()));
        }
    }
    if let Some(path) = &args.token_file {
        found.extend(token(config, path)?);
    }
    Ok(found)
}

/// Which role each profile would give to the bearer of a token.
fn token(config: &Config, path: &Path) -> Result<Vec<Finding>, Failure> {
    let text = zeroize::Zeroizing::new(text(path)?);
    let mut found = Vec::new();
    if text.ends_with(['\n', '\r']) {
        let fix = "write it with printf '%s', and by rename";
        found.push(Finding::error(
            "token-file",
            path.display().to_string(),
            "it ends with a line break, which most SDKs refuse",
            fix,
        ));
    }
    let now = Clock::system().now();
    let caller = match auth::read_unverified(text.trim(), &config.auth, now) {
        Ok(caller) => caller,
        Err(error) => {
            let fix = "present a current ID token of a configured user pool and app client";
            found.push(Finding::error("token", path.display().to_string(), error.cause(), fix));
            return Ok(found);
        }
    };
    let claims = auth::claims_of(&CupToken::new(text.trim()));
    let mut names: Vec<_> = config.broker.profiles.keys().collect();
    names.sort();
    for name in names {
        let ask = Ask { profile: name.clone(), ..Ask::default() };
        let about = format!("profile {name}");
        found.push(match broker::explain(&config.broker.profiles, &caller, &claims, &ask) {
            Ok(told) if told.allowed => {
                let role = told.role.map_or("a role of the pool's choice".to_owned(), |role| role.to_string());
                Finding::ok("token", about, format!("its bearer gets {role}: {}", told.reason))
            }
            Ok(told) => Finding::warning(
                "token",
                about,
                format!("its bearer is refused: {}", told.reason),
                "see `cupbearer explain`",
            ),
            Err(error) => Finding::warning("token", about, error.cause(), "see `cupbearer explain`"),
        });
    }
    Ok(found)
}

/// What needs no configuration.
pub(super) fn surroundings(args: &DoctorArgs) -> Result<Vec<Finding>, Failure> {
    let mut found = Vec::new();
    for path in &args.permissions {
        let document = Document::read(&json(path)?).map_err(|wanted| fault(path, wanted))?;
        found.extend(doctor::permissions(&path.display().to_string(), &document));
    }
    for path in &args.pod_spec {
        found.extend(doctor::pods(&yaml(path)?).map_err(|wanted| fault(path, wanted))?);
    }
    for path in &args.task_definition {
        found.extend(doctor::task(&json(path)?).map_err(|wanted| fault(path, wanted))?);
    }
    for path in &args.environment {
        found.extend(doctor::environment(&path.display().to_string(), &text(path)?));
    }
    Ok(found)
}

fn fault(path: &Path, what: &str) -> Failure {
    Failure::Usage(format!("{}: {what}", path.display()))
}

fn text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| fault(path, &format!("cannot be read: {error}")))
}

fn json(path: &Path) -> Result<Value, Failure> {
    serde_json::from_str(&text(path)?).map_err(|error| fault(path, &format!("no JSON: {error}")))
}

fn yaml(path: &Path) -> Result<Vec<Value>, Failure> {
    serde_saphyr::from_multiple(&text(path)?).map_err(|error| fault(path, &format!("no YAML: {error}")))
}
