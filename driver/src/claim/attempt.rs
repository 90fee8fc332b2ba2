//! An attempt to bring a claim to rest: locks its devices, reads, asks [`next`](super::next::next), carries out,
//! and so on. It blocks, for as long as effects take, and never waits for another claim, the API server or time.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use thiserror::Error;

use super::allocation::{Access, Allocation};
use super::journal::{Journal, OnDisk};
use super::locks::{Locked, Locks};
use super::next::{self, Effect, Holder, Look, Looked, Next, Reply, Seen, SpecSeen, Target};
use super::plan::Plan;
use super::record::{Record, Stage};
use super::refusal::Refusal;
use super::{ClaimRef, PreparedDevice, StateError};
use crate::cdi::folder::{Folder, FolderError, Stored};
use crate::cdi::nodes::NodeError;
use crate::cdi::spec::{DeviceNode, Spec};
use crate::cdi::{self, ClaimDevice};
use crate::node::{Epoch, View};

/// Why an attempt failed. What was done until then stays, and the next attempt goes on from there.
#[derive(Debug, Error)]
pub enum AttemptError {
    /// A file of the state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A CDI spec.
    #[error(transparent)]
    Cdi(#[from] FolderError),
}

/// Looks at a device in a way: the processes, or why nothing can be seen.
pub type Eyes<'a> = dyn Fn(&str, Look) -> Result<Vec<u32>, String> + 'a;

/// What attempts work on.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "functions have none")]
pub struct Edges<'a> {
    /// The driver's name.
    pub driver: &'a str,
    /// The records.
    pub journal: &'a Journal,
    /// The locks.
    pub locks: &'a Locks,
    /// The CDI specs.
    pub cdi: &'a Folder,
    /// The device node of the GPU with a minor number.
    pub node: &'a dyn Fn(u32) -> Result<DeviceNode, NodeError>,
    /// Looks who uses a device.
    pub look: &'a Eyes<'a>,
}

/// What is to be attempted.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The claim.
    pub claim: &'a ClaimRef,
    /// How it shall be.
    pub goal: Goal<'a>,
    /// What is known of the node.
    pub view: &'a View,
    /// The UIDs of claims of which the API server said that they are over, or have the devices in question no more.
    pub gone: &'a BTreeSet<String>,
    /// The time.
    pub now: Timestamp,
    /// The time since the machine started, in milliseconds.
    pub uptime_ms: u64,
}

/// How a claim shall be.
#[derive(Clone, Copy, Debug)]
pub enum Goal<'a> {
    /// Prepared as it is allocated.
    Prepared(&'a Allocation),
    /// Prepared as it was, since the API server cannot be asked.
    AsBefore,
    /// Nothing is left of it.
    Unprepared,
    /// Nothing is left of it, if its devices are idle.
    UndoneIfIdle,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum Outcome {
    /// The claim is prepared.
    Prepared(Vec<PreparedDevice>),
    /// Nothing is left of the claim.
    Unprepared,
    /// It cannot be done now.
    Blocked(Refusal),
    /// The claim is not prepared, and only an answer of the API server could say how to.
    NoRecord,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    /// It was looked who uses a device.
    Looked,
    /// A broken record was set aside.
    SetAside {
        /// Where it is now.
        path: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
    /// A plan was put into force.
    Intended,
    /// A CDI spec was written.
    WroteSpec,
    /// A claim is prepared.
    Finished,
    /// A prepared claim was verified in a new epoch.
    Renewed,
    /// Undoing began.
    BeganUndoing,
    /// A CDI spec was removed.
    RemovedSpec,
    /// A record was removed.
    Forgot,
    /// Devices were taken from a claim that is over.
    TookOver {
        /// Its UID.
        uid: String,
        /// The devices.
        devices: Vec<String>,
    },
}

/// What one step of an attempt led to.
#[derive(Debug)]
pub enum Step {
    /// Something was done, and there is more to do.
    Did(Did),
    /// The claim is at rest.
    Rest(Outcome),
    /// These devices have to be locked as well, all at once.
    Lock(BTreeSet<String>),
}

/// Attempts a job until it rests. Says also what was done, in order.
///
/// # Errors
/// Any [`AttemptError`], with what was done until then in `done`.
pub fn run(edges: Edges<'_>, job: Job<'_>, done: &mut Vec<Did>) -> Result<Outcome, AttemptError> {
    let mut devices = BTreeSet::new();
    loop {
        let locked = edges.locks.lock(&devices)?;
        let mut attempt = Attempt { edges, job, locked, looked: Looked::new() };
        loop {
            match attempt.step()? {
                Step::Did(did) => done.push(did),
                Step::Rest(outcome) => return Ok(outcome),
                Step::Lock(more) => {
                    devices.extend(more);
                    break;
                }
            }
        }
    }
}

/// An attempt, with the locks that it holds.
pub(super) struct Attempt<'a> {
    pub(super) edges: Edges<'a>,
    pub(super) job: Job<'a>,
    pub(super) locked: Locked<'a>,
    pub(super) looked: Looked,
}

impl Attempt<'_> {
    /// Reads all anew, and does one thing.
    pub(super) fn step(&mut self) -> Result<Step, AttemptError> {
        let Edges { journal, cdi, driver, .. } = self.edges;
        let (claim, uid) = (self.job.claim, self.job.claim.uid.as_str());
        let disk = journal.read(uid, &self.job.view.epoch.boot_id)?;
        let stored = cdi.read_claim(uid);
        let held = holds(&disk, &stored, uid);

        let mut needed: BTreeSet<_> = held.iter().map(|(device, _)| device.clone()).collect();
        if let Goal::Prepared(allocation) = self.job.goal {
            needed.extend(allocation.devices.iter().map(|asked| asked.device.clone()));
        }
        if !needed.iter().all(|device| self.locked.covers(device)) {
            return Ok(Step::Lock(needed));
        }

        let target = match self.target(&disk, &stored) {
            Some(Ok(target)) => target,
            Some(Err(refusal)) => return Ok(Step::Rest(Outcome::Blocked(refusal))),
            None => return Ok(Step::Rest(Outcome::NoRecord)),
        };
        let others = match &target {
            Some(target) => self.others(&target.record.plan)?,
            None => Vec::new(),
        };
        for holder in others.iter().filter(|holder| holder.gone) {
            if !holder.devices.iter().all(|device| self.locked.covers(device)) {
                return Ok(Step::Lock(holder.devices.iter().cloned().collect()));
            }
        }
        let spec = match (&stored, &target) {
            (Stored::Absent, _) => SpecSeen::Absent,
            (Stored::Present(spec), Some(target)) if *spec == target.spec => SpecSeen::Same,
            _ => SpecSeen::Different,
        };
        let wanted = match (&target, self.job.goal) {
            (Some(target), _) => next::Wanted::Prepared(target),
            (None, Goal::UndoneIfIdle) => next::Wanted::UndoneIfIdle,
            (None, _) => next::Wanted::Unprepared,
        };
        let seen = Seen { claim, disk: &disk, spec, held: &held, others: &others, looked: &self.looked };
        let effect = match next::next(wanted, seen) {
            Next::Do(effect) => effect,
            Next::Blocked(refusal) => return Ok(Step::Rest(Outcome::Blocked(refusal))),
            Next::Reply(reply) => {
                return Ok(Step::Rest(match reply {
                    Reply::Prepared(done) => Outcome::Prepared(done.answer.clone()),
                    Reply::PreparedByNewer(answer) => Outcome::Prepared(answer.to_vec()),
                    Reply::Unprepared => Outcome::Unprepared,
                }));
            }
        };
        Ok(Step::Did(match effect {
            Effect::Look(device, look) => {
                let seen = (self.edges.look)(device, look);
                let key = (device.to_owned(), look);
                self.looked.insert(key, seen);
                Did::Looked
            }
            Effect::SetAside => {
                let reason =
                    if let OnDisk::Broken(broken) = &disk { broken.reason.clone() } else { String::new() };
                Did::SetAside { path: journal.set_aside(uid)?, reason }
            }
            Effect::SaveIntent(target) => {
                self.enter(&target.record)?;
                journal.intend(&target.record)?;
                Did::Intended
            }
            Effect::WriteSpec(_in_force, spec) => {
                cdi.write_claim(uid, spec)?;
                Did::WroteSpec
            }
            Effect::SaveDone(intent) => {
                journal.finish(intent, intent.record.plan.answer(driver, uid))?;
                Did::Finished
            }
            Effect::Renew(done, target) => {
                journal.renew(done, &target.record.epoch, &target.record)?;
                Did::Renewed
            }
            Effect::SaveUndoing(record) => {
                journal.undo(record)?;
                Did::BeganUndoing
            }
            Effect::RemoveSpec => {
                cdi.remove_claim(uid)?;
                Did::RemovedSpec
            }
            Effect::RemoveRecord => {
                journal.remove(uid)?;
                Did::Forgot
            }
            Effect::RemoveSpecOf(holder) => {
                cdi.remove_claim(&holder.uid)?;
                if holder.record.is_some() { Did::RemovedSpec } else { took_over(holder) }
            }
            Effect::Bury(holder, record) => {
                journal.bury(record)?;
                took_over(holder)
            }
        }))
    }

    /// The claim as it shall be: None inside if nothing shall be left of it. None outside if only the record could
    /// say, and it does not.
    fn target(&self, disk: &OnDisk, stored: &Stored) -> Option<Result<Option<Target>, Refusal>> {
        let (claim, view) = (self.job.claim, self.job.view);
        let (hash, pods, plan, epoch) = match (self.job.goal, disk) {
            (Goal::Unprepared | Goal::UndoneIfIdle, _) => return Some(Ok(None)),
            (Goal::Prepared(allocation), OnDisk::Done(done))
                if done.intent.record.hash == allocation.hash =>
            {
                let record = &done.intent.record;
                (&record.hash, &record.pods, record.plan.again(claim, view), verified(&record.epoch, view))
            }
            (Goal::Prepared(allocation), OnDisk::Newer(_)) => {
                // It is answered from the record, so no plan is needed.
                (&allocation.hash, &allocation.pods, Ok(Plan::default()), view.epoch.clone())
            }
            (Goal::Prepared(allocation), _) => {
                (&allocation.hash, &allocation.pods, Plan::new(allocation, view), view.epoch.clone())
            }
            (Goal::AsBefore, OnDisk::Done(done)) => {
                let record = &done.intent.record;
                (&record.hash, &record.pods, record.plan.again(claim, view), verified(&record.epoch, view))
            }
            (Goal::AsBefore, OnDisk::Newer(newer)) => {
                (newer.hash.as_ref()?, &Vec::new(), Ok(Plan::default()), view.epoch.clone())
            }
            (Goal::AsBefore, _) => return None,
        };
        let target = plan.and_then(|plan| {
            let spec = self.spec(&plan)?;
            let record = Record {
                claim: claim.clone(),
                pods: pods.clone(),
                hash: hash.clone(),
                epoch,
                since: self.job.now,
                uptime_ms: if *stored == Stored::Absent { self.job.uptime_ms } else { 0 },
                plan,
                stage: Stage::Intent,
            };
            Ok(Some(Target { record, spec }))
        });
        Some(target)
    }

    fn spec(&self, plan: &Plan) -> Result<Spec, Refusal> {
        let mut devices: Vec<ClaimDevice> = Vec::new();
        for planned in &plan.devices {
            if devices.iter().any(|device| device.name == planned.device) {
                continue;
            }
            let node = (self.edges.node)(planned.minor)
                .map_err(|error| Refusal::device(self.job.claim, &planned.device, error))?;
            devices.push(ClaimDevice { name: planned.device.clone(), nodes: vec![node] });
        }
        Ok(cdi::claim_spec(self.edges.driver, &self.job.claim.uid, &devices))
    }

    /// Who else holds devices of the plan in a way that excludes it.
    fn others(&self, plan: &Plan) -> Result<Vec<Holder>, AttemptError> {
        let mut others: Vec<Holder> = Vec::new();
        for planned in plan.devices.iter().filter(|planned| planned.access != Access::Admin) {
            for uid in self.locked.holders(&planned.device)? {
                if uid == self.job.claim.uid || others.iter().any(|holder| holder.uid == uid) {
                    continue;
                }
                let disk = self.edges.journal.read(&uid, &self.job.view.epoch.boot_id)?;
                let stored = self.edges.cdi.read_claim(&uid);
                let held = holds(&disk, &stored, &uid);
                let unreadable = matches!(disk, OnDisk::Absent | OnDisk::Broken(_))
                    && matches!(stored, Stored::Damaged(_));
                let excludes = held
                    .iter()
                    .any(|(device, access)| *device == planned.device && access.excludes(planned.access));
                if !excludes && !unreadable {
                    continue;
                }
                let mut devices: BTreeSet<_> = held
                    .into_iter()
                    .filter(|(_, access)| *access != Access::Admin)
                    .map(|(device, _)| device)
                    .collect();
                devices.insert(planned.device.clone());
                others.push(Holder {
                    claim: disk.claim().cloned(),
                    devices: devices.into_iter().collect(),
                    record: disk.record().cloned(),
                    spec: stored != Stored::Absent,
                    newer: matches!(disk, OnDisk::Newer(_)),
                    gone: self.job.gone.contains(&uid),
                    uid,
                });
            }
        }
        Ok(others)
    }

    /// Enters the claim in the lists of its devices' holders, and takes those out of which nothing is left.
    fn enter(&self, record: &Record) -> Result<(), AttemptError> {
        for (device, access) in record.devices() {
            if access == Access::Admin {
                continue;
            }
            let mut holders = Vec::new();
            for uid in self.locked.holders(device)? {
                let disk = self.edges.journal.read(&uid, &self.job.view.epoch.boot_id)?;
                let left = !matches!(disk, OnDisk::Absent | OnDisk::Tombstone(_) | OnDisk::Void(_))
                    || self.edges.cdi.read_claim(&uid) != Stored::Absent;
                if left && uid != record.claim.uid {
                    holders.push(uid);
                }
            }
            holders.push(record.claim.uid.clone());
            self.locked.set_holders(device, &holders)?;
        }
        Ok(())
    }
}

/// Enters a claim in the lists of its devices' holders, from its record and spec, in case the lists were lost.
///
/// # Errors
/// A list cannot be written.
pub fn enlist(edges: Edges<'_>, uid: &str, boot_id: &str) -> Result<(), AttemptError> {
    let held = |edges: Edges<'_>| -> Result<BTreeSet<String>, AttemptError> {
        let disk = edges.journal.read(uid, boot_id)?;
        let held = holds(&disk, &edges.cdi.read_claim(uid), uid).into_iter();
        Ok(held.filter(|(_, access)| *access != Access::Admin).map(|(device, _)| device).collect())
    };
    let locked = edges.locks.lock(&held(edges)?)?;
    for device in held(edges)? {
        if !locked.covers(&device) {
            continue;
        }
        let mut holders = locked.holders(&device)?;
        if !holders.iter().any(|holder| holder == uid) {
            holders.push(uid.to_owned());
            locked.set_holders(&device, &holders)?;
        }
    }
    Ok(())
}

fn took_over(holder: &Holder) -> Did {
    Did::TookOver { uid: holder.uid.clone(), devices: holder.devices.clone() }
}

/// The epoch of a plan that was verified: this one, if it is known. Where NVML cannot be used, nothing was verified.
fn verified(recorded: &Epoch, view: &View) -> Epoch {
    if view.without_nvml.is_some() || view.epoch.driver_version.is_none() {
        recorded.clone()
    } else {
        view.epoch.clone()
    }
}

/// The devices that a claim holds: by its record or, without one, by its CDI spec.
fn holds(disk: &OnDisk, stored: &Stored, uid: &str) -> Vec<(String, Access)> {
    match (disk, stored) {
        (OnDisk::Absent | OnDisk::Broken(_), Stored::Present(spec)) => spec
            .devices
            .iter()
            .filter_map(|device| device.name.strip_prefix(uid)?.strip_prefix('-'))
            .map(|device| (device.to_owned(), Access::Exclusive))
            .collect(),
        _ => disk.holds(),
    }
}
