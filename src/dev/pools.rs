//! The identity pools and their settings. Knows no identity, no token and no protocol.

use super::iam::{self, EDITOR_ROLE_ARN, Role};

/// The identity pool of the scenario: the role mapping `Token`, and no guests.
pub const IDENTITY_POOL_ID: &str = "us-east-1:2f0c1e0a-5b7d-4c3e-9a61-7d2b8c94e0f3";
/// An identity pool with the basic (classic) flow on, hence without role mapping: AWS has both on no pool. It gives
/// no role to those who have signed in, but takes guests.
pub const BASIC_IDENTITY_POOL_ID: &str = "us-east-1:5d81b6c4-0e2f-4a7b-8c93-1f6e3a7d2b50";
/// An identity pool with neither role mapping nor the basic flow: all its users have one role, and guests are refused.
pub const CLASSIC_OFF_IDENTITY_POOL_ID: &str = "us-east-1:83e4d7f1-6a05-4b9c-a2d8-5c0b9e1f7a64";
/// The same, but with guests.
pub const GUEST_IDENTITY_POOL_ID: &str = "us-east-1:b7f29a03-4c8d-4e16-9f5a-0d3c6e8b1a72";

/// The default role for authenticated users, of the identity pools that have one.
pub const AUTHENTICATED_ROLE_ARN: &str = EDITOR_ROLE_ARN;

/// What an identity pool does when a token settles no role (`AmbiguousRoleResolution` of SetIdentityPoolRoles).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmbiguousRoleResolution {
    /// It refuses.
    Deny,
    /// It takes [`AUTHENTICATED_ROLE_ARN`].
    AuthenticatedRole,
}

/// An identity pool. All of them take tokens of both app clients.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) id: &'static str,
    /// Whether roles are chosen by the role mapping `Token`.
    pub(crate) maps_roles: bool,
    /// `AllowClassicFlow`.
    pub(crate) classic: bool,
    /// The default role of those who have signed in.
    pub(crate) users: Option<&'static Role>,
    /// The default role of guests, where `AllowUnauthenticatedIdentities` is on.
    pub(crate) guests: Option<&'static Role>,
}

impl Pool {
    /// The pool of this id.
    pub(crate) fn by_id(id: &str) -> Option<&'static Self> {
        POOLS.iter().find(|pool| pool.id == id)
    }
}

/// All of them.
pub(crate) static POOLS: [Pool; 4] = [
    Pool { id: IDENTITY_POOL_ID, maps_roles: true, classic: false, users: Some(&iam::EDITOR_ROLE), guests: None },
    Pool { id: BASIC_IDENTITY_POOL_ID, maps_roles: false, classic: true, users: None, guests: Some(&iam::GUEST_ROLE) },
    Pool {
        id: CLASSIC_OFF_IDENTITY_POOL_ID,
        maps_roles: false,
        classic: false,
        users: Some(&iam::EDITOR_ROLE),
        guests: None,
    },
    Pool {
        id: GUEST_IDENTITY_POOL_ID,
        maps_roles: false,
        classic: false,
        users: Some(&iam::EDITOR_ROLE),
        guests: Some(&iam::GUEST_ROLE),
    },
];
