//! Tasks that outlive their panics: caught, counted, told, and begun again with the state that they have.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::FutureExt;
use tracing::error;

use crate::metrics::Metrics;

/// A task that runs as long as the program does.
pub trait LongLived: Send {
    /// What the log calls it.
    const NAME: &'static str;

    /// Works until there is nothing to do any more. It may be begun again after a panic at any of its awaits or calls.
    fn work(&mut self) -> impl Future<Output = ()> + Send;

    /// Where panics are counted.
    fn metrics(&self) -> &Metrics;

    /// A panic has ended the work: drops what may be half done.
    fn fallen(&mut self) {}

    /// The work begins again.
    fn risen(&mut self) {}
}

/// The pause before work begins again, so that a panic that repeats itself does not take a processor.
pub const PAUSE: Duration = Duration::from_millis(500);

/// Runs `task` to its end, through all panics.
pub async fn supervise<T: LongLived>(mut task: T) {
    while AssertUnwindSafe(task.work()).catch_unwind().await.is_err() {
        task.metrics().panics.inc();
        error!(task = T::NAME, "a task panicked, which is a bug: it is begun again");
        if catch_unwind(AssertUnwindSafe(|| task.fallen())).is_err() {
            task.metrics().panics.inc();
        }
        tokio::time::sleep(PAUSE).await;
        task.risen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clumsy {
        metrics: Metrics,
        falls: u32,
        events: Vec<&'static str>,
        done: tokio::sync::oneshot::Sender<Vec<&'static str>>,
    }

    struct Wrapped(Option<Clumsy>);

    impl LongLived for Wrapped {
        const NAME: &'static str = "clumsy";

        async fn work(&mut self) {
            let Some(clumsy) = &mut self.0 else { return };
            clumsy.events.push("work");
            tokio::task::yield_now().await;
            if clumsy.falls > 0 {
                clumsy.falls -= 1;
                panic!("as the test wants it");
            }
            assert_eq!(clumsy.metrics.panics.get(), 4, "two of the work and two of what puts it right");
            if let Some(clumsy) = self.0.take() {
                clumsy.done.send(clumsy.events).unwrap();
            }
        }

        fn metrics(&self) -> &Metrics {
            &self.0.as_ref().unwrap().metrics
        }

        fn fallen(&mut self) {
            self.0.as_mut().unwrap().events.push("fallen");
            panic!("even this");
        }

        fn risen(&mut self) {
            self.0.as_mut().unwrap().events.push("risen");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_after_a_panic_with_what_it_had() {
        let (done, events) = tokio::sync::oneshot::channel();
        let started = tokio::time::Instant::now();
        let clumsy = Clumsy { metrics: Metrics::new("test").unwrap(), falls: 2, events: Vec::new(), done };
        supervise(Wrapped(Some(clumsy))).await;
        assert_eq!(events.await.unwrap(), ["work", "fallen", "risen", "work", "fallen", "risen", "work"]);
        assert_eq!(started.elapsed(), PAUSE * 2);
    }
}
