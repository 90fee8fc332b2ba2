//! The work for one claim: get it, attempt, wait, attempt again.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dra_driver::claim::allocation::{self, Allocation, AllocationError};
use dra_driver::claim::attempt::{self, Did, Edges, Goal, Job, Outcome};
use dra_driver::claim::journal::OnDisk;
use dra_driver::claim::next::Look;
use dra_driver::claim::refusal::{Cause, HolderName};
use dra_driver::claim::troubles::Trouble;
use dra_driver::claim::{ClaimRef, PreparedDevice, is_uid};
use dra_driver::node::View;
use dra_runtime::events::Event;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::time::{Instant, sleep, timeout};

use super::api::{self, Said};
use super::failure::Failure;
use super::index::Prepared;
use super::queue::{Answer, Kind, Turn};
use super::wait::Wait;
use super::{Shared, descriptors};
use crate::metrics::{self, Phase, Reason};

/// How long one GET may take.
const GET: Duration = Duration::from_secs(5);
/// The shortest time for a GET: at the end of the time there is, what the API server says still counts more than that it
/// was not heard.
const SHORTEST_GET: Duration = Duration::from_secs(1);
/// How long one GET may take where the record can answer instead.
const GET_WITH_RECORD: Duration = Duration::from_secs(2);
/// After this time of waiting, the claim is got anew: it may have changed.
const STALE: Duration = Duration::from_secs(5);
/// Between an answer of the API server that would be final, and asking again to be sure.
const SURE: Duration = Duration::from_millis(250);
/// How long NVML may take to list a device's processes.
const PROCESSES: Duration = Duration::from_secs(2);

/// What an attempt shall bring about, with what it owns.
#[derive(Clone, Debug)]
pub(super) enum Aim {
    Prepared(Arc<Allocation>),
    AsBefore,
    Unprepared,
    UndoneIfIdle,
}

impl Shared {
    /// Puts work for a claim in the queue, or joins the one that is there.
    pub(super) fn submit(
        self: &Arc<Self>,
        kind: Kind,
        claim: ClaimRef,
        deadline: Instant,
    ) -> SharedFuture<BoxFuture<'static, Answer>> {
        if !is_uid(&claim.uid) {
            let failure = Failure::Uid { claim: claim.full_name(), uid: claim.uid };
            self.metrics.error(failure.reason());
            return std::future::ready(Err(failure.to_string())).boxed().shared();
        }
        let (shared, uid) = (Arc::clone(self), claim.uid.clone());
        let (metrics, defect) = (self.metrics.clone(), Failure::Defect { claim: claim.full_name() });
        let defect = move || {
            metrics.error(Reason::Internal);
            Err(defect.to_string())
        };
        self.queue.submit(&uid, kind, deadline, &self.cancel, defect, |turn| async move {
            // Nothing is decided before the state of an earlier process is known.
            let _ = shared.ready.subscribe().wait_for(|ready| *ready).await;
            match kind {
                Kind::Prepare => shared.prepare(claim, turn).await,
                Kind::Unprepare => shared.unprepare(claim, turn).await,
                Kind::Reconcile => {
                    shared.reconcile(claim).await;
                    Ok(Vec::new())
                }
            }
        })
    }

    async fn prepare(self: Arc<Self>, claim: ClaimRef, turn: Turn) -> Answer {
        let start = Instant::now();
        let mut wait = Wait::new(&self, &claim, turn);
        let mut got: Option<(Arc<Allocation>, Instant)> = None;
        let mut sure = false;
        let done = loop {
            wait.mark();
            // At the end there is no time to get it anew, and what is known has the better reason.
            let late = wait.left() < GET_WITH_RECORD;
            let known = got.as_ref().filter(|(_, at)| late || at.elapsed() < STALE);
            let aim = match known {
                Some((allocation, _)) => Ok(Aim::Prepared(Arc::clone(allocation))),
                None => self.aim(&claim, wait.left()).await,
            };
            if let Ok(Aim::Prepared(allocation)) = &aim
                && known.is_none()
            {
                got = Some((Arc::clone(allocation), Instant::now()));
            }
            let tried = match aim {
                Ok(aim) => self.try_prepare(&claim, aim).await,
                Err(failure) => Err(failure),
            };
            let failure = match tried {
                Ok(devices) => break Ok(devices),
                Err(failure) => failure,
            };
            let changed = matches!(
                &failure,
                Failure::ClaimGone { .. }
                    | Failure::Allocation(
                        AllocationError::Replaced { .. } | AllocationError::NotAllocated { .. }
                    )
            );
            if changed && !sure {
                (sure, got) = (true, None);
                sleep(SURE).await;
                continue;
            }
            if !failure.may_pass() {
                break Err(failure);
            }
            if let Err(failure) = wait.pause(failure).await {
                break Err(failure);
            }
        };
        let waited = wait.waited;
        self.metrics.prepare_took(Phase::Wait, outcome(&done), waited);
        match done {
            Ok(devices) => {
                let names: Vec<_> = devices.iter().map(|device| device.device.as_str()).collect();
                tracing::info!(
                    claim = claim.full_name(),
                    uid = claim.uid,
                    devices = names.join(","),
                    took_ms = milliseconds(start.elapsed()),
                    "prepared"
                );
                Ok(devices)
            }
            Err(failure) => {
                self.failed(&claim, "cannot prepare", "Preparing", "PrepareFailed", &failure).await;
                Err(failure.to_string())
            }
        }
    }

    /// What the API server wants of the claim, or that only the record can say.
    async fn aim(self: &Arc<Self>, claim: &ClaimRef, left: Duration) -> Result<Aim, Failure> {
        let start = Instant::now();
        let name = claim.full_name();
        let mut get = pin!(api::get(&self.client, claim, GET.min(left).max(SHORTEST_GET)));
        let said = match timeout(GET_WITH_RECORD, &mut get).await {
            Ok(said) => said,
            Err(_elapsed) if self.recorded(claim).await => Said::Unreachable(format!(
                "the API server gave no answer within {} s",
                GET_WITH_RECORD.as_secs()
            )),
            Err(_elapsed) => get.await,
        };
        let aim = match said {
            Said::Claim(found) => {
                let pool = self.settings.pool();
                let read = allocation::read(&found, claim, &self.settings.driver, &pool);
                read.map(|allocation| Aim::Prepared(Arc::new(allocation))).map_err(Failure::from)
            }
            Said::Gone => Err(Failure::ClaimGone { claim: name }),
            Said::Unreachable(reason) if self.recorded(claim).await => {
                tracing::warn!(claim = name, uid = claim.uid, reason, "answering from the record alone");
                Ok(Aim::AsBefore)
            }
            Said::Unreachable(reason) | Said::Refused(reason) => Err(Failure::Api { claim: name, reason }),
        };
        self.metrics.prepare_took(Phase::GetClaim, outcome(&aim), start.elapsed());
        aim
    }

    /// Whether the claim's record can answer. A hint: what counts is read under the locks.
    async fn recorded(self: &Arc<Self>, claim: &ClaimRef) -> bool {
        let (shared, uid) = (Arc::clone(self), claim.uid.clone());
        let read = tokio::task::spawn_blocking(move || {
            let boot_id = &shared.node.view().epoch.boot_id;
            let open = shared.ground.open()?;
            open.journal.read(&uid, boot_id)
        });
        matches!(read.await, Ok(Ok(OnDisk::Done(_) | OnDisk::Newer(_))))
    }

    /// Attempts until it is done, or something stands in the way that is not over.
    async fn try_prepare(
        self: &Arc<Self>,
        claim: &ClaimRef,
        aim: Aim,
    ) -> Result<Vec<PreparedDevice>, Failure> {
        let mut gone = BTreeSet::new();
        if let Aim::Prepared(allocation) = &aim
            && allocation.devices.is_empty()
        {
            // It may have had devices here under the same UID.
            self.attempt(claim, Aim::Unprepared, gone).await?;
            return Ok(Vec::new());
        }
        loop {
            match self.attempt(claim, aim.clone(), gone.clone()).await? {
                Outcome::Prepared(devices) => return Ok(devices),
                Outcome::Blocked(refusal) => match (&*refusal.cause, &refusal.device) {
                    (Cause::Held { holder }, Some(device))
                        if !gone.contains(&holder.uid) && self.is_over(holder, device).await =>
                    {
                        gone.insert(holder.uid.clone());
                    }
                    _ => return Err(refusal.into()),
                },
                Outcome::NoRecord | Outcome::Unprepared => {
                    let reason = "and its record on this node cannot answer any more".to_owned();
                    return Err(Failure::Api { claim: claim.full_name(), reason });
                }
            }
        }
    }

    /// Whether the API server says that a claim has a device of ours no more. Of a claim of which not even the name
    /// is known, what it says is that the device is another's.
    async fn is_over(&self, holder: &HolderName, device: &str) -> bool {
        let Some(claim) = &holder.claim else { return true };
        match api::get(&self.client, claim, GET_WITH_RECORD).await {
            Said::Gone => true,
            Said::Claim(found) => {
                !allocation::gives(&found, &holder.uid, &self.settings.driver, &self.settings.pool(), device)
            }
            Said::Unreachable(_) | Said::Refused(_) => false,
        }
    }

    async fn unprepare(self: Arc<Self>, claim: ClaimRef, turn: Turn) -> Answer {
        let start = Instant::now();
        let mut wait = Wait::new(&self, &claim, turn);
        let failure = loop {
            wait.mark();
            let failure = match self.attempt(&claim, Aim::Unprepared, BTreeSet::new()).await {
                Ok(Outcome::Unprepared) => {
                    let took_ms = milliseconds(start.elapsed());
                    tracing::info!(claim = claim.full_name(), uid = claim.uid, took_ms, "unprepared");
                    return Ok(Vec::new());
                }
                Ok(Outcome::Blocked(refusal)) => Failure::from(refusal),
                Ok(Outcome::Prepared(_) | Outcome::NoRecord) => Failure::Defect { claim: claim.full_name() },
                Err(failure) => failure,
            };
            if !failure.may_pass() {
                break failure;
            }
            if let Err(failure) = wait.pause(failure).await {
                break failure;
            }
        };
        self.failed(&claim, "cannot unprepare", "Unpreparing", "UnprepareFailed", &failure).await;
        Err(failure.to_string())
    }

    /// One attempt in a thread that may block, and what follows from what it did.
    pub(super) async fn attempt(
        self: &Arc<Self>,
        claim: &ClaimRef,
        aim: Aim,
        gone: BTreeSet<String>,
    ) -> Result<Outcome, Failure> {
        let start = Instant::now();
        let (shared, of) = (Arc::clone(self), claim.clone());
        let undoing = matches!(aim, Aim::Unprepared | Aim::UndoneIfIdle);
        let task = tokio::task::spawn_blocking(move || {
            let mut done = Vec::new();
            let outcome = shared.attempt_blocking(&of, &aim, &gone, &mut done);
            shared.note(&of, &aim, &outcome, &done);
            outcome
        });
        let attempted = task.await.unwrap_or_else(|_panic| Err(Failure::Defect { claim: claim.full_name() }));
        let took = match undoing {
            true => metrics::Metrics::unprepare_took,
            false => metrics::Metrics::prepare_took,
        };
        took(&self.metrics, Phase::Effects, outcome(&attempted), start.elapsed());
        attempted
    }

    fn attempt_blocking(
        &self,
        claim: &ClaimRef,
        aim: &Aim,
        gone: &BTreeSet<String>,
        done: &mut Vec<Did>,
    ) -> Result<Outcome, Failure> {
        let goal = match aim {
            Aim::Prepared(allocation) => Goal::Prepared(allocation),
            Aim::AsBefore => Goal::AsBefore,
            Aim::Unprepared => Goal::Unprepared,
            Aim::UndoneIfIdle => Goal::UndoneIfIdle,
        };
        let open = self.ground.open().map_err(|error| Failure::state(claim, error))?;
        if let Aim::Prepared(_) | Aim::AsBefore = aim {
            self.files
                .ensure(&self.ground.cdi)
                .map_err(|source| Failure::Files { claim: claim.full_name(), source })?;
        }
        let view = self.node.view();
        let edges = Edges {
            driver: &self.settings.driver,
            journal: &open.journal,
            locks: &open.locks,
            cdi: &self.ground.cdi,
            node: &|minor| self.files.gpu_node(minor),
            look: &|device, look| self.look(&view, device, look),
        };
        let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let uptime_ms = u64::try_from(uptime.tv_sec * 1000 + uptime.tv_nsec / 1_000_000).unwrap_or_default();
        let job = Job { claim, goal, view: &view, gone, now: Timestamp::now(), uptime_ms };
        attempt::run(edges, job, done).map_err(|source| Failure::Attempt { claim: claim.full_name(), source })
    }

    fn look(&self, view: &View, device: &str, look: Look) -> Result<Vec<u32>, String> {
        match look {
            Look::Processes => self.node.processes(device, PROCESSES).map_err(|error| error.to_string()),
            Look::Descriptors(since_ms) => {
                let minor = view.gpu(device).and_then(|gpu| gpu.minor);
                let minor = minor.ok_or("its GPU is gone; look after the GPU".to_owned())?;
                let node = self.files.gpu_node(minor).map_err(|error| error.to_string())?;
                let procfs = &self.settings.procfs;
                descriptors::open_by(procfs, (node.major, node.minor), since_ms).map_err(|error| {
                    format!(
                        "the processes in {} cannot be seen: {error}; run the plugin's pod with hostPID and \
                         CAP_SYS_PTRACE, or set --processes (PROCESSES_ROOT)",
                        procfs.display()
                    )
                })
            }
        }
    }

    /// What follows from an attempt: log, Events, metrics, and word to those who wait.
    fn note(&self, claim: &ClaimRef, aim: &Aim, outcome: &Result<Outcome, Failure>, done: &[Did]) {
        let name = claim.full_name();
        for did in done {
            match did {
                Did::SetAside { path, reason } => {
                    let path = path.display();
                    tracing::error!(claim = name, uid = claim.uid, %path, reason, "set a broken record aside");
                    self.metrics.error(Reason::Files);
                    self.tell(claim, true, "RecordBroken", "Reading", format!(
                        "The driver's record of this claim on node {} was broken ({reason}). It is made anew from the \
                         API server and the CDI spec.", self.settings.node_name,
                    ));
                }
                Did::TookOver { uid, devices } => {
                    tracing::warn!(
                        claim = name,
                        uid = claim.uid,
                        old_uid = uid,
                        devices = devices.join(","),
                        "took the devices of a claim that is over and was not unprepared"
                    );
                    self.index.remove(uid);
                    self.freed.send_modify(|count| *count += 1);
                }
                Did::Renewed => {
                    tracing::info!(
                        claim = name,
                        uid = claim.uid,
                        "verified for the driver that is loaded now"
                    );
                }
                Did::BeganUndoing if matches!(aim, Aim::Prepared(_)) => {
                    tracing::info!(
                        claim = name,
                        uid = claim.uid,
                        "undoing what an earlier allocation needed"
                    );
                }
                Did::Looked
                | Did::Intended
                | Did::WroteSpec
                | Did::Finished
                | Did::BeganUndoing
                | Did::RemovedSpec
                | Did::Forgot => {}
            }
        }
        match outcome {
            Ok(Outcome::Prepared(devices)) => {
                let pods =
                    if let Aim::Prepared(allocation) = aim { allocation.pods.clone() } else { Vec::new() };
                let devices = devices.iter().map(|device| (device.pool.clone(), device.device.clone()));
                self.index.insert(Prepared { claim: claim.clone(), pods, devices: devices.collect() });
            }
            Ok(Outcome::Unprepared) => {
                self.index.remove(&claim.uid);
                self.freed.send_modify(|count| *count += 1);
            }
            _ => {}
        }
        if matches!(outcome, Ok(Outcome::Prepared(_) | Outcome::Unprepared))
            && let Err(error) = self.ground.troubles.clear(&claim.uid)
        {
            tracing::debug!(%error, "cannot forget a claim's last error");
        }
    }

    /// Tells everybody about a failure.
    async fn failed(
        self: &Arc<Self>,
        claim: &ClaimRef,
        what: &'static str,
        action: &'static str,
        event: &'static str,
        failure: &Failure,
    ) {
        self.metrics.error(failure.reason());
        let (name, device, holder_uid) = (claim.full_name(), failure.device(), failure.holder_uid());
        tracing::warn!(claim = name, uid = claim.uid, device, holder_uid, error = %failure, "{what}");
        self.tell(claim, true, event, action, failure.to_string());
        let trouble = Trouble { claim: claim.clone(), at: Timestamp::now(), error: failure.to_string() };
        let shared = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || shared.ground.troubles.note(&trouble)).await;
        if let Ok(Err(error)) = noted {
            tracing::debug!(%error, "cannot note a claim's last error");
        }
    }

    /// An Event about a claim. It names nothing outside the claim's namespace.
    pub(super) fn tell(
        &self,
        claim: &ClaimRef,
        warning: bool,
        reason: &'static str,
        action: &'static str,
        note: String,
    ) {
        let about = ObjectReference {
            api_version: Some("resource.k8s.io/v1".to_owned()),
            kind: Some("ResourceClaim".to_owned()),
            namespace: Some(claim.namespace.clone()),
            name: Some(claim.name.clone()),
            uid: Some(claim.uid.clone()),
            ..ObjectReference::default()
        };
        self.events.send(Event { about, warning, reason, action, note });
    }
}

/// For the log: to the microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn outcome<T, E>(result: &Result<T, E>) -> metrics::Outcome {
    if result.is_ok() { metrics::Outcome::Ok } else { metrics::Outcome::Error }
}
