//! The attack table: who may want in or want others out, what they send, and what they hear, on the real program and real
//! sockets. Every file is a group of rows; `table` says where each is.

mod caller;
mod constant;
mod crossed;
mod figures;
mod floods;
mod forge;
mod frames;
mod heads;
mod messages;
mod paths;
mod peers;
mod pools;
mod readings;
mod slow;
mod surroundings;
mod table;
mod tenants;
mod tokens;
mod wire;

use std::time::{Duration, Instant};

use crate::grpc;
use crate::support::http;
use crate::support::proxy::Proxy;
use crate::support::scene::{Scene, token};
use crate::support::settings::Settings;

/// How much more memory an attack may leave behind, unless it says otherwise: more than what the allocator keeps of thousands
/// of answers at once, less than what the program has at rest.
const LEFT_BEHIND_KIB: u64 = 16 * 1024;

/// Rows that may leave more: hundreds of connections that are open at once, of whose pieces the allocator keeps a part.
const LEAVES_MORE_KIB: [(&str, u64); 1] = [("A39", 64 * 1024)];

/// The longest that memory may take to come back.
const COMES_BACK: Duration = Duration::from_secs(20);

/// A program under attack, and one honest caller.
pub struct Ground {
    pub scene: Scene,
    good: String,
    memory_kib: u64,
    calls: usize,
    vectors: usize,
}

impl Ground {
    async fn new() -> Self {
        Self::of(Scene::new().await).await
    }

    /// With more configuration, as `Settings::more` takes it.
    async fn with(more: &str) -> Self {
        Self::of(Scene::with(more, "authenticated_role").await).await
    }

    /// Before a proxy that was bent already.
    async fn before(proxy: Proxy, more: &str) -> Self {
        let text = Settings { more, ..Settings::new(&proxy.url) }.text();
        Self::of(Scene::before(proxy, &text, &[]).await).await
    }

    pub async fn of(scene: Scene) -> Self {
        let mut ground = Self { scene, good: token("alice"), memory_kib: 0, calls: 0, vectors: 0 };
        for _ in 0..3 {
            ground.is_served("before").await;
        }
        ground.memory_kib = ground.scene.daemon.memory_kib("VmRSS");
        ground.calls = ground.scene.proxy.calls_to_aws();
        ground
    }

    /// What has to be true after the row `row` of `vectors` inputs, none of which may have reached AWS.
    pub async fn after(&mut self, row: &str, vectors: usize) {
        self.after_calls(row, vectors, 0).await;
    }

    /// The same where the row makes so many calls to AWS, and no more.
    async fn after_calls(&mut self, row: &str, vectors: usize, calls: usize) {
        assert_eq!(self.scene.proxy.calls_to_aws() - self.calls, calls, "{row}: calls to AWS");
        self.is_served(row).await;
        assert_eq!(self.scene.metric("cupbearer_panics_total").await, 0.0, "{row}: {}", self.scene.daemon.log());
        let more = LEAVES_MORE_KIB.iter().find(|(name, _)| *name == row);
        let bound = self.memory_kib + more.map_or(LEFT_BEHIND_KIB, |(_, bound)| *bound);
        let started = Instant::now();
        while self.scene.daemon.memory_kib("VmRSS") > bound {
            let now = self.scene.daemon.memory_kib("VmRSS");
            assert!(started.elapsed() < COMES_BACK, "{row}: {} KiB before, {now} KiB now", self.memory_kib);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.calls = self.scene.proxy.calls_to_aws();
        self.vectors += vectors;
        assert!(vectors > 0, "{row} tried nothing");
    }

    /// The honest caller is served at every door.
    async fn is_served(&self, row: &str) {
        let reply = self.scene.ask("/v1/credentials", &self.good).await;
        assert_eq!(reply.status, 200, "{row}: the next good request: {reply:?}");
        let answer = grpc::ask(self.scene.grpc, &self.good, "", None).await;
        assert!(answer.is_ok(), "{row}: the next good call: {answer:?}");
        assert_eq!(http::get(self.scene.admin, "/livez", &[]).await.status, 200, "{row}");
    }

    /// How many inputs there were, for people.
    fn told(&self, rows: &str) {
        println!("{rows}: {} inputs, each answered as the table says", self.vectors);
    }
}
