//! The machine's time zone changes nothing (F18): dates are in UTC, letter by letter.

use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use super::EXCHANGE;
use crate::support::fault::{Fault, now_seconds};
use crate::support::scene::{Scene, embedded, token};
use crate::support::settings::Settings;

/// What another program says of a time.
fn date(arguments: &[&str]) -> String {
    let done = Command::new("date").args(arguments).env("TZ", "UTC").env("LC_ALL", "C").output().unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A zone whose clocks go back an hour between now and the credentials' end, and one whose clocks go ahead then: the
/// night of the change is now (POSIX `TZ` with the rule in it: day of the year, counted from 0, and the hour).
fn changing_now(ends: i64) -> [String; 2] {
    let change = (now_seconds() + ends) / 2;
    let part = |format: &str| date(&["-d", &format!("@{change}"), format]);
    let day: i64 = part("+%-j").parse::<i64>().unwrap() - 1;
    let (hour, minute) = (part("+%-H"), part("+%M"));
    let other = (day + 180) % 365;
    // Standard time is UTC here, and summer time an hour ahead of it: a change out of it is told in summer time.
    let summer_hour = hour.parse::<i64>().unwrap() + 1;
    [format!("AAA0BBB,{other}/0,{day}/{summer_hour}:{minute}"), format!("AAA0BBB,{day}/{hour}:{minute},{other}/0")]
}

#[tokio::test]
async fn every_zone_and_the_night_of_the_change_say_the_same() {
    let ends = now_seconds() + 3_000;
    let expected = date(&["-d", &format!("@{ends}"), "+%Y-%m-%dT%H:%M:%SZ"]);
    let [back, ahead] = changing_now(ends);
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/St_Johns",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Australia/Lord_Howe",
        ":/etc/shadow",
        &back,
        &ahead,
    ];
    let said = join_all(zones.map(async |zone| {
        let proxy = embedded().await;
        let expires = Fault::json("a fixed end", move |body| body["Credentials"]["Expiration"] = json!(ends));
        proxy.bend(EXCHANGE, expires);
        let text = Settings::new(&proxy.url).text();
        let scene = Scene::before(proxy, &text, &[("TZ", zone)]).await;
        let reply = scene.ask("/v1/credentials", &token("alice")).await;
        assert_eq!(reply.status, 200, "{zone}: {reply:?}");
        let body = reply.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let updated = text("LastUpdated");
        let off = (date(&["-d", &updated, "+%s"]).parse::<i64>().unwrap() - now_seconds()).unsigned_abs();
        assert!(updated.ends_with('Z') && Duration::from_secs(off) < Duration::from_secs(60), "{zone}: {updated}");
        (zone, text("Expiration"))
    }))
    .await;
    println!("F18 {} zones, two of them in the night of a change: {expected}", said.len());
    for (zone, expiration) in said {
        assert_eq!(expiration, expected, "{zone}");
    }
}
