//! A place where nobody may come: it counts those who do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The place; it is gone with the test.
pub struct Trap {
    pub address: SocketAddr,
    visits: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Trap {
    pub async fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visits);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { address, visits, _task: task }
    }

    /// How many came.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}
