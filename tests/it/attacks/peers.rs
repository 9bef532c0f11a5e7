//! A token that fails on each of many connections (A20). On loopback each connection is a peer of its own, and one that has
//! not failed of late is judged, whatever others have brought: so much each connection costs, and nobody else pays for it.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::Ground;
use super::floods::{badly_signed, noticed, own_kid};
use crate::support::line::Line;
use crate::support::scene::stranger;
use crate::support::settings::PLENTY;

const CONNECTIONS: u32 = 600;
const NEWCOMERS: usize = 20;

/// What each of so many connections heard of the one bad token that it brought.
async fn scattered(ground: &Ground) -> BTreeMap<u16, u32> {
    let kid = own_kid();
    let lanes = (0..4).map(async |lane| {
        let mut heard = Vec::new();
        for number in (lane..CONNECTIONS).step_by(4) {
            let mut line = Line::open(ground.scene.http).await.unwrap();
            let reply = line.ask("/v1/credentials", &badly_signed(&ground.good, &kid, number)).await.unwrap();
            heard.push(reply.status);
        }
        heard
    });
    let mut counts = BTreeMap::new();
    join_all(lanes).await.into_iter().flatten().for_each(|status| *counts.entry(status).or_default() += 1);
    counts
}

/// What the first asks of so many users heard meanwhile.
async fn newcomers(ground: &Ground) -> Vec<u16> {
    let mut heard = Vec::new();
    for number in 0..NEWCOMERS {
        heard.push(ground.scene.ask("/v1/credentials", &stranger(&format!("newcomer-{number}"))).await.status);
    }
    heard
}

/// How many signatures were found to be bad.
async fn verified(ground: &Ground) -> f64 {
    ground.scene.metric("cupbearer_token_verifications_total{result=\"signature\"}").await
}

/// As long as all together fail no more than they may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_for_each_bad_token_costs_one_verification_and_nobody_else() {
    let mut ground = Ground::with(&format!("---{PLENTY}")).await;
    let before = verified(&ground).await;
    let attack = async { tokio::join!(scattered(&ground), newcomers(&ground)) };
    let (heard, new) = noticed(&ground, "A20, a connection for each bad signature", attack).await;
    assert_eq!(heard, BTreeMap::from([(401, CONNECTIONS)]), "A20: each is judged");
    assert_eq!(verified(&ground).await - before, f64::from(CONNECTIONS), "A20: and once");
    assert_eq!(new, [200; NEWCOMERS], "A20: first sights of good tokens");
    ground.after_calls("A20", heard.values().sum::<u32>() as usize, 2 * NEWCOMERS).await;
}

/// And when they fail more: who has not failed is still judged, but for the few who share both cells with one who has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_for_each_bad_token_does_not_close_the_door() {
    let more = format!("---{PLENTY}[limits]\nfailures_per_peer_per_second = 1\n");
    let mut ground = Ground::with(&more).await;
    let before = verified(&ground).await;
    let attack = async {
        let heard = scattered(&ground).await;
        (heard, newcomers(&ground).await)
    };
    let (heard, new) = noticed(&ground, "A20, more than all may fail together", attack).await;
    println!("A20: heard {heard:?}; newcomers heard {new:?}");
    let judged = heard[&401];
    assert_eq!(judged + heard.get(&429).unwrap_or(&0), CONNECTIONS, "A20: {heard:?}");
    assert!(judged >= CONNECTIONS - CONNECTIONS / 10, "A20: {heard:?}");
    assert_eq!(verified(&ground).await - before, f64::from(judged), "A20: who is refused costs nothing");
    let served = new.iter().filter(|status| **status == 200).count();
    assert!(served > NEWCOMERS / 2, "A20: {new:?}");
    ground.after_calls("A20", CONNECTIONS as usize, 2 * served).await;
}
