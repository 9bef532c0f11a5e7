//! IAM: the account's roles and the broker's user, and whom each role trusts. Knows no key and no protocol.

use super::pools::{BASIC_IDENTITY_POOL_ID, CLASSIC_OFF_IDENTITY_POOL_ID, GUEST_IDENTITY_POOL_ID, IDENTITY_POOL_ID};

/// The role of the group `admin`.
pub const ADMIN_ROLE_ARN: &str = "arn:aws:iam::111122223333:role/rbac-users-admin-role";
/// The role of the group `editor`.
pub const EDITOR_ROLE_ARN: &str = "arn:aws:iam::111122223333:role/rbac-users-editor-role";
/// The API's own role: the broker runs under it, and takes the users' roles on. Its credentials are had from the
/// emulator alone, as a container's are from its host.
pub const API_ROLE_ARN: &str = "arn:aws:iam::111122223333:role/rbac-api-role";
/// The role of guests.
pub const GUEST_ROLE_ARN: &str = "arn:aws:iam::111122223333:role/rbac-guest-role";
/// A role whose trust policy allows neither sts:TagSession nor sts:SetSourceIdentity.
pub const UNTAGGED_ROLE_ARN: &str = "arn:aws:iam::111122223333:role/rbac-untagged-role";
/// A role that is given only to those who name [`EXTERNAL_ID`].
pub const EXTERNAL_ROLE_ARN: &str = "arn:aws:iam::111122223333:role/rbac-external-role";
/// `sts:ExternalId` of the trust policy of [`EXTERNAL_ROLE_ARN`].
pub const EXTERNAL_ID: &str = "cupbearer-dev";

/// An IAM user for those who call AssumeRole as themselves, as a broker with the flow `assume-role` does.
pub const BROKER_ARN: &str = "arn:aws:iam::111122223333:user/cupbearer";
/// The access key of [`BROKER_ARN`]: the example of AWS's documentation, which secret scanners know.
pub const BROKER_ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
/// The secret of [`BROKER_ACCESS_KEY_ID`]. Published, hence no secret: it opens this emulator alone.
pub const BROKER_SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The unique id of [`BROKER_ARN`].
pub(crate) const BROKER_USER_ID: &str = "AIDACKCEVSQ6C2EXAMPLE";

/// What `amr` of an identity pool's token says of a user who has signed in.
pub(crate) const AUTHENTICATED: &str = "authenticated";
/// And of a guest.
pub(crate) const UNAUTHENTICATED: &str = "unauthenticated";

/// An IAM role.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) name: &'static str,
    pub(crate) arn: &'static str,
    /// The unique id, by which STS names an assumed role's user.
    pub(crate) id: &'static str,
    /// `MaxSessionDuration`.
    pub(crate) max_seconds: u64,
    pub(crate) trust: Trust,
}

/// A trust policy.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Whose tokens sts:AssumeRoleWithWebIdentity takes.
    tokens: &'static [Tokens],
    /// Who may call sts:AssumeRole: ARNs of users and of roles.
    principals: &'static [&'static str],
    /// What they must name.
    external_id: Option<&'static str>,
    /// Whether they may give session tags: sts:TagSession.
    pub(crate) tags: bool,
    /// Whether they may name a source identity: sts:SetSourceIdentity.
    pub(crate) source_identity: bool,
}

/// A statement for `cognito-identity.amazonaws.com`.
#[derive(Debug)]
struct Tokens {
    /// The condition on `aud`: identity pools.
    audiences: &'static [&'static str],
    /// The condition on `amr`.
    amr: &'static str,
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

impl Trust {
    /// Whether a token for `audience` with these methods of authentication is taken.
    pub(crate) fn takes_token(&self, audience: &str, amr: &[String]) -> bool {
        self.tokens.iter().any(|tokens| tokens.audiences.contains(&audience) && amr.iter().any(|one| one == tokens.amr))
    }

    /// Whether the user or role with this ARN may take the role on.
    pub(crate) fn takes_principal(&self, arn: &str, external_id: Option<&str>) -> bool {
        self.principals.contains(&arn) && (self.external_id.is_none() || self.external_id == external_id)
    }
}

const ROLES: [&Role; 6] = [&ADMIN_ROLE, &EDITOR_ROLE, &API_ROLE, &GUEST_ROLE, &UNTAGGED_ROLE, &EXTERNAL_ROLE];

const HOUR: u64 = 3600;
/// The most that a role can allow.
const LONGEST: u64 = 12 * HOUR;

pub(crate) static ADMIN_ROLE: Role = Role {
    name: "rbac-users-admin-role",
    arn: ADMIN_ROLE_ARN,
    id: "AROA5CUPBEARERADMIN01",
    max_seconds: LONGEST,
    trust: Trust {
        tokens: &[Tokens { audiences: &[IDENTITY_POOL_ID, BASIC_IDENTITY_POOL_ID], amr: AUTHENTICATED }],
        principals: &[BROKER_ARN, API_ROLE_ARN],
        external_id: None,
        tags: true,
        source_identity: true,
    },
};

pub(crate) static EDITOR_ROLE: Role = Role {
    name: "rbac-users-editor-role",
    arn: EDITOR_ROLE_ARN,
    id: "AROA5CUPBEARERWRITE02",
    max_seconds: LONGEST,
    trust: Trust {
        tokens: &[Tokens {
            audiences: &[
                IDENTITY_POOL_ID,
                BASIC_IDENTITY_POOL_ID,
                CLASSIC_OFF_IDENTITY_POOL_ID,
                GUEST_IDENTITY_POOL_ID,
            ],
            amr: AUTHENTICATED,
        }],
        // An admin may become an editor, but no editor an admin.
        principals: &[BROKER_ARN, API_ROLE_ARN, ADMIN_ROLE_ARN],
        external_id: None,
        tags: true,
        source_identity: true,
    },
};

pub(crate) static API_ROLE: Role = Role {
    name: "rbac-api-role",
    arn: API_ROLE_ARN,
    id: "AROA5CUPBEARERAPIRL03",
    max_seconds: LONGEST,
    // It trusts the service that runs the API, and so nobody who comes over the wire.
    trust: Trust { tokens: &[], principals: &[], external_id: None, tags: false, source_identity: false },
};

pub(crate) static GUEST_ROLE: Role = Role {
    name: "rbac-guest-role",
    arn: GUEST_ROLE_ARN,
    id: "AROA5CUPBEARERGUEST04",
    max_seconds: HOUR,
    trust: Trust {
        tokens: &[Tokens { audiences: &[BASIC_IDENTITY_POOL_ID, GUEST_IDENTITY_POOL_ID], amr: UNAUTHENTICATED }],
        principals: &[],
        external_id: None,
        tags: false,
        source_identity: false,
    },
};

static UNTAGGED_ROLE: Role = Role {
    name: "rbac-untagged-role",
    arn: UNTAGGED_ROLE_ARN,
    id: "AROA5CUPBEARERUNTAG05",
    max_seconds: HOUR,
    trust: Trust {
        tokens: &[Tokens { audiences: &[BASIC_IDENTITY_POOL_ID], amr: AUTHENTICATED }],
        principals: &[BROKER_ARN, API_ROLE_ARN, ADMIN_ROLE_ARN],
        external_id: None,
        tags: false,
        source_identity: false,
    },
};

static EXTERNAL_ROLE: Role = Role {
    name: "rbac-external-role",
    arn: EXTERNAL_ROLE_ARN,
    id: "AROA5CUPBEAREREXTRN06",
    max_seconds: HOUR,
    trust: Trust {
        tokens: &[],
        principals: &[BROKER_ARN, API_ROLE_ARN],
        external_id: Some(EXTERNAL_ID),
        tags: true,
        source_identity: true,
    },
};
