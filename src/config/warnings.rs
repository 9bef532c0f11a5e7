//! What is allowed in a configuration, and worth a second look. Looks at the modes of files, not into them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::broker::Profile;
use crate::config::{Config, OTHERS};
use crate::roles;
use crate::upstream::Flow;

/// Twice the time at which many SDKs begin to ask for new credentials.
const SHORT: Duration = Duration::from_secs(1800);

/// The most that AWS gives to one role that assumes another.
const CHAINED: Duration = Duration::from_secs(3600);

impl Config {
    /// What one should look at again, each on one line: the doors first, then files with secrets, then by profile. Holds
    /// configured values, and no secret.
    pub fn warnings(&self) -> Vec<String> {
        let mut profiles: Vec<_> = self.broker.profiles.iter().collect();
        profiles.sort_by_key(|(name, _)| *name);
        let each = profiles.into_iter().flat_map(|(name, profile)| {
            warnings(profile).into_iter().map(move |warning| format!("profiles.{name}: {warning}"))
        });
        self.plain_doors().chain(self.open_secrets()).chain(each).collect()
    }

    /// The files with secrets that others can read or write. No fault: a volume of a Kubernetes Secret is open to all of its
    /// container unless its `defaultMode` says otherwise.
    fn open_secrets(&self) -> Vec<String> {
        let admin = self.typed.token_file.iter().map(|path| ("admin.token_file".to_owned(), Path::new(path)));
        let clients = self.typed.client_secret_files.iter();
        let clients = clients.map(|(pool, path)| (format!("user_pools.{pool}.client_secret_file"), Path::new(path)));
        let own = self.typed.authorization_files.iter();
        let key = |name: &str, key: &str| format!("configured_sessions.{name}.{key}");
        let own = own.map(|(name, path)| (key(name, "authorization_token_file"), Path::new(path)));
        let sessions = self.broker.configured_sessions.iter();
        let renewed = sessions.map(|session| (key(&session.name, "refresh_token_file"), session.refresh_token.path()));
        let all = admin.chain(clients).chain(own).chain(renewed);
        // One that is not there any more is told by whoever reads it again.
        let is_open = |path: &Path| fs::metadata(path).is_ok_and(|found| found.mode() & OTHERS != 0);
        let open = all.filter(|(_, path)| is_open(path));
        let mut found: Vec<_> = open
            .map(|(key, path)| {
                format!("{key}: others can read or write {path:?}, which holds a secret: chmod 0600 (or 0640)")
            })
            .collect();
        found.sort();
        found
    }

    /// The doors without TLS on an address that is not of loopback.
    fn plain_doors(&self) -> impl Iterator<Item = String> {
        let plain = self.server.tls.is_none();
        let doors = [("http", self.server.http.ip()), ("grpc", self.server.grpc.ip())];
        doors.into_iter().filter(move |(_, ip)| plain && !ip.is_loopback()).map(|(door, ip)| {
            format!(
                "server.{door}: whatever on this node or link reaches {ip} reads tokens and credentials: it is plain"
            )
        })
    }
}

fn warnings(profile: &Profile) -> Vec<String> {
    let mut found = roles::warnings(&profile.rules);
    let mut warn = |holds: bool, warning: &str| {
        if holds {
            found.push(warning.to_owned());
        }
    };
    let (flow, duration) = (profile.target.flow, profile.target.duration);
    warn(
        duration < SHORT,
        "duration_seconds: SDKs come back at 15 minutes left, so that each call asks; take 1800 or more",
    );
    warn(
        flow == Flow::AssumeRole && duration > CHAINED,
        "duration_seconds: AWS refuses more than 3600 to a broker whose own identity is a role (role chaining)",
    );
    warn(
        flow != Flow::Enhanced && profile.session.name.is_constant(),
        "session_name: it names no claim, so that CloudTrail cannot tell the users apart",
    );
    warn(
        profile.session.source_identity.as_ref().is_some_and(|name| name.is_constant()),
        "source_identity: it names no claim, so that CloudTrail cannot tell the users apart",
    );
    found
}
