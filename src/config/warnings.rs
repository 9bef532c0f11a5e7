//! What is allowed in a configuration, and worth a second look.

use std::time::Duration;

use crate::broker::Profile;
use crate::config::Config;
use crate::roles;
use crate::upstream::Flow;

/// Twice the time at which many SDKs begin to ask for new credentials.
const SHORT: Duration = Duration::from_secs(1800);

/// The most that AWS gives to one role that assumes another.
const CHAINED: Duration = Duration::from_secs(3600);

impl Config {
    /// What one should look at again, each on one line, the doors first, then by profile. Holds configured values, and no
    /// secret.
    pub fn warnings(&self) -> Vec<String> {
        let mut profiles: Vec<_> = self.broker.profiles.iter().collect();
        profiles.sort_by_key(|(name, _)| *name);
        let each = profiles.into_iter().flat_map(|(name, profile)| {
            warnings(profile).into_iter().map(move |warning| format!("profiles.{name}: {warning}"))
        });
        self.plain_doors().chain(each).collect()
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
