//! As many threads as a container may use processors, whatever the host has.

use crate::cage::Cage;
use crate::support::scene::{Scene, embedded, token};
use crate::support::settings::Settings;

#[tokio::test]
async fn threads_are_as_many_as_the_cgroup_may_use_processors() {
    let host = std::thread::available_parallelism().unwrap().get();
    for (percent, wanted) in [(50, 1), (100, 1), (250, host.min(2))] {
        let cage = Cage::of_cpu(percent);
        let proxy = embedded().await;
        let text = Settings::new(&proxy.url).text();
        let mut scene = Scene::started_by(proxy, &text, |arguments| cage.command(arguments)).await;
        scene.daemon.ready().await;
        assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
        let log = scene.daemon.log();
        assert!(
            log.contains(&format!("\"serving\",\"workers\":{wanted},")),
            "{percent} % of a processor, of {host}: {log}"
        );
        scene.daemon.terminate();
        scene.daemon.ended().await;
    }
}
