//! What a connection has done of late, and whether it may stay. Knows no message; its clock is the caller's.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use hyper::body::{Body, Frame, SizeHint};
use tonic::body::Body as Answer;

/// How often a connection is looked at, and how long its peer may take none of the answers that are ready for it: a window
/// of zero holds them (RFC 9113 section 5.2), and the socket's own deadline does not see that.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// Time for the first request of a connection.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

/// A connection on which nothing is asked for so long is closed, in an orderly way.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// The longest that new requests are taken on one connection. Watches of credentials go on, for as long as their tokens.
const AGE: Duration = Duration::from_secs(60 * 60);

/// Time to leave for one that watches no credentials: longer than any call is held. Who watches health would never go.
const LEAVING: Duration = Duration::from_secs(2 * 60);

/// What an answer without an end tells of.
#[derive(Clone, Copy)]
pub(super) enum Lasting {
    /// Until its token ends.
    Credentials,
    /// For everybody, and without a token.
    Health,
}

/// What one connection's requests leave behind.
#[derive(Default)]
pub(super) struct Pulse {
    asked: AtomicU64,
    /// Answers that are ready, watches apart, and those of them that were taken.
    ready: AtomicU64,
    taken: AtomicU64,
    watches: AtomicU64,
    health_watches: AtomicU64,
}

/// What was seen at the last look.
#[derive(Default)]
pub(super) struct Seen {
    age: Duration,
    idle: Duration,
    /// Since it was first told to leave.
    leaving: Duration,
    asked: u64,
    taken: u64,
    waiting: bool,
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// No more requests, in an orderly way.
    Leaves,
    /// Now.
    Ends,
}

impl Pulse {
    /// A request has come.
    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Judges the connection, [`LOOK`] after the last time.
    pub(super) fn look(&self, seen: &mut Seen) -> Fate {
        let [asked, ready, taken, watches, health_watches] =
            [&self.asked, &self.ready, &self.taken, &self.watches, &self.health_watches]
                .map(|count| count.load(Ordering::Relaxed));
        let waiting = ready > taken;
        let stuck = waiting && seen.waiting && taken == seen.taken;
        let busy = waiting || watches + health_watches > 0 || asked != seen.asked;
        let idle = if busy { Duration::ZERO } else { seen.idle + LOOK };
        let age = seen.age + LOOK;
        let leaves = seen.leaving > Duration::ZERO || idle >= IDLE || age >= AGE;
        let leaving = if leaves { seen.leaving + LOOK } else { Duration::ZERO };
        *seen = Seen { age, idle, leaving, asked, taken, waiting };
        if stuck || (asked == 0 && age >= FIRST_REQUEST) || (leaving > LEAVING && watches == 0) {
            Fate::Ends
        } else if leaves {
            Fate::Leaves
        } else {
            Fate::Stays
        }
    }

    fn open(&self, lasting: Lasting) -> &AtomicU64 {
        match lasting {
            Lasting::Credentials => &self.watches,
            Lasting::Health => &self.health_watches,
        }
    }
}

/// An answer that is counted until its peer has taken it, or is gone.
pub(super) struct Counted {
    answer: Answer,
    pulse: Arc<Pulse>,
    lasting: Option<Lasting>,
}

impl Counted {
    /// `response`, counted by `pulse`; a lasting one takes as long as it likes.
    pub(super) fn response(response: Response<Answer>, pulse: &Arc<Pulse>, lasting: Option<Lasting>) -> Response<Self> {
        lasting.map_or(&pulse.ready, |lasting| pulse.open(lasting)).fetch_add(1, Ordering::Relaxed);
        response.map(|answer| Self { answer, pulse: Arc::clone(pulse), lasting })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        match self.lasting {
            Some(lasting) => self.pulse.open(lasting).fetch_sub(1, Ordering::Relaxed),
            None => self.pulse.taken.fetch_add(1, Ordering::Relaxed),
        };
    }
}

impl Body for Counted {
    type Data = <Answer as Body>::Data;
    type Error = <Answer as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.answer).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(pulse: &Pulse, seen: &mut Seen, number: u64) -> Vec<Fate> {
        (0..number).map(|_| pulse.look(seen)).collect()
    }

    fn answer(pulse: &Arc<Pulse>, lasting: Option<Lasting>) -> Response<Counted> {
        pulse.asked();
        Counted::response(Response::new(Answer::empty()), pulse, lasting)
    }

    #[test]
    fn who_takes_no_answer_is_cut_off_and_who_takes_some_is_not() {
        let (pulse, mut seen) = (Arc::new(Pulse::default()), Seen::default());
        let _held = answer(&pulse, None);
        for _ in 0..10 {
            drop(answer(&pulse, None));
            assert_eq!(pulse.look(&mut seen), Fate::Stays);
        }
        assert_eq!(pulse.look(&mut seen), Fate::Ends);
    }

    #[test]
    fn who_asks_nothing_may_not_stay() {
        let (pulse, mut seen) = (Arc::new(Pulse::default()), Seen::default());
        let fates = looks(&pulse, &mut seen, 6);
        assert_eq!((fates[4], fates[5]), (Fate::Stays, Fate::Ends));
    }

    #[test]
    fn idle_ones_and_old_ones_leave_in_an_orderly_way() {
        let (pulse, mut seen) = (Arc::new(Pulse::default()), Seen::default());
        drop(answer(&pulse, None));
        let fates = looks(&pulse, &mut seen, 122);
        assert_eq!((fates[119], fates[120]), (Fate::Stays, Fate::Leaves), "ten minutes after the last request");
        let (pulse, mut seen) = (Arc::new(Pulse::default()), Seen::default());
        let _watch = answer(&pulse, Some(Lasting::Credentials));
        let fates = looks(&pulse, &mut seen, 720);
        assert_eq!((fates[718], fates[719]), (Fate::Stays, Fate::Leaves), "a watch is not idle, and does grow old");
    }

    #[test]
    fn who_is_told_to_leave_goes_unless_it_watches_credentials() {
        let hour = AGE.as_secs() / LOOK.as_secs();
        let (day, given) = (24 * hour, LEAVING.as_secs() / LOOK.as_secs());
        let fates = |lasting: &[Lasting]| {
            let (pulse, mut seen) = (Arc::new(Pulse::default()), Seen::default());
            drop(answer(&pulse, None));
            let held: Vec<_> = lasting.iter().map(|lasting| answer(&pulse, Some(*lasting))).collect();
            let stayed = looks(&pulse, &mut seen, hour - 1);
            assert!(stayed.iter().all(|fate| *fate == Fate::Stays), "no watch is idle");
            let left = looks(&pulse, &mut seen, day).iter().take_while(|fate| **fate == Fate::Leaves).count() as u64;
            drop(held);
            (left, pulse.look(&mut seen))
        };
        assert_eq!(fates(&[Lasting::Health; 3]), (given, Fate::Ends));
        assert_eq!(fates(&[Lasting::Credentials]), (day, Fate::Ends), "once its token has ended, at once");
        assert_eq!(fates(&[Lasting::Credentials, Lasting::Health]), (day, Fate::Ends));
        let (pulse, mut seen) = (Arc::new(Pulse::default()), Seen::default());
        drop(answer(&pulse, None));
        let fates = looks(&pulse, &mut seen, 121 + given);
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::Leaves).count() as u64, given, "an idle one too");
        assert_eq!(fates.last(), Some(&Fate::Ends));
    }
}
