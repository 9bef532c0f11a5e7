//! The model scenario: one account with its pools, groups, users and roles. Knows no key, no token and no protocol.

/// The AWS account that everything belongs to.
pub const ACCOUNT_ID: &str = "111122223333";
/// The Region that everything is in.
pub const REGION: &str = "us-east-1";
/// The user pool, in the form that AWS gives its ids.
pub const USER_POOL_ID: &str = "us-east-1_CupBearer";
/// The user pool's one app client; it has no secret.
pub const CLIENT_ID: &str = "7c1kq0v5mdev8u2p4hs9wz3ntb";
/// `iss` of the user pool's tokens: the real one, although nothing here is at that address.
pub const ISSUER: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_CupBearer";
/// The user pool's name as a provider of the identity pool, hence the key in `Logins`: the issuer without its scheme.
pub const PROVIDER: &str = "cognito-idp.us-east-1.amazonaws.com/us-east-1_CupBearer";
/// The identity pool; it takes tokens of [`CLIENT_ID`] alone, and no guests.
pub const IDENTITY_POOL_ID: &str = "us-east-1:2f0c1e0a-5b7d-4c3e-9a61-7d2b8c94e0f3";

/// The role of the group `admin`.
pub const ADMIN_ROLE_ARN: &str = "arn:aws:iam::111122223333:role/rbac-users-admin-role";
/// The role of the group `editor`.
pub const EDITOR_ROLE_ARN: &str = "arn:aws:iam::111122223333:role/rbac-users-editor-role";
/// The identity pool's default role for authenticated users.
pub const AUTHENTICATED_ROLE_ARN: &str = EDITOR_ROLE_ARN;

/// The users: alice is in `admin` and `editor`, bob in `editor`, carol in no group.
pub const USER_NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// Every user's password for `InitiateAuth`. Published, hence no secret: it opens this emulator alone.
pub const PASSWORD: &str = "Cup-bearer-1";

/// An IAM user for those who call AssumeRole as themselves, as a broker with the flow `assume-role` does.
pub const BROKER_ARN: &str = "arn:aws:iam::111122223333:user/cupbearer";
/// The access key of [`BROKER_ARN`]: the example of AWS's documentation, which secret scanners know.
pub const BROKER_ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
/// The secret of [`BROKER_ACCESS_KEY_ID`]. Published, hence no secret: it opens this emulator alone.
pub const BROKER_SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The unique id of [`BROKER_ARN`].
pub(crate) const BROKER_USER_ID: &str = "AIDACKCEVSQ6C2EXAMPLE";

/// What the identity pool does when a token settles no role (`AmbiguousRoleResolution` of SetIdentityPoolRoles).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmbiguousRoleResolution {
    /// It refuses.
    Deny,
    /// It takes [`AUTHENTICATED_ROLE_ARN`].
    AuthenticatedRole,
}

/// An IAM role. It trusts the identity pool, the broker's user, and its betters.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) name: &'static str,
    pub(crate) arn: &'static str,
    /// The unique id, by which STS names an assumed role's user.
    pub(crate) id: &'static str,
    /// The lower, the more the role may.
    pub(crate) rank: u8,
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

impl Role {
    /// The role of the account that has this ARN.
    pub(crate) fn by_arn(arn: &str) -> Option<&'static Self> {
        ROLES.into_iter().find(|role| role.arn == arn)
    }

    /// The role of the account that has this name.
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        ROLES.into_iter().find(|role| role.name == name)
    }
}

impl User {
    /// The user of this name.
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        USERS.iter().find(|user| user.name == name)
    }
}

const ROLES: [&Role; 2] = [&ADMIN_ROLE, &EDITOR_ROLE];

static ADMIN_ROLE: Role =
    Role { name: "rbac-users-admin-role", arn: ADMIN_ROLE_ARN, id: "AROA5CUPBEARERADMIN01", rank: 0 };
static EDITOR_ROLE: Role =
    Role { name: "rbac-users-editor-role", arn: EDITOR_ROLE_ARN, id: "AROA5CUPBEARERWRITE02", rank: 1 };

static ADMIN: Group = Group { name: "admin", role: Some(&ADMIN_ROLE), precedence: Some(1) };
static EDITOR: Group = Group { name: "editor", role: Some(&EDITOR_ROLE), precedence: Some(2) };

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
