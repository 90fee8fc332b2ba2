//! The node's hardware, watched: NVML sessions, events, re-enumeration, published as one [`View`].
//!
//! ```text
//! library, PCI bus ──▶ ┐
//! pulses ────────────▶ ├─ monitor (a thread) ──▶ view ──▶ everybody
//! ears (event sets) ─▶ ┘        │
//!                               └── session: one lane for each GPU ◀── processes, figures
//! ```

mod connection;
mod known;
mod monitor;
pub mod report;
mod surroundings;

use std::sync::Arc;
use std::time::Duration;

use dra_driver::inventory::Roots;
use dra_driver::node::{Epoch, View};
use dra_driver::nvml::lane::LaneError;
use dra_driver::nvml::pulse::Figures;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, NvmlCall, NvmlCode};
use crate::yielding::Asked;
use connection::Shared;
use monitor::Monitor;

/// What watching the hardware needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the node's files are.
    pub roots: Roots,
    /// How long a GPU may take for its answers when the node is first looked at.
    pub gpu_timeout: Duration,
    /// Whether somebody asks the driver to keep away from the GPUs.
    pub asked_to_yield: watch::Receiver<Asked>,
}

/// Why the node's hardware is not watched.
#[derive(Debug, Error)]
pub enum StartError {
    /// The boot has no id.
    #[error("cannot read the boot's id: {0}; give the kernel's /proc with --procfs")]
    BootId(std::io::Error),
    /// No thread.
    #[error("cannot start the monitor's thread: {0}; check the limit on processes (pids cgroup, ulimit -u)")]
    Thread(std::io::Error),
}

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
    shared: Arc<Shared>,
    metrics: Metrics,
}

impl Node {
    /// Begins to watch, in a thread of its own. Returns at once: until NVML was asked, the view says so
    /// ([`View::was_asked`]). With `cancel` NVML is closed as far as it lets itself be closed; nothing waits for
    /// a GPU that hangs.
    ///
    /// # Errors
    /// Any [`StartError`].
    pub fn start(
        settings: Settings,
        metrics: Metrics,
        cancel: CancellationToken,
    ) -> Result<Self, StartError> {
        let epoch = Epoch::read(&settings.roots.procfs, None).map_err(StartError::BootId)?;
        let (sender, view) = watch::channel(Arc::new(View::not_asked(epoch)));
        let shared = Arc::new(Shared::default());
        Monitor::new(settings, Arc::clone(&shared), metrics.clone(), sender)
            .start(cancel)
            .map_err(StartError::Thread)?;
        Ok(Self { view, shared, metrics })
    }

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
    pub fn processes(&self, device: &str, within: Duration) -> Result<Vec<u32>, NodeError> {
        let no_answer = |reason: String| NodeError::NoAnswer { device: device.to_owned(), reason };
        let asked = self.shared.with(|connection| {
            let lane = connection.lane(device)?;
            Some(lane.submit_read("list the processes", within, |gpu| gpu.processes()))
        });
        let asked = asked.map_err(|reason| NodeError::NoNvml { reason })?;
        let asked = asked.ok_or_else(|| no_answer("NVML does not list it".to_owned()))?;
        match asked.and_then(|pending| pending.wait()) {
            Ok(Ok(processes)) => Ok(processes),
            Ok(Err(error)) => {
                let error = dra_driver::nvml::reading::CallError::from(error);
                self.metrics.nvml_error(NvmlCall::Processes, code_of_call(error.code));
                Err(no_answer(error.to_string()))
            }
            Err(error) => {
                self.metrics.nvml_error(NvmlCall::Processes, code_of_lane(&error));
                Err(no_answer(error.to_string()))
            }
        }
    }

    /// The figures of all GPUs that answer in time, all asked at once. Blocks for at most `within`: not for the
    /// runtime's threads.
    #[must_use]
    pub fn figures(&self, within: Duration) -> Vec<(String, Figures)> {
        let asked = self.shared.with(|connection| {
            let asked = connection.devices().filter_map(|(device, lane)| {
                let pending = lane.submit_read("read the figures", within, |gpu| gpu.figures());
                Some((device.to_owned(), pending.ok()?))
            });
            asked.collect::<Vec<_>>()
        });
        let asked = asked.unwrap_or_default().into_iter();
        asked
            .filter_map(|(device, pending)| match pending.wait() {
                Ok(figures) => Some((device, figures.ok()?)),
                Err(error) => {
                    self.metrics.nvml_error(NvmlCall::Figures, code_of_lane(&error));
                    None
                }
            })
            .collect()
    }
}

/// How a lane's silence is counted.
fn code_of_lane(error: &LaneError) -> NvmlCode {
    match error {
        LaneError::Timeout { .. } => NvmlCode::Timeout,
        LaneError::Busy { .. } => NvmlCode::Busy,
        LaneError::OutOfStep { .. }
        | LaneError::Panicked { .. }
        | LaneError::Closed { .. }
        | LaneError::NoThread { .. } => NvmlCode::Other,
    }
}

/// How NVML's refusal is counted.
fn code_of_call(code: Option<u32>) -> NvmlCode {
    code.map_or(NvmlCode::Other, NvmlCode::Returned)
}
