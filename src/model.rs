//! The nouns of the house: who asks, for what, and what they get. Knows no decision and no protocol.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clock::Expiry;
use crate::digest::Digest;

pub use crate::credentials::{Credentials, Issued};

/// The claims of a token, as its JSON object.
pub type Claims = Map<String, Value>;

/// The bearer of a *verified* CUP token. Its claims are not here: once a hit is known they are hardly ever looked at
/// again, and the token says them to whoever needs them.
pub struct Caller {
    /// The configured id of the user pool whose key verified the token.
    pub user_pool: Arc<str>,
    /// `iss`: the issuer that the token names, one of the pool's configured ones.
    pub issuer: Arc<str>,
    /// `sub`: the user, unique within the issuer.
    pub subject: Arc<str>,
    /// `aud`, or `client_id` in an access token: the app client that the token was issued to.
    pub client_id: Arc<str>,
    /// What the token is for.
    pub token_use: TokenUse,
    /// Digest of every claim except those that change with each token of the same user.
    pub fingerprint: Digest,
    /// `exp`.
    pub expires: Expiry,
}

/// `token_use`: which of a user pool's tokens it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// Says who the user is; the one that identity pools take.
    Id,
    /// Says what a client may do in the user's name.
    Access,
}

/// Who brings tokens, as far as a door can tell peers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presenter {
    /// One connection of loopback, by the peer's address and port: the address says nothing there, since all have it.
    Connection(SocketAddr),
    /// Another machine. Of IPv6 the first 64 bits, since the others are anybody's to choose.
    Host(IpAddr),
    /// The user whom a local process runs as.
    User(u32),
}

/// An IAM role's Amazon Resource Name. Compared byte by byte, as IAM compares ARNs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleArn(Arc<str>);

/// A Cognito identity: `REGION:GUID`, stable for a user of one identity pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdentityId(pub Arc<str>);

/// What a caller wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The profile's name.
    pub profile: String,
    /// A role alias or ARN; without one, the role by the profile's rules.
    pub role: Option<String>,
    /// A session policy of the caller's own, as JSON.
    pub session_policy: Option<String>,
    /// Managed session policies of the caller's own.
    pub policy_arns: Vec<String>,
}

/// An [`Ask`] without policies of the caller's own, as a request spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The profile's name.
    pub profile: &'a str,
    /// A role alias or ARN.
    pub role: Option<&'a str>,
}

impl Question<'_> {
    /// The same, to keep.
    pub fn to_ask(self) -> Ask {
        Ask { profile: self.profile.to_owned(), role: self.role.map(ToOwned::to_owned), ..Ask::default() }
    }
}

impl Ask {
    /// What is asked, if it says nothing of policies.
    pub fn question(&self) -> Option<Question<'_>> {
        let plain = self.session_policy.is_none() && self.policy_arns.is_empty();
        plain.then(|| Question { profile: &self.profile, role: self.role.as_deref() })
    }
}

impl RoleArn {
    /// Takes `text` as it is; see [`RoleArn::parse`] for a check of its form.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// `text`, if it has the form of a role's ARN: `arn:<partition>:iam::<12 digits>:role/<path and name>`, 20 to
    /// 2,048 characters (the limits of `CustomRoleArn` in GetCredentialsForIdentity).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let scheme = parts.next()? == "arn";
        let partition = parts.next()?;
        let service = parts.next()? == "iam" && parts.next()?.is_empty();
        let account = parts.next()?;
        let name = parts.next()?.strip_prefix("role/")?;
        let sound = scheme
            && service
            && partition.starts_with("aws")
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic())
            && (20..=2048).contains(&text.len());
        sound.then(|| Self(text.into()))
    }

    /// The ARN's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account number within the ARN, if there is one.
    pub fn account_id(&self) -> Option<&str> {
        self.0.split(':').nth(4).filter(|account| !account.is_empty())
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Claims are personal data: `Debug` leaves them out.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("user_pool", &self.user_pool).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_arn_has_one_form() {
        let good = "arn:aws:iam::111122223333:role/team/rbac-users-admin-role";
        assert_eq!(RoleArn::parse(good).as_ref().map(RoleArn::as_str), Some(good));
        assert_eq!(RoleArn::new(good).account_id(), Some("111122223333"));
        for partition in ["aws-us-gov", "aws-cn", "aws-eusc"] {
            assert!(RoleArn::parse(&format!("arn:{partition}:iam::111122223333:role/x")).is_some());
        }
        for bad in [
            "",
            "admin",
            "arn:aws:iam::111122223333:user/alice",
            "arn:aws:iam::1111:role/admin-role",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/admin ",
            "arn:aws:s3:::111122223333:role/admin",
            "arn:aws:iam:us-east-1:111122223333:role/admin",
        ] {
            assert!(RoleArn::parse(bad).is_none(), "{bad}");
        }
    }
}
