//! The tokens of simulated users: really signed, and only once. All runs share them, since a signature costs more than
//! all else that a run does.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cupbearer::dev::{ADMIN_ROLE_ARN, AmbiguousRoleResolution, EDITOR_ROLE_ARN, Emulator, USER_POOL_ID};
use cupbearer::secret::CupToken;
use http::Request;
use serde_json::{Value, json};

use super::truth::START;

/// What a user may be: it stands in the token's role claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rank {
    /// Either role; the admin's, if none is asked for.
    Admin,
    /// The editor's role alone.
    Editor,
}

/// All that makes two tokens two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    pub user: usize,
    pub rank: Rank,
    /// In true seconds since 1970, as is `expires`.
    pub issued: u64,
    pub expires: u64,
    /// Whose key: the user pool changes it from 0 to 1.
    pub signer: usize,
}

/// A user pool ID token, and what is true of it.
pub struct Token {
    pub terms: Terms,
    pub text: CupToken,
}

/// Two key pairs of one user pool: they take a while to make, so that there is one set for all runs.
static SIGNERS: LazyLock<[Emulator; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Emulator::new(AmbiguousRoleResolution::AuthenticatedRole).unwrap()));

static SIGNED: LazyLock<RwLock<HashMap<Terms, Arc<Token>>>> = LazyLock::new(RwLock::default);

/// By the end of the signature, which is as good as the whole.
static BY_TEXT: LazyLock<RwLock<HashMap<Box<str>, Terms>>> = LazyLock::new(RwLock::default);

impl Rank {
    /// The role of one who asks for none.
    pub fn preferred(self) -> &'static str {
        match self {
            Self::Admin => ADMIN_ROLE_ARN,
            Self::Editor => EDITOR_ROLE_ARN,
        }
    }

    pub fn may_have(self, role: &str) -> bool {
        role == EDITOR_ROLE_ARN || (self == Self::Admin && role == ADMIN_ROLE_ARN)
    }
}

impl Terms {
    /// `exp` as a date.
    pub fn expiry(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.expires)
    }
}

/// `sub` of the user with this number.
pub fn subject(user: usize) -> String {
    format!("user-{user}")
}

/// The token on these terms.
pub fn token(terms: Terms) -> Arc<Token> {
    if let Some(signed) = SIGNED.read().unwrap_or_else(PoisonError::into_inner).get(&terms) {
        return Arc::clone(signed);
    }
    let text = sign(&terms);
    BY_TEXT.write().unwrap_or_else(PoisonError::into_inner).insert(mark(&text).into(), terms);
    let signed = Arc::new(Token { terms, text: CupToken::new(&text) });
    SIGNED.write().unwrap_or_else(PoisonError::into_inner).insert(terms, Arc::clone(&signed));
    signed
}

/// An editor's terms for the longest that a user pool gives, from the start of the run.
pub fn terms_for_a_day(user: usize) -> Terms {
    Terms { user, rank: Rank::Editor, issued: START, expires: START + 86_400, signer: 0 }
}

/// Such a token.
pub fn for_a_day(user: usize) -> Arc<Token> {
    token(terms_for_a_day(user))
}

/// Signs on all processors what a run is going to need.
pub fn sign_ahead(terms: Vec<Terms>) {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for part in terms.chunks(terms.len().div_ceil(threads)) {
            scope.spawn(|| part.iter().for_each(|terms| drop(token(*terms))));
        }
    });
}

/// What is true of a token that AWS gets to see; nothing, if nobody ever signed it.
pub fn read(text: &CupToken) -> Option<Terms> {
    BY_TEXT.read().unwrap_or_else(PoisonError::into_inner).get(mark(text.expose_secret())).copied()
}

/// A part of `text` that no two tokens share, for looking for it where it must not be.
pub fn mark(text: &str) -> &str {
    &text[text.len().saturating_sub(43)..]
}

/// The key set with the keys of `signers`.
pub fn key_set(signers: &[usize]) -> Bytes {
    let path = format!("/{USER_POOL_ID}/.well-known/jwks.json");
    let keys = signers.iter().flat_map(|signer| {
        let request = Request::get(&path).body(Bytes::new()).unwrap();
        let document = SIGNERS[*signer].answer(request, SystemTime::UNIX_EPOCH).into_body();
        let document: Value = serde_json::from_slice(&document).unwrap();
        document["keys"].as_array().unwrap().clone()
    });
    json!({ "keys": keys.collect::<Vec<_>>() }).to_string().into()
}

fn sign(terms: &Terms) -> String {
    let signer = &SIGNERS[terms.signer];
    let issued = SystemTime::UNIX_EPOCH + Duration::from_secs(terms.issued);
    let mut claims = signer.id_claims("alice", issued).unwrap();
    claims["sub"] = subject(terms.user).into();
    claims["exp"] = terms.expires.into();
    claims["cognito:preferred_role"] = terms.rank.preferred().into();
    let roles = [ADMIN_ROLE_ARN, EDITOR_ROLE_ARN].into_iter().filter(|role| terms.rank.may_have(role));
    claims["cognito:roles"] = roles.collect();
    signer.sign(&claims).unwrap()
}
