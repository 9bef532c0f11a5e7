//! The places where AWS SDKs look for credentials before they ask a container's address. Knows no document.
//!
//! With any of them set, a program works, and as somebody else: the silent wrong identity. The order of the places is in
//! the AWS SDKs and Tools Reference Guide ("Standardized credential providers"); each SDK has its own, and all of them
//! put these before the container provider.

/// One place: a variable of the environment.
#[derive(Debug)]
pub struct Source {
    /// The variable.
    pub variable: &'static str,
    /// What an SDK does with it.
    pub effect: Effect,
}

/// What an SDK does with a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It holds keys, or goes with some.
    StaticKeys,
    /// It leads to another token, which STS trades for a role.
    WebIdentity,
    /// It names a profile of shared files.
    Profile,
    /// It leads to shared files.
    SharedFile,
    /// It goes before `AWS_CONTAINER_CREDENTIALS_FULL_URI`, which is then not read.
    RelativeUri,
    /// It goes before `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` in some SDKs, and cannot be renewed.
    FixedToken,
}

impl Effect {
    /// Why it matters.
    pub fn why(self) -> &'static str {
        match self {
            Self::StaticKeys => "SDKs take keys of the environment before anything else",
            Self::WebIdentity => "SDKs trade this web identity for its own role, and never ask the broker",
            Self::Profile => "SDKs take the credentials of the named profile",
            Self::SharedFile => "SDKs take the credentials of the default profile in this file",
            Self::RelativeUri => "SDKs ask the container's own role at this address, and do not read the full URI",
            Self::FixedToken => "some SDKs send this token in place of the file's, until it has expired for good",
        }
    }
}

macro_rules! sources {
    ($($variable:literal $effect:ident),* $(,)?) => {
        /// All of them.
        pub const SOURCES: &[Source] = &[$(Source { variable: $variable, effect: Effect::$effect }),*];
        /// Their names.
        pub const COMPETING: &[&str] = &[$($variable),*];
    };
}

sources! {
    "AWS_ACCESS_KEY_ID" StaticKeys,
    "AWS_SECRET_ACCESS_KEY" StaticKeys,
    "AWS_SESSION_TOKEN" StaticKeys,
    "AWS_SECURITY_TOKEN" StaticKeys,
    "AWS_CREDENTIAL_EXPIRATION" StaticKeys,
    // Older spellings: Go and Java, and Ruby.
    "AWS_ACCESS_KEY" StaticKeys,
    "AWS_SECRET_KEY" StaticKeys,
    "AMAZON_ACCESS_KEY_ID" StaticKeys,
    "AMAZON_SECRET_ACCESS_KEY" StaticKeys,
    "AMAZON_SESSION_TOKEN" StaticKeys,
    // What EKS puts into pods whose service account has a role (IRSA).
    "AWS_WEB_IDENTITY_TOKEN_FILE" WebIdentity,
    "AWS_ROLE_ARN" WebIdentity,
    "AWS_ROLE_SESSION_NAME" WebIdentity,
    "AWS_PROFILE" Profile,
    "AWS_DEFAULT_PROFILE" Profile,
    "AWS_SHARED_CREDENTIALS_FILE" SharedFile,
    "AWS_CONFIG_FILE" SharedFile,
    "AWS_CREDENTIAL_PROFILES_FILE" SharedFile,
    "AWS_CREDENTIAL_FILE" SharedFile,
    "BOTO_CONFIG" SharedFile,
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" RelativeUri,
    "AWS_CONTAINER_AUTHORIZATION_TOKEN" FixedToken,
}
