//! Claims: the shell around [`dra_driver::claim`]. It fetches claims, waits, keeps order, and lets the core carry
//! out effects.
//!
//! ```text
//! RPC ─▶ queue: one task per claim ─▶ work: GET claim ─▶ attempt (blocking, under the devices' locks) ─▶ answer
//!                                      ▲                    │ blocked
//!        view changes, unprepares ─────┴──── wait ◀─────────┘
//! ```

mod api;
mod descriptors;
mod failure;
mod ground;
mod index;
mod queue;
mod reconcile;
mod wait;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dra_driver::cdi::DriverFiles;
use dra_driver::claim::{ClaimRef, PreparedDevice};
use dra_runtime::events::Events;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, Outcome, Phase};
use crate::node::Node;
use ground::Ground;
use index::Index;
use queue::{Kind, Queue};

/// Before the deadline of a call, so that the reason is answered and not that it took too long.
const MARGIN: Duration = Duration::from_millis(300);

/// What preparing claims needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The driver's name.
    pub driver: String,
    /// The name of this node's Node object.
    pub node_name: String,
    /// The folder in which the driver's state folder lies.
    pub state_root: PathBuf,
    /// The folder of the CDI specs.
    pub cdi_root: PathBuf,
    /// What the kernel shows as `/proc`, with all processes of the host.
    pub procfs: PathBuf,
}

impl Settings {
    /// The name of the pool of this node's GPUs.
    fn pool(&self) -> String {
        format!("{}/gpu", self.node_name)
    }
}

/// Prepares and unprepares claims. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Claims {
    shared: Arc<Shared>,
}

/// What all tasks share.
struct Shared {
    settings: Settings,
    client: kube::Client,
    node: Node,
    files: DriverFiles,
    ground: Ground,
    queue: Queue,
    index: Index,
    /// Counts how often a claim was unprepared or undone, for those who wait for its devices.
    freed: watch::Sender<u64>,
    /// Whether the state of an earlier process was read.
    ready: watch::Sender<bool>,
    metrics: Metrics,
    events: Events,
    cancel: CancellationToken,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Claims {
    /// Reads the state of an earlier process in the background, and from then on takes calls and reconciles as long
    /// as it `owns` the node. Nothing keeps it from starting: what cannot be read or written now may be later.
    /// With `cancel` all waiting ends.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the program that is handed in once")]
    #[must_use]
    pub fn start(
        settings: Settings,
        client: kube::Client,
        node: Node,
        files: DriverFiles,
        owns: watch::Receiver<bool>,
        metrics: Metrics,
        events: Events,
        cancel: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            ground: Ground::new(&settings),
            index: Index::new(metrics.clone()),
            settings,
            client,
            node,
            files,
            queue: Queue::default(),
            freed: watch::Sender::new(0),
            ready: watch::Sender::new(false),
            metrics,
            events,
            cancel,
        });
        let show = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::select! {
                () = show.index.show() => {}
                () = show.cancel.cancelled() => {}
            }
        });
        tokio::spawn(reconcile::run(Arc::clone(&shared), owns));
        Self { shared }
    }

    /// Prepares claims. Each has its own answer under its UID: its devices, or why not, for the kubelet's Event.
    /// Answers before `deadline`, whatever happens. A call that is dropped is carried on, and the next one for the
    /// same claim joins it.
    pub async fn prepare(
        &self,
        claims: Vec<ClaimRef>,
        deadline: Instant,
    ) -> BTreeMap<String, Result<Vec<PreparedDevice>, String>> {
        self.all(Kind::Prepare, claims, deadline).await
    }

    /// Unprepares claims, each with its own answer under its UID. Answers before `deadline`.
    pub async fn unprepare(
        &self,
        claims: Vec<ClaimRef>,
        deadline: Instant,
    ) -> BTreeMap<String, Result<(), String>> {
        let answers = self.all(Kind::Unprepare, claims, deadline).await;
        answers.into_iter().map(|(uid, answer)| (uid, answer.map(drop))).collect()
    }

    async fn all(
        &self,
        kind: Kind,
        claims: Vec<ClaimRef>,
        deadline: Instant,
    ) -> BTreeMap<String, Result<Vec<PreparedDevice>, String>> {
        let start = Instant::now();
        let one = |claim: ClaimRef| async move {
            let uid = claim.uid.clone();
            let name = claim.full_name();
            let work = self.shared.submit(kind, claim, deadline);
            let answer = timeout_at(deadline, work).await.unwrap_or_else(|_late| {
                Err(format!(
                    "claim {name}: still at work when the kubelet's time was over (a file, a device's lock or NVML \
                     does not answer); the work goes on, and the kubelet's next call joins it"
                ))
            });
            let outcome = if answer.is_ok() { Outcome::Ok } else { Outcome::Error };
            match kind {
                Kind::Prepare => self.shared.metrics.prepare_took(Phase::Total, outcome, start.elapsed()),
                Kind::Unprepare => self.shared.metrics.unprepare_took(Phase::Total, outcome, start.elapsed()),
                Kind::Reconcile => {}
            }
            (uid, answer)
        };
        join_all(claims.into_iter().map(one)).await.into_iter().collect()
    }
}
