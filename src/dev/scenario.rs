//! The model scenario: one account with its user pool, app clients, groups and users. Knows no key and no protocol.

use super::iam::{self, Role};

/// The AWS account that everything belongs to.
pub const ACCOUNT_ID: &str = "111122223333";
/// The Region that everything is in.
pub const REGION: &str = "us-east-1";
/// The user pool, in the form that AWS gives its ids.
pub const USER_POOL_ID: &str = "us-east-1_CupBearer";
/// The user pool's first app client; it has no secret, and its refresh tokens last.
pub const CLIENT_ID: &str = "7c1kq0v5mdev8u2p4hs9wz3ntb";
/// The second one; it has a secret, and each use of a refresh token rotates it.
pub const ROTATING_CLIENT_ID: &str = "3h8rt2qk6dev9n4v1m7xy5wpbs";
/// The secret of [`ROTATING_CLIENT_ID`]. Published, hence no secret: it opens this emulator alone.
pub const ROTATING_CLIENT_SECRET: &str = "1example5cupbearer9rotating2client7secret4of0dev8only";
/// `iss` of the user pool's tokens: the real one, although nothing here is at that address.
pub const ISSUER: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_CupBearer";
/// The user pool's name as a provider of the identity pools, hence the key in `Logins`: the issuer without its scheme.
pub const PROVIDER: &str = "cognito-idp.us-east-1.amazonaws.com/us-east-1_CupBearer";

/// The users: alice is in `admin` and `editor`, bob in `editor`, carol in no group.
pub const USER_NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// Every user's password for `InitiateAuth`. Published, hence no secret: it opens this emulator alone.
pub const PASSWORD: &str = "Cup-bearer-1";

/// An app client of the user pool.
#[derive(Debug)]
pub(crate) struct AppClient {
    pub(crate) id: &'static str,
    pub(crate) secret: Option<&'static str>,
    /// Whether a refresh token is used up by its use.
    pub(crate) rotates: bool,
}

/// A user pool group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) role: Option<&'static Role>,
    /// The lowest wins; none is worse than any number.
    pub(crate) precedence: Option<u32>,
}

/// A user pool user.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) sub: &'static str,
    pub(crate) email: &'static str,
    pub(crate) groups: &'static [&'static Group],
}

impl AppClient {
    /// The app client of this id.
    pub(crate) fn by_id(id: &str) -> Option<&'static Self> {
        CLIENTS.iter().find(|client| client.id == id)
    }

    /// All of them.
    pub(crate) fn all() -> &'static [Self] {
        &CLIENTS
    }
}

impl User {
    /// The user of this name.
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        USERS.iter().find(|user| user.name == name)
    }
}

/// The app client that tokens are made for unless another is named.
pub(crate) static CLIENT: &AppClient = &CLIENTS[0];

static CLIENTS: [AppClient; 2] = [
    AppClient { id: CLIENT_ID, secret: None, rotates: false },
    AppClient { id: ROTATING_CLIENT_ID, secret: Some(ROTATING_CLIENT_SECRET), rotates: true },
];

static ADMIN: Group = Group { name: "admin", role: Some(&iam::ADMIN_ROLE), precedence: Some(1) };
static EDITOR: Group = Group { name: "editor", role: Some(&iam::EDITOR_ROLE), precedence: Some(2) };

static USERS: [User; 3] = [
    User {
        name: USER_NAMES[0],
        sub: "0a1c2d3e-4f50-4612-9734-a1b2c3d4e5f6",
        email: "alice@example.com",
        groups: &[&ADMIN, &EDITOR],
    },
    User {
        name: USER_NAMES[1],
        sub: "1b2d3e4f-5061-4723-8845-b2c3d4e5f607",
        email: "bob@example.com",
        groups: &[&EDITOR],
    },
    User { name: USER_NAMES[2], sub: "2c3e4f50-6172-4834-9956-c3d4e5f60718", email: "carol@example.com", groups: &[] },
];
