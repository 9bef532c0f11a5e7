//! The invariants, checked at every reply and every call, against the true time and AWS's own ledger. What is found
//! stays found until the run's end, which a panic in the middle might not reach: the broker survives panics.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cupbearer::broker::Grant;
use cupbearer::error::{Error, Kind};
use cupbearer::metrics::Operation;
use cupbearer::upstream::{Order, Rates};

use super::ledger::{Issued, Ledger, Turn};
use super::tokens::{self, Rank, Token};
use super::truth::Truth;

/// Stands in everything secret that the scripted AWS gives.
pub const CANARY: &str = "CANARY";

/// A JWT's first letters: `{"` in base64url.
pub const JWT: &str = "eyJ";

/// Watches one run.
pub struct Judge {
    pub truth: Arc<Truth>,
    seed: u64,
    books: Mutex<Books>,
}

/// What the judge knows.
pub struct Books {
    pub ledger: Ledger,
    /// Replies and calls so far.
    pub steps: u64,
    /// Replies with credentials.
    pub replies: u64,
    pub errors: HashMap<Kind, u64>,
    found: Vec<String>,
    recent: VecDeque<Step>,
    /// Of all steps, in their order: two runs that differ in one differ in this.
    trail: DefaultHasher,
    /// From when on everybody who asks has to be served, since the run began.
    served_from: Duration,
    /// Failures in a row since then, by user.
    unserved: HashMap<usize, u32>,
}

/// One step, as a failed run shows it.
#[derive(Clone, Copy)]
struct Step {
    at: Duration,
    what: &'static str,
    user: usize,
    serial: usize,
}

/// A question and who asks it.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub token: &'a Token,
    /// The role that was asked for.
    pub role: Option<&'a str>,
    pub policy: Option<&'a str>,
}

/// How many steps a failed run shows.
const SHOWN: usize = 24;

/// So many failures in a row, with nothing wrong any more, and somebody is stuck.
const STUCK: u32 = 5;

impl Judge {
    pub fn new(truth: Arc<Truth>, seed: u64, rates: Rates, served_from: Duration) -> Self {
        let books = Books {
            ledger: Ledger::new(rates),
            steps: 0,
            replies: 0,
            errors: HashMap::new(),
            found: Vec::new(),
            recent: VecDeque::new(),
            trail: DefaultHasher::new(),
            served_from,
            unserved: HashMap::new(),
        };
        Self { truth, seed, books: Mutex::new(books) }
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `holds` does not hold.
    pub fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let at = self.truth.elapsed();
            let books = &mut *self.books();
            let line = format!("step {} at {:.3} s: {}", books.steps, at.as_secs_f64(), what());
            books.found.push(line);
        }
    }

    /// An exchange begins.
    pub fn departs(&self, turn: &Turn) {
        let alone = self.books().ledger.departs(turn);
        self.check(alone, || "I3: two exchanges at once for one key".to_owned());
    }

    /// AWS is called.
    pub fn sends(&self, operation: Operation, order: &Order) {
        let now = self.truth.clock.now();
        self.step(operation.as_str(), user_of(&order.subject), 0);
        let within = self.books().ledger.sends(operation, now.boot);
        self.check(within, || format!("I4: one {} too many within a second", operation.as_str()));
        let login = order.token.as_ref().and_then(tokens::read);
        self.check(login.is_some(), || "I6: a call without the login of a user".to_owned());
        if let Some(login) = login {
            let own = tokens::subject(login.user) == *order.subject;
            self.check(own, || format!("I1: a call for {} with the login of user {}", order.subject, login.user));
        }
    }

    /// Credentials were handed to one who asked `question`.
    pub fn reply(&self, question: Question<'_>, grant: &Grant) {
        let credentials = &grant.credentials;
        let serial = credentials.access_key_id.strip_prefix("AKIA").and_then(|serial| serial.parse().ok());
        let issued = serial.and_then(|serial: usize| self.books().ledger.issued.get(serial).cloned());
        let (Some(serial), Some(issued)) = (serial, issued) else {
            return self.check(false, || format!("I1: AWS never issued {}", credentials.access_key_id));
        };
        let user = question.token.terms.user;
        self.step("reply", user, serial);
        self.books().replies += 1;
        self.books().unserved.remove(&user);
        self.owner(question, grant, &issued, serial);
        self.lives(question, grant, &issued);
        if serial % 64 == 0 {
            self.is_clean("the Debug of a grant", &format!("{grant:?} {credentials:?}"));
        }
    }

    /// One who asked got none.
    pub fn refusal(&self, question: Question<'_>, error: &Error) {
        let user = question.token.terms.user;
        self.step("refusal", user, error.kind() as usize);
        self.is_clean("an error", &format!("{error} {error:?}"));
        self.check(error.kind() != Kind::Internal, || format!("a bug: {error}"));
        let (at, books) = (self.truth.elapsed(), &mut *self.books());
        *books.errors.entry(error.kind()).or_default() += 1;
        let valid = self.truth.seconds() < question.token.terms.expires;
        if at < books.served_from || !valid {
            return;
        }
        let row = books.unserved.entry(user).or_default();
        *row += 1;
        if *row == STUCK {
            let line = format!("user {user} is stuck at {:.0} s, with all well: {error}", at.as_secs_f64());
            books.found.push(line);
        }
    }

    /// I5, for a text that anybody may see.
    pub fn is_clean(&self, what: &str, text: &str) {
        self.check(!text.contains(CANARY) && !text.contains(JWT), || format!("I5: {what} tells a secret: {text}"));
    }

    /// I1 and no fallback: whose these are, for which role.
    fn owner(&self, question: Question<'_>, grant: &Grant, issued: &Issued, serial: usize) {
        let terms = &question.token.terms;
        let whose = || format!("I1: user {} got AKIA{serial}, which is user {}'s", terms.user, issued.owner);
        self.check(issued.owner == terms.user, whose);
        let wanted = question.role.unwrap_or(terms.rank.preferred());
        let role = || format!("user {} got {} instead of {wanted}", terms.user, issued.role);
        self.check(issued.role == wanted && terms.rank.may_have(&issued.role), role);
        self.check(issued.rank.is_none_or(|rank| rank == terms.rank), || "rights of another token".to_owned());
        self.check(issued.policy.as_deref() == question.policy, || "another session policy than asked".to_owned());
        let told = grant.credentials.role_arn.as_ref();
        self.check(told.is_none_or(|role| role.as_str() == issued.role), || "a role that it is not".to_owned());
        let whole = |secret: &str| secret.starts_with(CANARY) && secret.ends_with(&format!("-{serial}"));
        let secret = grant.credentials.expose_secret_access_key();
        let session = grant.credentials.expose_session_token();
        self.check(whole(secret) && whole(session), || "I1: parts of two sets of credentials".to_owned());
    }

    /// I1's unexpired token, and I2.
    fn lives(&self, question: Question<'_>, grant: &Grant, issued: &Issued) {
        let told = grant.credentials.expires.wall();
        self.check(told <= issued.expires, || "I2: the Expiration is later than AWS said".to_owned());
        let known = grant.present_token_by.is_some_and(|by| by.wall() == question.token.terms.expiry());
        self.check(known, || "present_token_by is not the token's exp".to_owned());
        if self.truth.just_stepped() {
            return;
        }
        let now = self.truth.clock.now();
        let lifetime = issued.expires.duration_since(issued.received.wall).unwrap_or_default();
        let alive = now.wall < issued.expires && now.boot < issued.received.boot + lifetime;
        self.check(alive, || format!("I2: credentials of user {} are dead", issued.owner));
        let alive = self.truth.now() < issued.expires;
        self.check(alive, || format!("I2: credentials of user {} are dead by AWS's own clock", issued.owner));
        let terms = &question.token.terms;
        let good = terms.expiry() > now.wall;
        self.check(good, || format!("I1: an expired token of user {} was taken", terms.user));
        if self.truth.was_always_right() {
            let good = self.truth.seconds() < terms.expires;
            self.check(good, || format!("I1: a token of user {} was taken after its true end", terms.user));
        }
        // A key set is fetched anew every 15 minutes, give or take a tenth.
        let late = self.truth.withdrawn().is_some_and(|at| self.truth.seconds() > at + 1_020);
        let kept = self.truth.weather.has_keys() && self.truth.was_awake();
        self.check(!(late && kept && terms.signer == 0), || {
            format!("a token of user {} was taken long after its key was withdrawn", terms.user)
        });
    }

    fn step(&self, what: &'static str, user: usize, serial: usize) {
        let at = self.truth.elapsed();
        let books = &mut *self.books();
        books.steps += 1;
        if books.recent.len() == SHOWN {
            books.recent.pop_front();
        }
        books.recent.push_back(Step { at, what, user, serial });
        (at, what, user, serial).hash(&mut books.trail);
    }

    /// What the steps so far come to.
    pub fn trail(&self) -> u64 {
        self.books().trail.finish()
    }

    /// Whether anything was found.
    pub fn is_done(&self) -> bool {
        !self.books().found.is_empty()
    }

    /// Panics with the seed and the step, should anything have been found.
    pub fn close(&self) {
        let books = self.books();
        if books.found.is_empty() {
            return;
        }
        let found: Vec<_> = books.found.iter().take(5).map(String::as_str).collect();
        let recent: Vec<_> = books.recent.iter().map(ToString::to_string).collect();
        let (seed, count) = (self.seed, books.found.len());
        panic!(
            "seed {seed}: {count} faults\n  {}\nlast steps:\n  {}\nweather: {:?}\nonce more: CUPBEARER_SEED={seed}",
            found.join("\n  "),
            recent.join("\n  "),
            self.truth.weather,
        );
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s {} user {} #{}", self.at.as_secs_f64(), self.what, self.user, self.serial)
    }
}

/// The number in a subject.
pub fn user_of(subject: &str) -> usize {
    subject.strip_prefix("user-").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

/// The rank that AWS reads in an order's token, if it sees one.
pub fn rank_of(order: &Order) -> Option<Rank> {
    order.token.as_ref().and_then(tokens::read).map(|terms| terms.rank)
}
