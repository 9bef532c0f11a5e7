//! The scripted AWS: identity pool and STS behind the seam, with a ledger, opinions of their own on who may have what,
//! and the run's weather.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cupbearer::clock::{Expiry, Moment};
use cupbearer::metrics::Operation;
use cupbearer::model::{Credentials, IdentityId, RoleArn};
use cupbearer::upstream::{
    Api, Calling, Class, Demand, Exchange, Exchanging, Failure, Flight, Lane, Order, Rank, Route,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use secrecy::{ExposeSecret, SecretString};

use super::judge::{CANARY, Judge, rank_of, user_of};
use super::ledger::{Issued, Sent, Turn};
use super::tokens;
use super::weather::Trouble;

/// The longest life of a session, with room for unequal clocks: what our reader of real replies takes.
const LONGEST_LIFE: Duration = Duration::from_secs(13 * 3_600);

/// What our reader of real replies takes off the life that was asked for.
const FRACTION: Duration = Duration::from_secs(1);

/// AWS.
pub struct Aws {
    judge: Arc<Judge>,
    rng: Mutex<StdRng>,
    /// Goes up when the identity pool is made anew.
    pool: Mutex<u32>,
    taken: Mutex<BTreeMap<&'static str, VecDeque<Duration>>>,
}

/// The real exchange, with a look at who goes in and out.
pub struct Turnstile {
    pub judge: Arc<Judge>,
    pub exchange: Arc<dyn Exchange>,
}

/// One exchange under way, also when it is dropped half-way.
struct UnderWay(Arc<Judge>, Turn);

/// What becomes of a call.
enum Fate {
    Never,
    Ends(Duration, Result<(), Failure>),
}

impl Exchange for Turnstile {
    fn exchange<'a>(&'a self, order: &'a Order) -> Exchanging<'a> {
        Box::pin(async move {
            let _under_way = UnderWay::new(&self.judge, order);
            self.exchange.exchange(order).await
        })
    }

    fn lane(&self, order: &Order) -> Lane {
        self.exchange.lane(order)
    }

    fn begin(self: Arc<Self>, order: Order, rank: Rank) -> Result<Flight, Duration> {
        let flight = Arc::clone(&self.exchange).begin(order.clone(), rank)?;
        Ok(Box::pin(async move {
            let _under_way = UnderWay::new(&self.judge, &order);
            flight.await
        }))
    }

    fn crowding(&self, route: &Route, demand: &Demand) -> f64 {
        self.exchange.crowding(route, demand)
    }
}

impl UnderWay {
    fn new(judge: &Arc<Judge>, order: &Order) -> Self {
        let turn = Turn::of(order);
        judge.departs(&turn);
        Self(Arc::clone(judge), turn)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.books().ledger.arrives(&self.1);
    }
}

impl Aws {
    pub fn new(judge: Arc<Judge>, seed: u64) -> Self {
        let rng = Mutex::new(StdRng::seed_from_u64(seed ^ 0xa5a5));
        Self { judge, rng, pool: Mutex::new(0), taken: Mutex::default() }
    }

    /// Makes every identity anew.
    pub fn remake_pool(&self) {
        *self.pool.lock().unwrap() += 1;
    }

    /// One call, as long as it takes; `answer` is AWS's side of it, at its end.
    async fn call<T>(
        &self,
        operation: Operation,
        order: &Order,
        answer: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.judge.sends(operation, order);
        let (at, user) = (self.judge.truth.elapsed(), user_of(&order.subject));
        let place = {
            let sent = &mut self.judge.books().ledger.sent;
            sent.push(Sent { at, operation, user, ok: false });
            sent.len() - 1
        };
        match self.fate(operation) {
            Fate::Never => std::future::pending().await,
            Fate::Ends(latency, result) => {
                tokio::time::sleep(latency).await;
                let done = result.and_then(|()| answer());
                self.judge.books().ledger.sent[place].ok = done.is_ok();
                done
            }
        }
    }

    fn fate(&self, operation: Operation) -> Fate {
        let truth = &self.judge.truth;
        let rng = &mut *self.rng.lock().unwrap();
        // Mostly quick, now and then not.
        let tail = if rng.random_bool(0.01) { 1_500 } else { 120 };
        let mut latency = Duration::from_millis(rng.random_range(20..tail));
        let mut result = Ok(());
        for trouble in truth.weather.troubles(operation, truth.elapsed()) {
            let fails = match trouble {
                Trouble::Hang => return Fate::Never,
                Trouble::Outage => {
                    latency = Duration::from_millis(5);
                    Some(Failure { broken: true, ..failure(Class::Unavailable, operation, "ConnectionFailure") })
                }
                Trouble::Slow(more) => {
                    latency += more;
                    None
                }
                Trouble::Throttles { share, retry_after } => {
                    rng.random_bool(share).then(|| Failure { retry_after, ..throttled(operation) })
                }
                Trouble::Capacity(most) => (!self.has_room(operation, most)).then(|| throttled(operation)),
                Trouble::Fails { share, class } => rng.random_bool(share).then(|| fails(class, operation, rng)),
                // A wrong GetId is told below: it looks like a right one.
                Trouble::Misdelivers { share } if operation != Operation::GetId => {
                    rng.random_bool(share).then(|| failure(Class::Invalid, operation, "IdentityMismatch"))
                }
                Trouble::Misdelivers { .. } | Trouble::NoKeys => None,
            };
            result = result.and(fails.map_or(Ok(()), Err));
        }
        Fate::Ends(latency, result)
    }

    /// Whether one more call fits into this second.
    fn has_room(&self, operation: Operation, most: usize) -> bool {
        let now = self.judge.truth.clock.now().boot;
        let mut taken = self.taken.lock().unwrap();
        let own = taken.entry(operation.as_str()).or_default();
        while own.front().is_some_and(|first| now >= *first + Duration::from_secs(1)) {
            own.pop_front();
        }
        let room = own.len() < most;
        if room {
            own.push_back(now);
        }
        room
    }

    /// The identity of `user`, or that of the neighbour when the weather is so.
    fn identify(&self, user: usize) -> IdentityId {
        let truth = &self.judge.truth;
        let mut troubles = truth.weather.troubles(Operation::GetId, truth.elapsed());
        let share = troubles.find_map(|trouble| match trouble {
            Trouble::Misdelivers { share } => Some(share),
            _ => None,
        });
        let wrong = share.is_some_and(|share| self.rng.lock().unwrap().random_bool(share));
        IdentityId(format!("us-east-1:{}-{}", self.pool.lock().unwrap(), user + usize::from(wrong)).into())
    }

    /// Judges a login for an identity as an identity pool does, by the true time.
    fn admit(&self, operation: Operation, order: &Order, id: &IdentityId) -> Result<tokens::Rank, Failure> {
        let login = order.token.as_ref().and_then(tokens::read);
        let refused = |code: &str| failure(Class::Denied, operation, code);
        let login = login.ok_or_else(|| refused("NotAuthorizedException"))?;
        if self.judge.truth.seconds() >= login.expires {
            return Err(refused("NotAuthorizedException"));
        }
        let (pool, user) = id.0.trim_start_matches("us-east-1:").split_once('-').unwrap_or_default();
        if pool != self.pool.lock().unwrap().to_string() {
            return Err(refused("ResourceNotFoundException"));
        }
        if user != login.user.to_string() {
            return Err(refused("NotAuthorizedException"));
        }
        Ok(login.rank)
    }

    /// New credentials, asked for at `sent`, as our reader of real replies takes them: those that are dead or live for
    /// ever by the machine's clock are no credentials to it, and none live for longer than they were asked for.
    fn issue(
        &self,
        operation: Operation,
        order: &Order,
        rank: Option<tokens::Rank>,
        sent: Moment,
    ) -> Result<Credentials, Failure> {
        let truth = &self.judge.truth;
        let now = truth.clock.now();
        let lifetime = order.target.lifetime();
        let at = truth.now() + lifetime;
        let whole = at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let expires = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(whole);
        let role = order.role.clone().or_else(|| rank.map(|rank| RoleArn::new(rank.preferred())));
        let role = role.ok_or_else(|| failure(Class::Denied, operation, "InvalidParameterException"))?;
        self.judge.check(rank.is_none_or(|rank| rank.may_have(role.as_str())), || {
            format!("AWS was asked for {role}, which {} may not have", order.subject)
        });
        let issued = Issued {
            owner: user_of(&order.subject),
            rank,
            role: role.to_string(),
            policy: order.session.policy.clone(),
            expires,
            received: now,
            at: truth.elapsed(),
        };
        let serial = {
            let ledger = &mut self.judge.books().ledger;
            ledger.issued.push(issued);
            ledger.issued.len() - 1
        };
        if expires <= now.wall || expires > now.wall + LONGEST_LIFE {
            return Err(failure(Class::Invalid, operation, "InvalidReply"));
        }
        Ok(Credentials::from(cupbearer::model::Issued {
            access_key_id: format!("AKIA{serial}"),
            secret_access_key: format!("{CANARY}-key-{serial}").into(),
            session_token: format!("{CANARY}-session-{serial}").into(),
            received: now,
            expires: Expiry::at(expires, now).within(lifetime - FRACTION, sent),
            role_arn: order.role.clone(),
            identity_id: None,
        }))
    }
}

impl Api for Aws {
    fn get_id<'a>(&'a self, order: &'a Order) -> Calling<'a, IdentityId> {
        Box::pin(async move {
            let user = user_of(&order.subject);
            self.call(Operation::GetId, order, || Ok(self.identify(user))).await
        })
    }

    fn get_credentials<'a>(&'a self, order: &'a Order, id: &'a IdentityId) -> Calling<'a, Credentials> {
        Box::pin(async move {
            let (operation, sent) = (Operation::GetCredentialsForIdentity, self.judge.truth.clock.now());
            let answer = || self.issue(operation, order, Some(self.admit(operation, order, id)?), sent);
            self.call(operation, order, answer).await
        })
    }

    fn get_open_id_token<'a>(&'a self, order: &'a Order, id: &'a IdentityId) -> Calling<'a, SecretString> {
        Box::pin(async move {
            let operation = Operation::GetOpenIdToken;
            let answer = || {
                self.admit(operation, order, id)?;
                Ok(format!("{CANARY}-open-{}", order.subject).into())
            };
            self.call(operation, order, answer).await
        })
    }

    fn assume_role_with_web_identity<'a>(
        &'a self,
        order: &'a Order,
        _role: &'a RoleArn,
        token: &'a SecretString,
        _id: &'a IdentityId,
    ) -> Calling<'a, Credentials> {
        Box::pin(async move {
            let (operation, sent) = (Operation::AssumeRoleWithWebIdentity, self.judge.truth.clock.now());
            let own = token.expose_secret() == format!("{CANARY}-open-{}", order.subject);
            self.judge.check(own, || format!("I1: {} came with the pool's token of another", order.subject));
            self.call(operation, order, || self.issue(operation, order, rank_of(order), sent)).await
        })
    }

    fn assume_role<'a>(&'a self, order: &'a Order, _role: &'a RoleArn) -> Calling<'a, Credentials> {
        Box::pin(async move {
            let (operation, sent) = (Operation::AssumeRole, self.judge.truth.clock.now());
            self.call(operation, order, || self.issue(operation, order, None, sent)).await
        })
    }
}

fn failure(class: Class, operation: Operation, code: &str) -> Failure {
    Failure::ours(class, operation, code, "as the weather has it")
}

fn throttled(operation: Operation) -> Failure {
    failure(Class::Throttled, operation, "TooManyRequestsException")
}

fn fails(class: Class, operation: Operation, rng: &mut StdRng) -> Failure {
    let code = match class {
        Class::Denied if rng.random_bool(0.5) => "NotAuthorizedException",
        Class::Denied => "InvalidIdentityPoolConfigurationException",
        Class::Throttled => "TooManyRequestsException",
        Class::Unavailable => "InternalErrorException",
        Class::Invalid => "InvalidReply",
    };
    failure(class, operation, code)
}
