//! Waiting inside a call: the kubelet itself comes again only after a minute.

use std::sync::Arc;
use std::time::Duration;

use dra_driver::claim::ClaimRef;
use dra_driver::node::View;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::failure::Failure;
use super::queue::Turn;
use super::{MARGIN, Shared};

/// Between two attempts, if nothing is heard: other processes and device nodes send no word.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// After this time of waiting, the user is told what is waited for.
const TELL: Duration = Duration::from_secs(5);

/// Waiting for what stands in the way: until something changes, or for a pause that grows.
pub(super) struct Wait<'a> {
    shared: &'a Shared,
    claim: &'a ClaimRef,
    turn: Turn,
    views: watch::Receiver<Arc<View>>,
    freed: watch::Receiver<u64>,
    pause: Duration,
    pub(super) waited: Duration,
    told: bool,
    said: String,
}

impl<'a> Wait<'a> {
    pub(super) fn new(shared: &'a Shared, claim: &'a ClaimRef, turn: Turn) -> Self {
        let (views, freed) = (shared.node.changes(), shared.freed.subscribe());
        let (pause, waited) = (PAUSE.0, Duration::ZERO);
        Self { shared, claim, turn, views, freed, pause, waited, told: false, said: String::new() }
    }

    /// From now on changes count: what is read after this is new enough.
    pub(super) fn mark(&mut self) {
        self.views.mark_unchanged();
        self.freed.mark_unchanged();
    }

    /// How long it may still take.
    pub(super) fn left(&self) -> Duration {
        let until = *self.turn.deadline.borrow();
        until.saturating_duration_since(Instant::now()).saturating_sub(MARGIN)
    }

    /// Waits.
    ///
    /// # Errors
    /// The failure, when there is no time left.
    pub(super) async fn pause(&mut self, failure: Failure) -> Result<(), Failure> {
        let (left, start) = (self.left(), Instant::now());
        if left.is_zero() {
            return Err(failure);
        }
        let text = failure.to_string();
        if text != self.said {
            let (name, uid) = (self.claim.full_name(), &self.claim.uid);
            tracing::info!(claim = name, uid, holder_uid = failure.holder_uid(), reason = text, "waiting");
            self.said.clone_from(&text);
        }
        if self.waited >= TELL && !self.told {
            self.told = true;
            self.shared.tell(self.claim, true, "Waiting", "Waiting", format!("Still waiting. {text}"));
        }
        let jitter = Duration::from_secs_f64(self.pause.as_secs_f64() * (0.8 + 0.4 * fastrand::f64()));
        tokio::select! {
            () = self.turn.give_way.cancelled() => return Err(Failure::GaveWay { reason: text }),
            changed = self.views.changed() => {
                if changed.is_err() {
                    // The monitor has ended, and with it the program.
                    sleep(jitter.min(left)).await;
                }
            }
            _ = self.freed.changed() => {}
            () = sleep_until(start + jitter.min(left)) => self.pause = (self.pause * 2).min(PAUSE.1),
        }
        self.waited += start.elapsed();
        Ok(())
    }
}
