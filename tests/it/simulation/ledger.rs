//! What the scripted AWS has given to whom, and what it was asked when. Knows no broker.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use cupbearer::clock::Moment;
use cupbearer::digest::Digest;
use cupbearer::metrics::Operation;
use cupbearer::model::RoleArn;
use cupbearer::upstream::{Flow, Order, Rates};

use super::tokens::{self, Rank};

/// One set of credentials, as AWS knows it. Its place in the ledger is in its access key id.
#[derive(Clone)]
pub struct Issued {
    pub owner: usize,
    /// What the owner's token said; nothing where AWS saw no token.
    pub rank: Option<Rank>,
    pub role: String,
    pub policy: Option<String>,
    /// The `Expiration` that AWS told.
    pub expires: SystemTime,
    pub received: Moment,
    /// Since the run began.
    pub at: Duration,
}

/// One call, for figures.
#[derive(Clone, Copy)]
pub struct Sent {
    /// Since the run began.
    pub at: Duration,
    pub operation: Operation,
    pub user: usize,
    pub ok: bool,
}

/// What makes a key: two orders that differ in it may be under way at once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Turn {
    flow: Flow,
    subject: String,
    role: Option<RoleArn>,
    rank: Option<Rank>,
    session: Digest,
}

/// The books of one run.
pub struct Ledger {
    pub issued: Vec<Issued>,
    pub sent: Vec<Sent>,
    flights: HashMap<Turn, usize>,
    under_way: usize,
    pub most_under_way: usize,
    rates: Rates,
    windows: BTreeMap<&'static str, VecDeque<Duration>>,
}

impl Turn {
    pub fn of(order: &Order) -> Self {
        // Where AWS sees no token, claims make no difference.
        let seen = order.token.as_ref().filter(|_| order.target.flow != Flow::AssumeRole);
        Self {
            flow: order.target.flow,
            subject: order.subject.to_string(),
            role: order.role.clone(),
            rank: seen.and_then(tokens::read).map(|terms| terms.rank),
            session: order.session.digest(),
        }
    }
}

impl Ledger {
    pub fn new(rates: Rates) -> Self {
        Self {
            issued: Vec::new(),
            sent: Vec::new(),
            flights: HashMap::new(),
            under_way: 0,
            most_under_way: 0,
            rates,
            windows: BTreeMap::new(),
        }
    }

    /// An exchange begins. False if one for the same key is under way.
    pub fn departs(&mut self, turn: &Turn) -> bool {
        self.under_way += 1;
        self.most_under_way = self.most_under_way.max(self.under_way);
        let own = self.flights.entry(turn.clone()).or_default();
        *own += 1;
        *own == 1
    }

    pub fn arrives(&mut self, turn: &Turn) {
        self.under_way -= 1;
        if let Some(own) = self.flights.get_mut(turn) {
            *own -= 1;
            if *own == 0 {
                self.flights.remove(turn);
            }
        }
    }

    /// Writes down a call at `boot`. False if it is one more than its API takes in some window of a second: the call
    /// that is as many places before it as the rate allows has to be a second old.
    pub fn sends(&mut self, operation: Operation, boot: Duration) -> bool {
        let (api, rate) = match operation {
            Operation::GetId => ("GetId", self.rates.get_id),
            Operation::GetCredentialsForIdentity => {
                ("GetCredentialsForIdentity", self.rates.get_credentials_for_identity)
            }
            Operation::GetOpenIdToken => ("GetOpenIdToken", self.rates.get_open_id_token),
            _ => ("AssumeRole", self.rates.assume_role),
        };
        let window = self.windows.entry(api).or_default();
        window.push_back(boot);
        if window.len() <= rate as usize {
            return true;
        }
        window.pop_front().is_some_and(|first| boot >= first + Duration::from_secs(1))
    }

    /// How many calls of `operation` were sent within `times`, and how many of them AWS answered well.
    pub fn count(&self, operation: Operation, times: std::ops::Range<Duration>) -> (usize, usize) {
        let sent = self.sent.iter().filter(|sent| sent.operation == operation && times.contains(&sent.at));
        sent.fold((0, 0), |(all, well), sent| (all + 1, well + usize::from(sent.ok)))
    }
}
