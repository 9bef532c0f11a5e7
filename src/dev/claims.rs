//! What the user pool says of a user in a token. Knows no key, and reads no clock: the time is told to it.

use serde_json::{Value, json};

use super::scenario::{AppClient, Group, ISSUER, User};
use super::wire;

/// How long an ID or access token is good for, in seconds: the default of an app client.
pub(crate) const TOKEN_SECONDS: u64 = 3600;

/// One sign-in: what all of its tokens have in common, those of its refresh tokens included.
#[derive(Clone, Debug)]
pub(crate) struct SignIn {
    user: &'static User,
    pub(crate) client: &'static AppClient,
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// `origin_jti`.
    pub(crate) origin: String,
    event: String,
}

impl SignIn {
    /// `user` signs in to `client` at `at`, in seconds since 1970.
    pub(crate) fn new(user: &'static User, client: &'static AppClient, at: u64) -> Self {
        Self { user, client, at, origin: wire::guid(rand::random()), event: wire::guid(rand::random()) }
    }

    /// The claims of an ID token that is issued at `now`.
    pub(crate) fn id_claims(&self, now: u64) -> Value {
        let mut claims = json!({
            "aud": self.client.id,
            "cognito:username": self.user.name,
            "email": self.user.email,
            "email_verified": true,
            "token_use": "id",
        });
        self.add_common(&mut claims, now);
        add_groups(&mut claims, self.user.groups);
        let roles: Vec<_> = roles(self.user.groups).collect();
        if !roles.is_empty() {
            claims["cognito:roles"] = roles.into();
        }
        if let Some(role) = preferred_role(self.user.groups) {
            claims["cognito:preferred_role"] = role.into();
        }
        claims
    }

    /// The claims of an access token: no `aud`, no roles.
    pub(crate) fn access_claims(&self, now: u64) -> Value {
        let mut claims = json!({
            "client_id": self.client.id,
            "scope": "aws.cognito.signin.user.admin",
            "token_use": "access",
            "username": self.user.name,
        });
        self.add_common(&mut claims, now);
        add_groups(&mut claims, self.user.groups);
        claims
    }

    fn add_common(&self, claims: &mut Value, now: u64) {
        claims["auth_time"] = self.at.into();
        claims["event_id"] = self.event.as_str().into();
        claims["exp"] = now.saturating_add(TOKEN_SECONDS).into();
        claims["iat"] = now.into();
        claims["iss"] = ISSUER.into();
        claims["jti"] = wire::guid(rand::random()).into();
        claims["origin_jti"] = self.origin.as_str().into();
        claims["sub"] = self.user.sub.into();
    }
}

fn add_groups(claims: &mut Value, groups: &[&Group]) {
    if !groups.is_empty() {
        claims["cognito:groups"] = groups.iter().map(|group| group.name).collect();
    }
}

fn roles(groups: &[&Group]) -> impl Iterator<Item = &'static str> {
    groups.iter().filter_map(|group| group.role).map(|role| role.arn)
}

/// The role of the group with the lowest precedence, unless groups with different roles share it
/// (Cognito developer guide, "Adding groups to a user pool").
fn preferred_role(groups: &[&Group]) -> Option<&'static str> {
    let with_role = || groups.iter().filter_map(|group| Some((rank(group), group.role?.arn)));
    let (lowest, role) = with_role().min()?;
    with_role().filter(|(rank, _)| *rank == lowest).all(|(_, arn)| arn == role).then_some(role)
}

/// No precedence is worse than any.
fn rank(group: &Group) -> (bool, u32) {
    (group.precedence.is_none(), group.precedence.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::iam::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN, Role};
    use super::*;

    fn group(role: Option<&str>, precedence: Option<u32>) -> Group {
        Group { name: "group", role: role.and_then(Role::by_arn), precedence }
    }

    #[test]
    fn the_preferred_role_is_the_one_of_the_lowest_precedence() {
        let (admin, editor) = (Some(ADMIN_ROLE_ARN), Some(EDITOR_ROLE_ARN));
        let table: [(&[Group], Option<&str>); 8] = [
            (&[], None),
            (&[group(None, Some(0))], None),
            (&[group(editor, None)], editor),
            (&[group(editor, Some(2)), group(admin, Some(1))], admin),
            (&[group(editor, None), group(admin, Some(u32::MAX))], admin),
            (&[group(editor, Some(1)), group(admin, Some(1))], None),
            (&[group(editor, Some(1)), group(editor, Some(1)), group(admin, Some(2))], editor),
            (&[group(editor, None), group(admin, None)], None),
        ];
        for (groups, expected) in table {
            let groups: Vec<_> = groups.iter().collect();
            assert_eq!(preferred_role(&groups), expected, "{groups:?}");
        }
    }
}
