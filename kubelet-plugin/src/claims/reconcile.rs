//! Putting right what nobody calls for: records of claims that are over, CDI specs without records, records without
//! CDI specs. An API server that cannot be reached changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dra_driver::claim::allocation;
use dra_driver::claim::attempt::{self, Edges, Outcome};
use dra_driver::claim::journal::OnDisk;
use dra_driver::claim::{ClaimRef, StateError};
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::api::{self, Said};
use super::failure::Failure;
use super::index::Prepared;
use super::queue::Kind;
use super::work::Aim;

/// Between two looks at everything, give or take a fifth: nodes that started together shall not ask together.
const PERIOD: Duration = Duration::from_secs(600);
/// At the first look, up to this time passes: after a power failure all nodes start together.
const FIRST: Duration = Duration::from_secs(5);
/// How many claims are asked for at a time.
const AT_ONCE: usize = 4;
/// How long one GET may take.
const GET: Duration = Duration::from_secs(10);
/// How long, in seconds, the last error of a claim is kept of which nothing else is. Usually its unprepare comes first.
const OLD_ERROR: i64 = 24 * 3600;
/// How often the state is tried to be read at the start before calls are taken all the same.
const RETRIES: u32 = 3;

/// What is on this node.
#[derive(Debug, Default)]
struct Found {
    /// The claims that have a record or a CDI spec. Their names may be unknown.
    claims: BTreeMap<String, Option<ClaimRef>>,
    prepared: Vec<Prepared>,
}

/// Reads the state of an earlier process, then puts right what is wrong, now and from time to time, while this
/// process owns the node.
pub(super) async fn run(shared: Arc<Shared>, mut owns: watch::Receiver<bool>) {
    for _ in 0..RETRIES {
        match shared.find(true).await {
            Ok(_) => break,
            Err(error) => {
                tracing::error!(%error, "cannot read the state of an earlier process");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    shared.ready.send_replace(true);
    let mut pause = FIRST.mul_f64(fastrand::f64());
    loop {
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            () = sleep(pause) => {}
        }
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            owned = owns.wait_for(|owns| *owns) => if owned.is_err() { return },
        }
        shared.look_at_all().await;
        pause = PERIOD.mul_f64(0.8 + 0.4 * fastrand::f64());
    }
}

impl Shared {
    /// Looks at everything that is on this node.
    async fn look_at_all(self: &Arc<Self>) {
        let found = match self.find(false).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "cannot reconcile");
                return;
            }
        };
        self.index.replace(found.prepared);
        let claims = found.claims.into_iter().map(|(uid, claim)| {
            // The core needs a name only for texts.
            claim.unwrap_or_else(|| ClaimRef { namespace: String::new(), name: String::new(), uid })
        });
        stream::iter(claims)
            .for_each_concurrent(AT_ONCE, |claim| async move {
                // How it ended was logged.
                drop(self.submit(Kind::Reconcile, claim, Instant::now() + GET).await);
            })
            .await;
    }

    /// Lists what is on this node. With `enlist`, the lists of the devices' holders are put right as well.
    async fn find(self: &Arc<Self>, enlist: bool) -> Result<Found, StateError> {
        let shared = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || shared.find_blocking(enlist));
        task.await.unwrap_or_else(|_panic| Ok(Found::default()))
    }

    fn find_blocking(&self, enlist: bool) -> Result<Found, StateError> {
        let open = self.ground.open()?;
        let boot_id = self.node.view().epoch.boot_id.clone();
        let edges = Edges {
            driver: &self.settings.driver,
            journal: &open.journal,
            locks: &open.locks,
            cdi: &self.ground.cdi,
            node: &|minor| self.files.gpu_node(minor),
            look: &|_, _| Err("not looked at".to_owned()),
        };
        let mut uids: BTreeSet<_> = open.journal.claims()?.into_iter().collect();
        match self.ground.cdi.claims() {
            Ok(specs) => uids.extend(specs),
            Err(error) => tracing::warn!(%error, "cannot list the CDI specs"),
        }
        let mut found = Found::default();
        for uid in uids {
            let disk = match open.journal.read(&uid, &boot_id) {
                Ok(disk) => disk,
                Err(error) => {
                    tracing::warn!(%error, uid, "cannot read a record");
                    continue;
                }
            };
            if enlist && let Err(error) = attempt::enlist(edges, &uid, &boot_id) {
                tracing::warn!(%error, uid, "cannot note the devices of a claim");
            }
            if let OnDisk::Done(done) = &disk {
                let record = &done.intent.record;
                let devices = done.answer.iter().map(|device| (device.pool.clone(), device.device.clone()));
                found.prepared.push(Prepared {
                    claim: record.claim.clone(),
                    pods: record.pods.clone(),
                    devices: devices.collect(),
                });
            }
            let claim = disk.claim().filter(|claim| claim.uid == uid).cloned();
            found.claims.insert(uid, claim);
        }
        let old = Timestamp::now() - SignedDuration::from_secs(OLD_ERROR);
        if let Err(error) = self.ground.troubles.forget(old, |uid| found.claims.contains_key(uid)) {
            tracing::debug!(%error, "cannot forget old errors of claims");
        }
        if enlist {
            self.index.replace(found.prepared.clone());
        }
        Ok(found)
    }

    /// Puts right what is wrong with one claim, if it is known what is right.
    pub(super) async fn reconcile(self: &Arc<Self>, claim: ClaimRef) {
        let name = claim.full_name();
        let Some(aim) = self.wanted(&claim).await else { return };
        let undoing = matches!(aim, Aim::UndoneIfIdle | Aim::Unprepared);
        match self.attempt(&claim, aim, BTreeSet::new()).await {
            Ok(Outcome::Unprepared) if undoing => {
                tracing::info!(claim = name, uid = claim.uid, "undid what was left of a claim that is over");
            }
            Ok(Outcome::Blocked(refusal)) if undoing => {
                tracing::info!(claim = name, uid = claim.uid, %refusal, "left a claim that is over: not idle");
            }
            Ok(Outcome::Blocked(refusal)) => {
                let failure = Failure::from(refusal);
                self.metrics.error(failure.reason());
                tracing::warn!(claim = name, uid = claim.uid, error = %failure, "a prepared claim is broken");
                self.tell(&claim, true, "DeviceBroken", "Reconciling", failure.to_string());
            }
            Ok(_) => {}
            Err(failure) => {
                self.metrics.error(failure.reason());
                tracing::warn!(claim = name, uid = claim.uid, error = %failure, "cannot reconcile");
            }
        }
    }

    /// What is to become of a claim that has something on this node. None: it stays.
    async fn wanted(self: &Arc<Self>, claim: &ClaimRef) -> Option<Aim> {
        let (shared, uid) = (Arc::clone(self), claim.uid.clone());
        let read = tokio::task::spawn_blocking(move || {
            let open = shared.ground.open()?;
            let disk = open.journal.read(&uid, &shared.node.view().epoch.boot_id)?;
            Ok::<_, StateError>((disk, open.journal.was_set_aside(&uid)))
        });
        let (disk, set_aside) = read.await.ok()?.ok()?;
        match &disk {
            // A newer version's record is that version's.
            OnDisk::Newer(_) => return None,
            // Begun, and it does not matter for what.
            OnDisk::Undoing(_) => return Some(Aim::Unprepared),
            OnDisk::Void(_) => return Some(Aim::UndoneIfIdle),
            // Where the record was lost, the pods may live: idle devices prove nothing.
            OnDisk::Absent if set_aside => return None,
            OnDisk::Absent => return Some(Aim::UndoneIfIdle),
            OnDisk::Broken(broken) if broken.claim.as_ref().is_none_or(|read| read.uid != claim.uid) => {
                tracing::error!(uid = claim.uid, reason = broken.reason, "a record is broken");
                return None;
            }
            OnDisk::Broken(_) | OnDisk::Intent(_) | OnDisk::Done(_) | OnDisk::Tombstone(_) => {}
        }
        let found = match api::get(&self.client, claim, GET).await {
            Said::Claim(found) => found,
            Said::Gone => return Some(Aim::UndoneIfIdle),
            Said::Unreachable(reason) | Said::Refused(reason) => {
                tracing::debug!(claim = claim.full_name(), reason, "cannot reconcile");
                return None;
            }
        };
        let asked = allocation::read(&found, claim, &self.settings.driver, &self.settings.pool());
        match (asked, &disk) {
            (Ok(asked), OnDisk::Done(done)) if done.intent.record.hash == asked.hash => {
                Some(Aim::Prepared(Arc::new(asked)))
            }
            (Ok(asked), OnDisk::Broken(_)) if !asked.devices.is_empty() => {
                Some(Aim::Prepared(Arc::new(asked)))
            }
            // The kubelet calls again, to prepare or to unprepare.
            (Ok(asked), OnDisk::Intent(intent)) if intent.record.hash == asked.hash => None,
            // It may be of use: a claim that lives may come back to this node.
            (_, OnDisk::Tombstone(_)) if found.metadata.uid.as_deref() == Some(&claim.uid) => None,
            (Err(allocation::AllocationError::Config { .. }), _) => None,
            _ => Some(Aim::UndoneIfIdle),
        }
    }
}
