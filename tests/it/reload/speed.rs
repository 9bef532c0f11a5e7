//! How soon a role is refused that was taken away: from the file's change to the first 403, by the clock on the wall.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{by_rules, without_admin};
use crate::support::daemon::PATIENCE;
use crate::support::figures::Times;
use crate::support::scene::{Scene, token};

const PATH: &str = "/v1/credentials/default/admin";

/// So many changes each way. The machine may stand still in one or two of them.
const CHANGES: usize = 5;

/// Asks until the answer has this status, which all before it have not; the time since `changed`.
async fn until(scene: &Scene, status: u16, before: u16, changed: Instant) -> Duration {
    let alice = token("alice");
    loop {
        let reply = scene.ask(PATH, &alice).await;
        let took = changed.elapsed();
        if reply.status == status {
            return took;
        }
        assert_eq!(reply.status, before, "one or the other, and nothing between: {reply:?}");
        assert!(took < PATIENCE, "it is not in force:\n{}", scene.daemon.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Takes the role away and gives it back, again and again, each time by `change`; how long each refusal took.
async fn removals(scene: &Scene, change: impl Fn(&Scene, &str)) -> Times {
    let (with, without) = (scene.file(), without_admin(&scene.file()));
    assert_ne!(with, without);
    let mut times = Times::default();
    for _ in 0..CHANGES {
        assert_eq!(scene.ask(PATH, &token("alice")).await.status, 200);
        let changed = Instant::now();
        change(scene, &without);
        times.add(until(scene, 403, 200, changed).await);
        let changed = Instant::now();
        change(scene, &with);
        until(scene, 200, 403, changed).await;
    }
    times
}

#[tokio::test]
async fn a_removed_role_is_refused_within_a_second_of_the_signal() {
    let scene = Scene::edited("", "deny", |text, _| by_rules(&text)).await;
    let times = removals(&scene, |scene, text| {
        scene.put(text);
        scene.daemon.signal(Signal::HUP);
    })
    .await;
    println!("F12 from SIGHUP to the first refusal: {times}");
    assert!(times.percentile(50) < Duration::from_secs(1), "{times}");
}

#[tokio::test]
async fn a_removed_role_is_refused_within_a_second_of_the_new_file() {
    let scene = Scene::edited("", "deny", |text, _| by_rules(&text)).await;
    let times = removals(&scene, Scene::put).await;
    println!("F12 from the file to the first refusal: {times}");
    // The file is looked at every quarter of a second, and has to be the same at two looks.
    assert!(times.percentile(50) < Duration::from_secs(1), "{times}");
}

/// As kubelet swaps a ConfigMap: by a link.
#[tokio::test]
async fn a_removed_role_is_refused_within_a_second_of_the_swapped_config_map() {
    let scene = Scene::edited("", "deny", |text, dir| {
        fs::create_dir(dir.join("..0")).unwrap();
        symlink("..0", dir.join("..data")).unwrap();
        symlink("..data/cupbearer.toml", dir.join("cupbearer.toml")).unwrap();
        by_rules(&text)
    })
    .await;
    let swaps = std::cell::Cell::new(0);
    let times = removals(&scene, |scene, text| {
        swaps.set(swaps.get() + 1);
        let own = scene.path(&format!("..{}", swaps.get()));
        fs::create_dir(&own).unwrap();
        fs::write(own.join("cupbearer.toml"), text).unwrap();
        symlink(own.file_name().unwrap(), scene.path("..data_tmp")).unwrap();
        fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
    })
    .await;
    println!("F12 from the swapped ConfigMap to the first refusal: {times}");
    assert!(times.percentile(50) < Duration::from_secs(1), "{times}");
}
