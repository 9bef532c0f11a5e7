//! What is remembered of refusals is bounded like all else.

use super::{Bench, Shared, epoch};
use crate::clock::Clock;
use crate::metrics::Operation;
use crate::upstream::{Class, Failure};

const ROOM: usize = 8;

/// Asks for `owner`, whom AWS refuses; says how many entries there are then.
fn refuse(bench: &mut Bench, owner: &str, class: Class) -> usize {
    let generation = bench.rulebook.load().generation;
    let (wish, mut answer) = bench.miss(owner, generation);
    bench.turn(|refresher| refresher.take(wish));
    let flying = bench.script.0.lock().unwrap().pop_front().unwrap();
    assert_eq!(flying.owner, owner);
    let failure = Failure::ours(class, Operation::GetCredentialsForIdentity, "NotAuthorizedException", "as told");
    flying.end.send(Err(failure)).unwrap();
    bench.turn(|_| ());
    assert!(answer.try_recv().unwrap().is_err());
    bench.refresher.entries.all().count()
}

#[tokio::test(start_paused = true)]
async fn refusals_take_no_more_room_than_there_is() {
    for class in [Class::Denied, Class::Unavailable] {
        let mut bench = Shared::new(Clock::simulated(epoch())).bench(ROOM);
        let mut most = 0;
        for number in 0..50 * ROOM {
            most = most.max(refuse(&mut bench, &format!("refused-{number}"), class));
            // Without a pause the runtime would stop to answer one who asks so often.
            tokio::task::yield_now().await;
        }
        assert_eq!(most, ROOM, "{class:?}: they are remembered, and as many as there is room for");
    }
}
