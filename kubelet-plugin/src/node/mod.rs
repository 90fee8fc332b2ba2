//! The node's hardware, watched: NVML sessions, events, re-enumeration, published as one [`View`].

use std::sync::Arc;
use std::time::Duration;

use dra_driver::node::View;
use thiserror::Error;
use tokio::sync::watch;

/// Why the node's hardware gave no answer.
#[derive(Clone, Debug, Error)]
pub enum NodeError {
    /// NVML cannot be used at all.
    #[error("NVML cannot be used: {reason}")]
    NoNvml {
        /// Why, for people.
        reason: String,
    },
    /// The device does not answer, or not in time.
    #[error("{device} gives no answer: {reason}")]
    NoAnswer {
        /// The device.
        device: String,
        /// Why, for people.
        reason: String,
    },
}

/// The node's hardware. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Node {
    view: watch::Receiver<Arc<View>>,
}

impl Node {
    /// What is known now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// What is known, now and whenever it changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// The processes that NVML knows on a device. Blocks for at most `within`: not for the runtime's threads.
    ///
    /// # Errors
    /// Any [`NodeError`].
    pub fn processes(&self, device: &str, _within: Duration) -> Result<Vec<u32>, NodeError> {
        Err(NodeError::NoAnswer { device: device.to_owned(), reason: "not built yet".to_owned() })
    }
}
