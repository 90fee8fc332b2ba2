//! A session with NVML, and the ears that hear of its GPUs' events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dra_driver::nvml::events::{Event, EventError, EventSet, Waited};
use dra_driver::nvml::lane::{Lane, LaneError};
use dra_driver::nvml::reading::CallError;
use dra_driver::nvml::session::{GpuContext, Session};
use thiserror::Error;

/// How long an ear listens before it looks whether it shall stop. NVML cannot be shut down meanwhile.
const LISTEN: Duration = Duration::from_millis(500);
/// How long making an ear may take, for each of its steps.
const SOON: Duration = Duration::from_secs(1);
/// How long NVML may take to shut down before it is left to itself.
const CLOSE: Duration = Duration::from_secs(2);

/// `nvmlEventTypeXidCriticalError`
pub(super) const XID: u64 = 0x8;
/// `nvmlEventTypeGpuUnavailableError`
const GPU_UNAVAILABLE: u64 = 0x4000;
/// `nvmlEventTypeGpuRecoveryAction`
const RECOVERY_ACTION: u64 = 0x8000;

/// The connection that there is, for all who ask GPUs. Held only for moments.
#[derive(Debug)]
pub(super) struct Shared(Mutex<Result<Arc<Connection>, String>>);

impl Default for Shared {
    fn default() -> Self {
        Self(Mutex::new(Err("it was not asked yet".to_owned())))
    }
}

impl Shared {
    /// Does something with the connection that does not wait. The error says why there is none.
    pub(super) fn with<T>(&self, use_it: impl FnOnce(&Connection) -> T) -> Result<T, String> {
        self.lock().as_deref().map(use_it).map_err(|reason: &String| reason.clone())
    }

    pub(super) fn set(&self, connection: Result<Arc<Connection>, String>) {
        *self.lock() = connection;
    }

    fn lock(&self) -> MutexGuard<'_, Result<Arc<Connection>, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session, with the names of its GPUs.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: Arc<Session>,
    /// Device names by the position of the lane. GPUs that do not say where they sit have none.
    pub(super) names: BTreeMap<usize, String>,
}

impl Connection {
    /// The lane of a device.
    pub(super) fn lane(&self, device: &str) -> Option<&Lane<GpuContext>> {
        self.devices().find_map(|(name, lane)| (name == device).then_some(lane))
    }

    /// The devices, each with its lane.
    pub(super) fn devices(&self) -> impl Iterator<Item = (&str, &Lane<GpuContext>)> {
        let gpus = self.session.gpus();
        self.names.iter().filter_map(|(position, name)| Some((name.as_str(), gpus.get(*position)?)))
    }
}

/// Closes the session, if nobody else uses it at this moment, and waits for that a little. What cannot be closed
/// closes itself when the calls that keep it open return; the error says what does.
pub(super) fn close(connection: Arc<Connection>) -> Result<(), String> {
    let Some(session) =
        Arc::into_inner(connection).and_then(|connection| Arc::into_inner(connection.session))
    else {
        tracing::debug!("NVML session is in use and closes itself");
        return Err("NVML is still in use by this program, and closes itself".to_owned());
    };
    session.close(CLOSE).map_err(|error| {
        tracing::warn!(%error, "NVML session not closed");
        error.to_string()
    })
}

/// What an ear tells.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something happened to the GPU.
    Event(Event),
    /// NVML says that the GPU is lost. The ear has ended.
    GpuLost,
    /// NVML does not let it listen any more. The ear has ended.
    Deaf(CallError),
}

/// Whose news it is: which connection, and which lane of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) connection: u64,
    pub(super) lane: usize,
}

/// Why a GPU's events are not heard.
#[derive(Debug, Error)]
pub(super) enum EarError {
    #[error(transparent)]
    Lane(#[from] LaneError),
    #[error(transparent)]
    Set(#[from] EventError),
    #[error("cannot register for events: {0}")]
    Register(CallError),
}

/// Listens to one GPU's events in a lane of its own, so that one that is lost or hangs deafens no other.
#[derive(Debug)]
pub(super) struct Ear {
    stop: Arc<AtomicBool>,
    _lane: Lane<EventSet>,
}

impl Ear {
    /// Begins to listen.
    pub(super) fn open(
        session: &Session,
        whose: Whose,
        name: &str,
        tell: SyncSender<(Whose, Heard)>,
    ) -> Result<Self, EarError> {
        let Some(gpu) = session.gpus().get(whose.lane) else {
            return Err(EarError::Register(CallError::of_code(6)));
        };
        let handle = gpu
            .read("share the handle", SOON, |gpu| gpu.share())?
            .map_err(|error| EarError::Register(error.into()))?;
        let lane = session.event_set(SOON)?;
        let name = name.to_owned();
        lane.read("register", SOON, move |set| {
            set.register(handle, &name, XID | GPU_UNAVAILABLE | RECOVERY_ACTION)
        })?
        .map_err(|error| EarError::Register(error.into()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told_to_stop = Arc::clone(&stop);
        // Nobody waits for this call: it runs as long as the ear.
        drop(lane.submit_read("listen", LISTEN, move |set| {
            while !told_to_stop.load(Ordering::Relaxed) {
                let heard = match set.wait(LISTEN) {
                    Ok(Waited::Nothing) => continue,
                    Ok(Waited::Event(event)) => Heard::Event(event),
                    Ok(Waited::GpuLost) => Heard::GpuLost,
                    Err(error) => Heard::Deaf(error),
                };
                let last = !matches!(heard, Heard::Event(_));
                if tell.send((whose, heard)).is_err() || last {
                    return;
                }
            }
        })?);
        Ok(Self { stop, _lane: lane })
    }
}

impl Drop for Ear {
    /// The lane ends after the wait that it is in.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
