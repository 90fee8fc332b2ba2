//! What is to be done next for a claim, from what is on disk, what is wanted, what is seen, and who else holds its
//! devices.

use std::collections::BTreeMap;

use super::allocation::Access;
use super::journal::{Done, Intent, OnDisk, Saved};
use super::plan::Plan;
use super::record::{Newer, Record, SCHEMA};
use super::refusal::{Cause, HolderName, Refusal};
use super::{ClaimRef, PreparedDevice};
use crate::cdi::spec::Spec;

/// What shall be.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The claim is prepared like this.
    Prepared(&'a Target),
    /// Nothing is left of the claim: the kubelet says that its pods are over.
    Unprepared,
    /// Nothing is left of the claim, if nobody uses its devices: the API server says that it is over.
    UndoneIfIdle,
}

/// A claim as it shall be.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its record.
    pub record: Record,
    /// Its CDI spec.
    pub spec: Spec,
}

/// What there is.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The claim, for texts.
    pub claim: &'a ClaimRef,
    /// What is kept of the claim.
    pub disk: &'a OnDisk,
    /// Its CDI spec.
    pub spec: SpecSeen,
    /// The devices that disk or spec say it holds.
    pub held: &'a [(String, Access)],
    /// Other claims that hold wanted devices in a way that excludes this claim.
    pub others: &'a [Holder],
    /// Who uses devices, as far as it was looked.
    pub looked: &'a Looked,
}

/// A CDI spec, compared with the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecSeen {
    /// There is none.
    Absent,
    /// It is the wanted one.
    Same,
    /// There is another, or one that cannot be read.
    Different,
}

/// A claim that holds a device that another one wants.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Its UID.
    pub uid: String,
    /// The claim, where it is known.
    pub claim: Option<ClaimRef>,
    /// The devices that it holds, apart from those with admin access.
    pub devices: Vec<String>,
    /// Its record. None if only a CDI spec is left of it.
    pub record: Option<Record>,
    /// Whether it has a CDI spec.
    pub spec: bool,
    /// Whether its record is of a newer version, and so not to be touched.
    pub newer: bool,
    /// Whether the API server said that it is over, or that it has these devices no more.
    pub gone: bool,
}

/// How to look for users of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Processes that NVML knows on it.
    Processes,
    /// Processes with its device node open that started this many milliseconds after the machine, or later. What
    /// ran before a claim was prepared is no container of the claim: daemons that manage GPUs have all nodes open.
    Descriptors(u64),
}

/// What was seen where it was looked: the processes, or why nothing could be seen.
pub type Looked = BTreeMap<(String, Look), Result<Vec<u32>, String>>;

/// What is next.
#[derive(Debug)]
pub enum Next<'a> {
    /// Do this, and ask again.
    Do(Effect<'a>),
    /// Nothing can be done now, and nothing is half done that would have to be undone.
    Blocked(Refusal),
    /// It is as wanted.
    Reply(Reply<'a>),
}

/// A change of disk or hardware, or a look at it.
#[derive(Debug)]
pub enum Effect<'a> {
    /// Look who uses a device.
    Look(&'a str, Look),
    /// Give the broken record another name.
    SetAside,
    /// Put the plan into force.
    SaveIntent(&'a Target),
    /// Write the CDI spec.
    WriteSpec(&'a Saved<Intent>, &'a Spec),
    /// Note that the plan was carried out.
    SaveDone(&'a Saved<Intent>),
    /// Note that the plan was verified in this epoch.
    Renew(&'a Saved<Done>, &'a Target),
    /// Note that the plan is being undone.
    SaveUndoing(&'a Record),
    /// Remove the CDI spec.
    RemoveSpec,
    /// Forget the claim.
    RemoveRecord,
    /// Remove the CDI spec of a claim that is over.
    RemoveSpecOf(&'a Holder),
    /// Note that the devices of a claim that is over went to others.
    Bury(&'a Holder, &'a Record),
}

/// What is answered.
#[derive(Debug)]
pub enum Reply<'a> {
    /// The claim is prepared.
    Prepared(&'a Saved<Done>),
    /// The claim was prepared by a newer version.
    PreparedByNewer(&'a [PreparedDevice]),
    /// Nothing is left of the claim.
    Unprepared,
}

/// What is next for a claim.
#[must_use]
pub fn next<'a>(wanted: Wanted<'a>, seen: Seen<'a>) -> Next<'a> {
    match wanted {
        Wanted::Prepared(target) => prepare(target, seen),
        Wanted::Unprepared => unprepare(seen, false),
        Wanted::UndoneIfIdle => unprepare(seen, true),
    }
}

fn prepare<'a>(target: &'a Target, seen: Seen<'a>) -> Next<'a> {
    let wanted = &target.record;
    match seen.disk {
        OnDisk::Newer(newer) => match &newer.answer {
            Some(answer) if newer.hash.as_ref() == Some(&wanted.hash) => {
                Next::Reply(Reply::PreparedByNewer(answer))
            }
            _ => Next::Blocked(too_new(seen.claim, newer)),
        },
        OnDisk::Broken(_) => Next::Do(Effect::SetAside),
        OnDisk::Absent | OnDisk::Tombstone(_) | OnDisk::Void(_) => begin(target, seen),
        OnDisk::Undoing(_) => Next::Do(undo(seen)),
        OnDisk::Intent(intent) => {
            let record = &intent.record;
            if record.hash != wanted.hash || record.plan != wanted.plan || record.epoch != wanted.epoch {
                Next::Do(Effect::SaveUndoing(record))
            } else if seen.spec == SpecSeen::Same {
                Next::Do(Effect::SaveDone(intent))
            } else {
                Next::Do(Effect::WriteSpec(intent, &target.spec))
            }
        }
        OnDisk::Done(done) => {
            let record = &done.intent.record;
            if record.hash != wanted.hash {
                Next::Do(Effect::SaveUndoing(record))
            } else if record.plan != wanted.plan || record.epoch != wanted.epoch {
                Next::Do(Effect::Renew(done, target))
            } else if seen.spec == SpecSeen::Same {
                Next::Reply(Reply::Prepared(done))
            } else {
                Next::Do(Effect::WriteSpec(&done.intent, &target.spec))
            }
        }
    }
}

/// The first preparation: the devices have to be free.
fn begin<'a>(target: &'a Target, seen: Seen<'a>) -> Next<'a> {
    for holder in seen.others {
        if let Some(next) = take_over(&target.record.plan, holder, seen) {
            return next;
        }
    }
    // NVML's processes alone: whoever manages GPUs may have their nodes open. And not where the
    // claim's CDI spec shows that it has the device already, and only its record was lost: its pods run there.
    for planned in &target.record.plan.devices {
        let has = seen.held.iter().any(|(device, _)| *device == planned.device);
        if planned.access == Access::Exclusive
            && !has
            && let Some(next) = in_use(seen, &planned.device, &[Look::Processes])
        {
            return next;
        }
    }
    Next::Do(Effect::SaveIntent(target))
}

/// Takes the devices from a claim that is over. None if there is nothing to do.
///
/// All its devices have to be idle, since it is buried as a whole.
fn take_over<'a>(plan: &Plan, holder: &'a Holder, seen: Seen<'a>) -> Option<Next<'a>> {
    if !holder.gone || holder.newer {
        let wanted = plan.devices.iter().find(|planned| holder.devices.contains(&planned.device));
        return wanted.map(|planned| {
            let holder = HolderName::new(seen.claim, holder.claim.clone(), &holder.uid);
            Next::Blocked(Refusal::device(seen.claim, &planned.device, Cause::Held { holder }))
        });
    }
    let looks = looks(holder.record.as_ref());
    for device in &holder.devices {
        if let Some(next) = in_use(seen, device, &looks) {
            return Some(next);
        }
    }
    if holder.spec {
        return Some(Next::Do(Effect::RemoveSpecOf(holder)));
    }
    holder.record.as_ref().map(|record| Next::Do(Effect::Bury(holder, record)))
}

fn unprepare<'a>(seen: Seen<'a>, if_idle: bool) -> Next<'a> {
    match seen.disk {
        OnDisk::Newer(newer) => return Next::Blocked(too_new(seen.claim, newer)),
        OnDisk::Broken(_) => return Next::Do(Effect::SetAside),
        OnDisk::Absent if seen.spec == SpecSeen::Absent => return Next::Reply(Reply::Unprepared),
        OnDisk::Tombstone(_) => return Next::Do(Effect::RemoveRecord),
        OnDisk::Undoing(_) | OnDisk::Void(_) => return Next::Do(undo(seen)),
        OnDisk::Absent | OnDisk::Intent(_) | OnDisk::Done(_) => {}
    }
    if if_idle {
        for (device, access) in seen.held {
            if *access != Access::Admin
                && let Some(next) = in_use(seen, device, &looks(seen.disk.record()))
            {
                return next;
            }
        }
    }
    match seen.disk.record() {
        Some(record) => Next::Do(Effect::SaveUndoing(record)),
        None => Next::Do(Effect::RemoveSpec),
    }
}

/// How to look whether a claim's containers still use its devices.
fn looks(record: Option<&Record>) -> [Look; 2] {
    [Look::Processes, Look::Descriptors(record.map_or(0, |record| record.uptime_ms))]
}

/// The next effect of undoing: the spec first, since the record says that there may be one.
fn undo(seen: Seen<'_>) -> Effect<'_> {
    if seen.spec == SpecSeen::Absent { Effect::RemoveRecord } else { Effect::RemoveSpec }
}

/// A look at a device, or the refusal if it is in use. None if it is idle in all these ways.
fn in_use<'a>(seen: Seen<'a>, device: &'a str, looks: &[Look]) -> Option<Next<'a>> {
    for look in looks {
        let cause = match seen.looked.get(&(device.to_owned(), *look)) {
            None => return Some(Next::Do(Effect::Look(device, *look))),
            Some(Ok(pids)) if pids.is_empty() => continue,
            Some(Ok(pids)) => Cause::Busy { pids: pids.clone() },
            Some(Err(reason)) => Cause::Unseen { reason: reason.clone() },
        };
        return Some(Next::Blocked(Refusal::device(seen.claim, device, cause)));
    }
    None
}

fn too_new(claim: &ClaimRef, newer: &Newer) -> Refusal {
    Refusal::claim(claim, Cause::Newer { schema: newer.schema, known: SCHEMA })
}
