//! The users: who they are, how long their tokens last, and how they ask.

use std::sync::Arc;
use std::time::Duration;

use cupbearer::broker::{Grant, Visit, Watch};
use cupbearer::dev::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN};
use cupbearer::error::Kind;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::judge::Question;
use super::tokens::{self, Rank, Terms, Token};
use super::truth::START;
use super::world::World;

/// Over HTTP, as an AWS SDK asks.
pub const SDK: Visit = Visit { holder: true, hold: Duration::from_millis(900), hold_failures: true };

/// Over gRPC, once.
pub const CALL: Visit = Visit { holder: false, hold: Duration::from_secs(5), hold_failures: false };

const MINUTE: Duration = Duration::from_secs(60);

/// How somebody asks.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// An SDK: keeps what it gets, and comes back when so little is left; from then on with every call.
    Holder { back_at: Duration },
    /// A back end that asks with every request; so long between two, in the mean.
    Caller { gap: Duration },
    /// A watch over gRPC, opened anew with each token.
    Watcher,
    /// An SDK with a session, to which somebody brings the new tokens.
    Session,
    /// A caller who is there for a while, and then away for longer.
    Visitor,
}

/// One user.
pub struct Person {
    pub world: Arc<World>,
    pub user: usize,
    pub manner: Manner,
    /// How long tokens last, in seconds.
    pub token_life: u64,
    /// Whether a token is replaced only some time after it has expired.
    pub is_late: bool,
    /// From when on, since the run began, the user is an editor only.
    pub demoted: Option<Duration>,
    /// One token for the whole run, instead of new ones all the time.
    pub one_token: bool,
    /// Part of the questions that are given up at once.
    pub hangs_up: f64,
    pub rng: StdRng,
}

impl Person {
    /// The user with this number, drawn for this run; what tokens are made of depends on the number alone.
    pub fn drawn(world: &Arc<World>, seed: u64, user: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) ^ user as u64);
        let back_at = MINUTE * [5, 10, 15, 15][rng.random_range(0..4)];
        let manner = match rng.random_range(0..10) {
            0..=3 => Manner::Holder { back_at },
            // Zipf-like: few ask often.
            4..=6 => Manner::Caller { gap: (MINUTE * 3 / 2).mul_f64((user % 50 + 1) as f64) },
            7 => Manner::Watcher,
            8 => Manner::Session,
            _ => Manner::Visitor,
        };
        let token_life = match user % 20 {
            4 => 300,
            2 | 6 | 8 | 12 | 14 => 86_400,
            _ => 3_600,
        };
        let is_late = rng.random_bool(0.2);
        let demoted = rng.random_bool(0.1).then(|| MINUTE * 30 * rng.random_range(1..8));
        Self {
            world: Arc::clone(world),
            user,
            manner,
            token_life,
            is_late,
            demoted,
            one_token: false,
            hangs_up: 0.02,
            rng,
        }
    }

    /// Asks until the run has been going on for so long.
    pub async fn live(mut self, until: Duration) {
        let first = MINUTE.mul_f64(self.rng.random_range(0.0..10.0));
        tokio::time::sleep(first).await;
        while !self.world.is_over(until) {
            match self.manner {
                Manner::Holder { back_at } => self.hold(back_at).await,
                Manner::Caller { gap } => self.call(gap).await,
                Manner::Watcher => self.watch(until).await,
                Manner::Session => self.keep_session(until).await,
                Manner::Visitor => self.visit(until).await,
            }
        }
    }

    /// The token that the user has now: issued every nine tenths of a life, so that a punctual user always has a good
    /// one. A late one stays with the old token for two tenths more, the second half of which it is dead.
    pub fn token(&self) -> Arc<Token> {
        if self.one_token {
            return tokens::for_a_day(self.user);
        }
        let truth = &self.world.truth;
        let (life, now) = (self.token_life, truth.seconds());
        let (period, phase) = (life * 9 / 10, self.user as u64 * 37 % life);
        let late = if self.is_late { life / 5 } else { 0 };
        let first = START - 2 * life + phase % period;
        let mut issued = first + (now - late - first) / period * period;
        // When a key is withdrawn, everybody signs in again.
        if let Some(withdrawn) = truth.withdrawn().filter(|at| *at <= now) {
            issued = issued.max(withdrawn);
        }
        let born = if self.user.is_multiple_of(3) { Rank::Admin } else { Rank::Editor };
        let demoted = self.demoted.is_some_and(|at| issued >= START + at.as_secs());
        let rank = if demoted { Rank::Editor } else { born };
        let (expires, signer) = (issued + life, truth.signer(issued));
        tokens::token(Terms { user: self.user, rank, issued, expires, signer })
    }

    /// The profile that the user's app is set up for.
    pub fn profile(&self) -> &'static str {
        match self.user % 20 {
            7 => "basic",
            13 => "assume",
            _ => "default",
        }
    }

    fn question<'a>(&self, token: &'a Token) -> Question<'a> {
        // Some ask for less than they would get by the rules.
        let role = match self.user % 5 {
            1 => Some(EDITOR_ROLE_ARN),
            3 if token.terms.rank == Rank::Admin => Some(ADMIN_ROLE_ARN),
            _ => None,
        };
        Question { role, ..Question::of(token) }
    }

    /// One question. Nothing comes back to one who hangs up.
    async fn ask(&mut self, visit: Visit) -> Option<Result<Grant, Kind>> {
        let token = self.token();
        let world = Arc::clone(&self.world);
        let asking = world.ask(self.question(&token), self.profile(), visit);
        let patience = if self.rng.random_bool(self.hangs_up) {
            Duration::from_millis(self.rng.random_range(0..200))
        } else {
            visit.hold * 2
        };
        tokio::time::timeout(patience, asking).await.ok()
    }

    /// Between two questions, with a mean of `mean`.
    async fn pause(&mut self, mean: Duration) {
        let part: f64 = self.rng.random_range(0.0001..1.0);
        tokio::time::sleep(mean.mul_f64(-part.ln())).await;
    }

    async fn hold(&mut self, back_at: Duration) {
        match self.ask(SDK).await {
            Some(Ok(grant)) => {
                let left = grant.credentials.expires.remaining(self.world.truth.clock.now());
                match left.checked_sub(back_at).filter(|time| !time.is_zero()) {
                    // It looks at its clock with every call that it makes, and those come now and then.
                    Some(time) => tokio::time::sleep(time.min(MINUTE * 30)).await,
                    None => self.pause(MINUTE * 2).await,
                }
            }
            Some(Err(_)) => self.pause(MINUTE * 2).await,
            None => self.pause(MINUTE / 10).await,
        }
    }

    async fn call(&mut self, gap: Duration) {
        match self.ask(CALL).await {
            Some(Err(_)) => self.pause(gap.min(MINUTE * 4)).await,
            _ => self.pause(gap).await,
        }
    }

    async fn visit(&mut self, until: Duration) {
        let leaves = self.world.truth.elapsed() + MINUTE.mul_f64(self.rng.random_range(5.0..40.0));
        while self.world.truth.elapsed() < leaves.min(until) {
            self.call(MINUTE * 3).await;
        }
        let away = MINUTE.mul_f64(self.rng.random_range(20.0..120.0));
        tokio::time::sleep(away).await;
    }

    async fn watch(&mut self, until: Duration) {
        let token = self.token();
        let question = self.question(&token);
        let ask = question.ask(self.profile());
        let opened = Watch::open(&self.world.broker, token.text.clone(), ask, CALL.hold).await;
        let Ok(mut watch) = opened else { return self.pause(MINUTE).await };
        let left = Duration::from_secs(token.terms.expires.saturating_sub(self.world.truth.seconds()));
        let ends = (self.world.truth.elapsed() + left).min(until);
        while !self.world.is_over(ends) {
            let patience = ends.saturating_sub(self.world.truth.elapsed()).max(Duration::from_millis(1));
            match tokio::time::timeout(patience, watch.next()).await {
                Ok(Ok(grant)) => self.world.judge.reply(question, &grant),
                Ok(Err(error)) => {
                    self.world.judge.refusal(question, &error);
                    return self.pause(MINUTE).await;
                }
                Err(_hung_up) => break,
            }
        }
        self.pause(MINUTE / 60).await;
    }

    async fn keep_session(&mut self, until: Duration) {
        let mut token = self.token();
        let ask = self.question(&token).ask(self.profile());
        let Ok(opened) = self.world.broker.open_session(token.text.clone(), ask, None).await else {
            return self.pause(MINUTE).await;
        };
        let own = cupbearer::secret::CupToken::new(secrecy::ExposeSecret::expose_secret(&opened.authorization));
        let leaves = (self.world.truth.elapsed() + MINUTE.mul_f64(self.rng.random_range(60.0..400.0))).min(until);
        while !self.world.is_over(leaves) {
            let newer = self.token();
            if newer.terms != token.terms {
                if newer.terms.rank != token.terms.rank {
                    break;
                }
                if self.world.broker.update_session(newer.text.clone(), &opened.id, None).await.is_err() {
                    break;
                }
                token = newer;
            }
            let Ok(entered) = self.world.broker.enter_session(&opened.id, &own) else { break };
            let done = self.world.broker.session_credentials(&entered, SDK).await;
            let question = self.question(&token);
            match done {
                Ok(grant) => self.world.judge.reply(question, &grant),
                Err(error) => self.world.judge.refusal(question, &error),
            }
            self.pause(MINUTE * 5).await;
        }
        // One that a purge or the clock has ended is gone already.
        self.world.broker.close_session(&token.text, &opened.id, false).await.ok();
        self.pause(MINUTE).await;
    }
}
