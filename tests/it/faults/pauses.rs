//! AWS says when to come back (F2): nothing is sent before.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use futures::future::join_all;

use super::EXCHANGE;
use crate::support::fault::{Fault, Rate};
use crate::support::scene::{Scene, stranger};
use crate::support::settings::PLENTY;

/// One throttled answer, how it says when to come back, and how long nothing may be sent after it.
struct Row {
    name: &'static str,
    header: Option<(&'static str, String)>,
    pause: Duration,
}

/// A pause that no back-off of ours comes near to after one failure.
const PAUSE: Duration = Duration::from_secs(6);

fn table() -> Vec<Row> {
    let date = DateTime::from(SystemTime::now() + PAUSE * 2).fmt(Format::HttpDate).unwrap();
    let row = |name, header, pause| Row { name, header, pause };
    vec![
        row("says nothing", None, Duration::ZERO),
        row("Retry-After in seconds", Some(("retry-after", PAUSE.as_secs().to_string())), PAUSE),
        // It is counted from when it was made, and in whole seconds.
        row("Retry-After as a date", Some(("retry-after", date)), PAUSE),
        row("x-amz-retry-after in milliseconds", Some(("x-amz-retry-after", PAUSE.as_millis().to_string())), PAUSE),
    ]
}

/// Two ask, the second one after the first was throttled: it is the API that is left alone, not the one user.
async fn second_call_after(row: &Row) -> Duration {
    let more = format!("---[limits]\ncold_hold_ms = 200\n{PLENTY}");
    let scene = Scene::with(&more, "authenticated_role").await;
    let throttle = Fault::throttles_with(row.header.clone());
    scene.proxy.bend_some(EXCHANGE, Rate::Every(usize::MAX), vec![throttle]);
    let users = [stranger("first"), stranger("second")];
    while scene.proxy.calls(EXCHANGE) == 0 {
        assert_eq!(scene.ask("/v1/credentials", &users[0]).await.status, 503, "{}", row.name);
    }
    let mut tries = 0;
    for user in users.iter().rev() {
        while scene.ask("/v1/credentials", user).await.status != 200 {
            tries += 1;
            assert!(tries < 600, "{}: it never came back", row.name);
        }
    }
    let times = scene.proxy.times(EXCHANGE);
    assert_eq!((times.len(), scene.proxy.bent(EXCHANGE)), (3, 1), "{}: one throttled, then each served", row.name);
    times[1] - times[0]
}

#[tokio::test]
async fn what_aws_says_of_the_next_try_is_read_from_its_answer_and_kept() {
    let rows = table();
    let gaps = join_all(rows.iter().map(second_call_after)).await;
    for (row, gap) in rows.iter().zip(gaps) {
        println!("F2 throttled, which {}: nothing for {:.1} s", row.name, gap.as_secs_f64());
        assert!(gap >= row.pause, "{}: called again after {gap:?}", row.name);
    }
}
