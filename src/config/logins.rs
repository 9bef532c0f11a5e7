//! What renews logins: the secrets of app clients, and `[[configured_sessions]]`. Knows no door.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::auth::UserPool;
use crate::broker::{ConfiguredSession, Profile};
use crate::config::faults::{Found, Place};
use crate::config::field::Field;
use crate::config::profiles::Profiles;
use crate::config::{ReadFile, forms, raw};
use crate::model::{Ask, RoleArn};
use crate::secret_file::{self, SecretFile};
use crate::upstream::AppClient;

/// The secrets of the confidential app clients, and by user pool the files that they are from.
#[derive(Default)]
pub(super) struct ClientSecrets {
    pub(super) by_client: HashMap<AppClient, SecretString>,
    pub(super) files: HashMap<Arc<str>, String>,
}

/// The sound configured sessions, and by name the files that their own tokens are from.
#[derive(Default)]
pub(super) struct Configured {
    pub(super) sessions: Vec<ConfiguredSession>,
    pub(super) authorization_files: HashMap<String, String>,
}

/// What configured sessions stand on.
pub(super) struct Ground<'a> {
    pub(super) user_pools: &'a [UserPool],
    pub(super) profiles: &'a Profiles,
    pub(super) read: ReadFile<'a>,
    /// The files that hold something else.
    pub(super) other_files: &'a [String],
}

/// The secrets in `file`, for a user pool with these clients.
pub(super) fn client_secrets(
    file: Field<String>,
    user_pool: &Arc<str>,
    client_ids: &[Arc<str>],
    read: ReadFile<'_>,
    found: &Found,
) -> ClientSecrets {
    let mut secrets = ClientSecrets::default();
    let judged = file.judged(found, |path| {
        let content = Zeroizing::new(read_file(&path, read)?);
        let each = forms::client_secrets(&content, client_ids)?;
        Ok::<_, String>((path, each))
    });
    let Some((path, each)) = judged.given() else { return secrets };
    let client = |id| AppClient { user_pool: Arc::clone(user_pool), id };
    secrets.by_client = each.into_iter().map(|(id, secret)| (client(id), secret)).collect();
    secrets.files.insert(Arc::clone(user_pool), path);
    secrets
}

/// The sound ones of `[[configured_sessions]]`.
pub(super) fn configured_sessions(
    typed: Field<Vec<raw::ConfiguredSession>>,
    ground: &Ground<'_>,
    found: &Found,
) -> Configured {
    let mut configured = Configured::default();
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut files: HashSet<String> = ground.other_files.iter().cloned().collect();
    for session in typed.given().unwrap_or_default() {
        let place = session.name.place.clone();
        let Some((session, file)) = one(session, ground, &mut files, found) else { continue };
        if let Some(line) = lines.insert(session.name.clone(), place.line) {
            found.tell(&place, format!("listed twice: the session of line {line} has this name already"));
            continue;
        }
        configured.authorization_files.insert(session.name.clone(), file);
        configured.sessions.push(session);
    }
    configured
}

fn one(
    typed: raw::ConfiguredSession,
    ground: &Ground<'_>,
    files: &mut HashSet<String>,
    found: &Found,
) -> Option<(ConfiguredSession, String)> {
    let name = typed.name.judged(found, forms::name);
    let name = name.required(found, "the last part of the session's URI, /v1/sessions/NAME");
    let profile = typed.profile.filled(|| "default".to_owned());
    let unknown = "unknown: no profile has this name";
    let known = |name: String| if ground.profiles.may_have(&name) { Ok(name) } else { Err(unknown) };
    let place = profile.place.clone();
    let profile = profile.judged(found, known).given();
    // One that is at fault has been told.
    let profile = profile.and_then(|name| ground.profiles.resolved.get_key_value(&name));
    let role = typed.role.judged(found, |role| judge_role(role, profile.map(|(_, profile)| profile)));
    let client =
        profile.and_then(|(_, profile)| client(typed.user_pool, typed.client_id, profile, ground, &place, found));
    let read = |path: String| read_file(&path, ground.read).map(|content| (path, Zeroizing::new(content)));
    let place = typed.refresh_token_file.place.clone();
    let refresh = typed.refresh_token_file.judged(found, |path| {
        let (path, content) = read(path)?;
        secret_file::judge(&content).map(|_| path).map_err(ToOwned::to_owned)
    });
    let refresh = refresh.required(found, "the file with the refresh token, which is replaced when it is rotated");
    let authorization = typed.authorization_token_file.judged(found, |path| {
        let (path, content) = read(path)?;
        Ok::<_, String>((path, forms::secret(&content)?))
    });
    let authorization =
        authorization.required(found, "the file with what the workload sends as Authorization, 16 characters or more");
    if let Some(path) = &refresh
        && !files.insert(path.clone())
    {
        found.tell(
            &place,
            "used twice: this file is replaced when its refresh token is rotated, so that it needs one of its own",
        );
    }
    if let Some((path, _)) = &authorization
        && refresh.as_ref() == Some(path)
    {
        found.tell(&place, "used twice: it is the authorization_token_file too");
    }
    let ((profile, _), (file, authorization)) = (profile?, authorization?);
    let ask = Ask { profile: profile.clone(), role: role.given(), ..Ask::default() };
    let refresh_token = SecretFile::new(refresh?);
    Some((ConfiguredSession { name: name?, authorization, ask, client: client?, refresh_token }, file))
}

fn judge_role(role: String, profile: Option<&Profile>) -> Result<String, &'static str> {
    let known = profile.is_none_or(|profile| profile.rules.aliases.contains_key(&role));
    let sound = known || RoleArn::parse(&role).is_some();
    sound.then_some(role).ok_or("unknown: no alias of the profile, and no role ARN")
}

/// The app client that the session signs in with: the only one there is, or the one that is named.
fn client(
    user_pool: Field<String>,
    client_id: Field<String>,
    profile: &Profile,
    ground: &Ground<'_>,
    place: &Place,
    found: &Found,
) -> Option<AppClient> {
    let admitted = ground.user_pools.iter().filter(|pool| profile.user_pools.contains(&pool.id));
    let admitted: HashMap<_, _> = admitted.map(|pool| (Arc::clone(&pool.id), pool)).collect();
    let user_pool = only(user_pool, admitted.keys().cloned(), place, "user_pool", found)?;
    let clients = admitted.get(&user_pool)?.client_ids.iter().cloned();
    let id = only(client_id, clients, place, "client_id", found)?;
    Some(AppClient { user_pool, id })
}

/// The only one of `options`, or the one that `typed` names.
fn only(
    typed: Field<String>,
    options: impl Iterator<Item = Arc<str>>,
    place: &Place,
    key: &str,
    found: &Found,
) -> Option<Arc<str>> {
    let options: Vec<_> = options.collect();
    if typed.is_absent() {
        match &options[..] {
            // Those that are at fault have been told.
            [] => return None,
            [only] => return Some(Arc::clone(only)),
            _ => {}
        }
        found.tell(place, format!("ambiguous: the profile admits several, so that {key} must say which one"));
        return None;
    }
    let unknown = "unknown: the profile admits none with this id";
    typed.judged(found, |id| options.into_iter().find(|option| **option == *id).ok_or(unknown)).given()
}

fn read_file(path: &str, read: ReadFile<'_>) -> Result<Vec<u8>, String> {
    read(Path::new(path)).map_err(|error| format!("the file cannot be read: {error}"))
}
