//! A scripted user pool, for refresh tokens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cupbearer::clock::{Clock, epoch_seconds};
use cupbearer::metrics::Operation;
use cupbearer::secret::CupToken;
use cupbearer::upstream::{AppClient, Calling, Class, Failure, Tokens, UserPools};
use secrecy::{ExposeSecret, SecretString};

/// What the user pool does next.
#[derive(Clone)]
pub enum Mood {
    Well,
    /// Refuses in AWS's words.
    Says(Class, &'static str, &'static str),
}

/// A user pool that takes the newest refresh token and no other, as one with rotation does.
pub struct Pools {
    clock: Clock,
    pub mood: Mutex<Mood>,
    /// Whose tokens it gives.
    pub subject: Mutex<String>,
    /// How long they live, in seconds.
    pub lifetime: AtomicU64,
    pub rotates: AtomicBool,
    /// By how many seconds its clock is ahead of ours.
    pub ahead: AtomicU64,
    /// The one refresh token that it takes.
    pub current: Mutex<String>,
    under_way: AtomicUsize,
    trades: AtomicUsize,
    pub revoked: Mutex<Vec<String>>,
}

impl Pools {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            mood: Mutex::new(Mood::Well),
            subject: Mutex::new("alice".to_owned()),
            lifetime: AtomicU64::new(3_600),
            rotates: AtomicBool::new(true),
            ahead: AtomicU64::new(0),
            current: Mutex::new("refresh-0".to_owned()),
            under_way: AtomicUsize::new(0),
            trades: AtomicUsize::new(0),
            revoked: Mutex::default(),
        }
    }

    /// How many refresh tokens were traded.
    pub fn trades(&self) -> usize {
        self.trades.load(Ordering::Relaxed)
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    async fn trade(&self, refresh_token: &SecretString) -> Result<Tokens, Failure> {
        assert_eq!(self.under_way.fetch_add(1, Ordering::Relaxed), 0, "two trades at once");
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.judge()?;
        let mut current = self.current.lock().unwrap();
        if refresh_token.expose_secret() != *current {
            return Err(refusal("RefreshTokenReuseException", "Refresh token reuse detected"));
        }
        let number = self.trades.fetch_add(1, Ordering::Relaxed) + 1;
        let rotates = self.rotates.load(Ordering::Relaxed);
        if rotates {
            *current = format!("refresh-{number}");
        }
        let now = epoch_seconds(self.clock.now().wall) + self.ahead.load(Ordering::Relaxed);
        let token = super::token(&self.subject.lock().unwrap(), now, self.lifetime.load(Ordering::Relaxed));
        let refresh = rotates.then(|| SecretString::from(current.as_str()));
        Ok(Tokens { id: Some(CupToken::new(&token)), access: None, refresh })
    }

    fn judge(&self) -> Result<(), Failure> {
        match *self.mood.lock().unwrap() {
            Mood::Well => Ok(()),
            Mood::Says(class, code, message) => Err(Failure { class, ..refusal(code, message) }),
        }
    }
}

fn refusal(code: &str, message: &str) -> Failure {
    Failure::ours(Class::Denied, Operation::GetTokensFromRefreshToken, code, message)
}

impl UserPools for Pools {
    fn renew<'a>(&'a self, _: &'a AppClient, refresh_token: &'a SecretString) -> Calling<'a, Tokens> {
        Box::pin(self.trade(refresh_token))
    }

    fn revoke<'a>(&'a self, _: &'a AppClient, refresh_token: &'a SecretString) -> Calling<'a, ()> {
        Box::pin(async {
            self.judge()?;
            self.revoked.lock().unwrap().push(refresh_token.expose_secret().to_owned());
            Ok(())
        })
    }
}
