//! A node in miniature for tests of the core: real files on a tmpfs, and all else as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use tempfile::TempDir;

use super::allocation::{Access, Allocation, Asked};
use super::attempt::{self, Attempt, Did, Edges, Goal, Job, Outcome, Step};
use super::journal::{Journal, OnDisk};
use super::locks::Locks;
use super::next::{Look, Looked};
use super::refusal::Cause;
use super::{ClaimRef, PreparedDevice};
use crate::cdi::folder::{Folder, Stored};
use crate::cdi::spec::DeviceNode;
use crate::config::Settings;
use crate::health::Class;
use crate::inventory::{Gpu, Inventory};
use crate::node::{Epoch, View};

pub(super) const DRIVER: &str = "test.example";
pub(super) const POOL: &str = "node-1/gpu";
pub(super) const GPUS: [&str; 3] = ["gpu-0000-1b-00-0", "gpu-0000-43-00-0", "gpu-0000-52-00-0"];

/// How many claims there are at most.
pub(super) const CLAIMS: usize = 4;

/// What the kubelet was told, and what the processes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Prepare(usize),
    Unprepare(usize),
    Reconcile(usize),
}

/// The process was killed before it came to rest.
#[derive(Debug)]
pub(super) struct Killed;

pub(super) struct World {
    folder: TempDir,
    pub(super) journal: Journal,
    pub(super) cdi: Folder,
    locks: Locks,
    pub(super) view: View,
    /// Processes on devices, by NVML.
    pub(super) users: BTreeMap<String, Vec<u32>>,
    /// Processes with device nodes open.
    pub(super) open: BTreeMap<String, Vec<u32>>,
    /// The claims as the API server has them, by number. None inside: not allocated to this node.
    pub(super) api: BTreeMap<usize, Option<Allocation>>,
    pub(super) api_down: bool,
    /// What each claim was allocated last.
    hashes: BTreeMap<usize, String>,
    /// Minor numbers without node.
    pub(super) missing: BTreeSet<u32>,
    /// What the kubelet was answered for claims that it has not unprepared, in this boot.
    pub(super) answers: BTreeMap<usize, Vec<PreparedDevice>>,
    /// Claims whose files were damaged from outside.
    pub(super) damaged: BTreeSet<usize>,
    /// Steps until the process is killed.
    pub(super) fuse: Option<usize>,
    pub(super) steps: usize,
    /// Whether the kubelet calls again at once when the process was killed, or goes on with something else.
    pub(super) retries: bool,
}

pub(super) fn claim(number: usize) -> ClaimRef {
    ClaimRef {
        namespace: format!("team-{}", number % 2),
        name: format!("claim-{number}"),
        uid: format!("uid-{number}"),
    }
}

pub(super) fn gpu(device: &str, uuid: &str, minor: u32) -> Gpu {
    Gpu {
        name: Some(device.to_owned()),
        usable: true,
        uuid: Some(uuid.to_owned()),
        minor: Some(minor),
        ..Gpu::default()
    }
}

impl World {
    pub(super) fn new() -> Self {
        let shm = Path::new("/dev/shm");
        let folder = if shm.is_dir() { TempDir::new_in(shm) } else { TempDir::new() }.unwrap();
        let gpus = GPUS.iter().zip(0..).map(|(device, minor)| gpu(device, &format!("GPU-{minor}"), minor));
        let view = View {
            inventory: Inventory { gpus: gpus.collect(), ..Inventory::default() },
            epoch: Epoch { boot_id: "boot-1".to_owned(), driver_version: Some("550.163.01".to_owned()) },
            ..View::default()
        };
        Self {
            journal: Journal::open(folder.path()).unwrap(),
            locks: Locks::open(folder.path()).unwrap(),
            cdi: Folder::new(folder.path().join("cdi"), DRIVER),
            folder,
            view,
            users: BTreeMap::new(),
            open: BTreeMap::new(),
            api: BTreeMap::new(),
            api_down: false,
            hashes: BTreeMap::new(),
            missing: BTreeSet::new(),
            answers: BTreeMap::new(),
            damaged: BTreeSet::new(),
            fuse: None,
            steps: 0,
            retries: true,
        }
    }

    /// The scheduler gives devices to a claim.
    pub(super) fn allocate(&mut self, number: usize, devices: &[(usize, Access)]) {
        let hash = format!("{devices:?}");
        let asked = devices.iter().map(|(gpu, access)| Asked {
            device: GPUS[*gpu].to_owned(),
            pool: POOL.to_owned(),
            requests: vec![format!("request-{gpu}")],
            access: *access,
            share_id: (*access == Access::Shared).then(|| format!("share-{number}")),
            tolerated: if *access == Access::Admin {
                vec![Class::Reset, Class::Reboot, Class::Lost]
            } else {
                Vec::new()
            },
            settings: Settings::default(),
        });
        let allocation = Allocation {
            claim: claim(number),
            pods: vec![format!("pod-{number}")],
            hash,
            devices: asked.collect(),
        };
        if self.hashes.insert(number, allocation.hash.clone()).as_ref() != Some(&allocation.hash) {
            // Nobody uses a claim that was deallocated.
            self.answers.remove(&number);
        }
        self.api.insert(number, Some(allocation));
    }

    /// What the shell does with a call of the kubelet, without its waiting.
    pub(super) fn call(&mut self, call: Call) -> Result<Outcome, Killed> {
        match call {
            Call::Prepare(number) => {
                let allocation = self.api.get(&number).cloned().flatten();
                let outcome = match (&allocation, self.api_down) {
                    (_, true) => self.attempt(number, Goal::AsBefore)?,
                    (Some(allocation), _) => self.attempt(number, Goal::Prepared(allocation))?,
                    (None, _) => Outcome::NoRecord,
                };
                if let Outcome::Prepared(answer) = &outcome {
                    self.check_answer(number, allocation.as_ref(), answer);
                    self.answers.insert(number, answer.clone());
                }
                Ok(outcome)
            }
            Call::Unprepare(number) => {
                let outcome = self.attempt(number, Goal::Unprepared)?;
                if matches!(outcome, Outcome::Unprepared) {
                    self.answers.remove(&number);
                }
                Ok(outcome)
            }
            Call::Reconcile(number)
                if self.api_down || self.api.get(&number).is_some_and(Option::is_some) =>
            {
                Ok(Outcome::NoRecord)
            }
            Call::Reconcile(number) => {
                let outcome = self.attempt(number, Goal::UndoneIfIdle)?;
                if matches!(outcome, Outcome::Unprepared) {
                    self.answers.remove(&number);
                }
                Ok(outcome)
            }
        }
    }

    fn attempt(&mut self, number: usize, goal: Goal<'_>) -> Result<Outcome, Killed> {
        let mut gone = BTreeSet::new();
        loop {
            let outcome = self.once(number, goal, &gone)?;
            let Outcome::Blocked(refusal) = &outcome else { return Ok(outcome) };
            let Cause::Held { holder } = &*refusal.cause else { return Ok(outcome) };
            let (uid, device) = (&holder.uid, refusal.device.as_ref().unwrap());
            let other: usize = uid.strip_prefix("uid-").unwrap().parse().unwrap();
            let has = self
                .api
                .get(&other)
                .and_then(Option::as_ref)
                .is_some_and(|allocation| allocation.devices.iter().any(|asked| asked.device == *device));
            if self.api_down || has || !gone.insert(uid.clone()) {
                return Ok(outcome);
            }
        }
    }

    fn once(&mut self, number: usize, goal: Goal<'_>, gone: &BTreeSet<String>) -> Result<Outcome, Killed> {
        let claim = claim(number);
        let mut devices = BTreeSet::new();
        let view = self.view.clone();
        loop {
            // Taken out of the world while the attempt borrows it, and put back.
            let (journal, locks, cdi) = (self.journal.clone(), self.locks.clone(), self.cdi.clone());
            let (users, open, missing) = (self.users.clone(), self.open.clone(), self.missing.clone());
            let node = |minor: u32| {
                if missing.contains(&minor) {
                    return Err(crate::cdi::nodes::NodeError::Missing {
                        path: format!("/dev/nvidia{minor}").into(),
                        remedy: "make it".to_owned(),
                    });
                }
                Ok(device_node(minor))
            };
            let look = |device: &str, look: Look| {
                let map = if look == Look::Processes { &users } else { &open };
                Ok(map.get(device).cloned().unwrap_or_default())
            };
            let edges = Edges {
                driver: DRIVER,
                journal: &journal,
                locks: &locks,
                cdi: &cdi,
                node: &node,
                look: &look,
            };
            let job =
                Job { claim: &claim, goal, view: &view, gone, now: Timestamp::UNIX_EPOCH, uptime_ms: 5 };
            let locked = locks.lock(&devices).unwrap();
            let mut attempt = Attempt { edges, job, locked, looked: Looked::new() };
            loop {
                if self.fuse == Some(self.steps) {
                    // Killed before the file got its name.
                    std::fs::write(self.folder.path().join("claims/.uid-0.json.tmp"), "{").unwrap();
                    return Err(Killed);
                }
                match attempt.step().unwrap() {
                    Step::Did(did) => {
                        self.steps += 1;
                        self.check_step(number, &did);
                    }
                    Step::Rest(outcome) => return Ok(outcome),
                    Step::Lock(more) => {
                        devices.extend(more);
                        break;
                    }
                }
            }
        }
    }

    /// The process starts: it remembers nothing.
    pub(super) fn restart(&mut self) {
        let (journal, locks, cdi) = (self.journal.clone(), self.locks.clone(), self.cdi.clone());
        let edges = Edges {
            driver: DRIVER,
            journal: &journal,
            locks: &locks,
            cdi: &cdi,
            node: &|minor| Ok(device_node(minor)),
            look: &|_, _| Ok(Vec::new()),
        };
        for uid in journal.claims().unwrap().into_iter().chain(cdi.claims().unwrap()) {
            attempt::enlist(edges, &uid, &self.view.epoch.boot_id).unwrap();
        }
    }

    pub(super) fn disk(&self, number: usize) -> OnDisk {
        self.journal.read(&claim(number).uid, &self.view.epoch.boot_id).unwrap()
    }

    pub(super) fn stored(&self, number: usize) -> Stored {
        self.cdi.read_claim(&claim(number).uid)
    }

    pub(super) fn record_path(&self, number: usize) -> std::path::PathBuf {
        self.folder.path().join("claims").join(format!("{}.json", claim(number).uid))
    }

    pub(super) fn reboot(&mut self) {
        self.view.epoch.boot_id.push('+');
        self.answers.clear();
        self.users.clear();
        self.open.clear();
    }

    /// What must hold after every single effect.
    fn check_step(&mut self, number: usize, did: &Did) {
        if let Did::TookOver { uid, devices } = did {
            for device in devices {
                assert!(self.users.get(device).is_none_or(Vec::is_empty), "{device} was in use");
                assert!(self.open.get(device).is_none_or(Vec::is_empty), "{device} was open");
            }
            let other: usize = uid.strip_prefix("uid-").unwrap().parse().unwrap();
            assert_ne!(other, number);
            self.answers.remove(&other);
        }
        if !matches!(did, Did::Intended | Did::Finished | Did::Renewed) {
            // Nothing else adds a holder.
            return;
        }
        let mut exclusive = BTreeMap::new();
        for uid in self.journal.claims().unwrap() {
            let disk = self.journal.read(&uid, &self.view.epoch.boot_id).unwrap();
            for (device, _) in disk.holds().into_iter().filter(|(_, access)| *access == Access::Exclusive) {
                if let Some(other) = exclusive.insert(device.clone(), uid.clone()) {
                    panic!("{device} is held exclusively by {uid} and {other} after {did:?}");
                }
            }
        }
    }

    /// An answer names what the allocation gave, and everything that it names is on disk.
    fn check_answer(&self, number: usize, allocation: Option<&Allocation>, answer: &[PreparedDevice]) {
        let OnDisk::Done(done) = self.disk(number) else { panic!("answered without a record") };
        assert_eq!(done.answer, answer);
        let Stored::Present(spec) = self.stored(number) else { panic!("answered without a CDI spec") };
        for prepared in answer {
            let name = format!("uid-{number}-{}", prepared.device);
            let ids = [format!("test.example/claim={name}"), "test.example/driver=files".to_owned()];
            assert_eq!(prepared.cdi_ids, ids);
            let device = spec.devices.iter().find(|device| device.name == name).unwrap();
            let index = GPUS.iter().position(|gpu| *gpu == prepared.device).unwrap();
            let minor = self.view.inventory.gpus[index].minor.unwrap();
            assert_eq!(device.container_edits.device_nodes, [device_node(minor)]);
        }
        if let Some(allocation) = allocation.filter(|_| !self.api_down) {
            let asked: Vec<_> = allocation.devices.iter().map(|asked| &asked.device).collect();
            assert_eq!(answer.iter().map(|prepared| &prepared.device).collect::<Vec<_>>(), asked);
        }
        if let Some(before) = self.answers.get(&number)
            && before
                .iter()
                .map(|prepared| &prepared.device)
                .eq(answer.iter().map(|prepared| &prepared.device))
        {
            assert_eq!(before, answer, "a repeated call has the same answer");
        }
    }

    /// What must hold whenever all is at rest.
    pub(super) fn check_rest(&self) {
        for number in 0..CLAIMS {
            let (disk, stored) = (self.disk(number), self.stored(number));
            if let Some(answer) = self.answers.get(&number)
                && !self.damaged.contains(&number)
            {
                let OnDisk::Done(done) = &disk else { panic!("the record of {number} was lost: {disk:?}") };
                assert_eq!(done.answer, *answer);
                // A claim that is over may be half taken over.
                let over = self.api.get(&number).is_none_or(Option::is_none);
                assert!(over || matches!(stored, Stored::Present(_)), "the CDI spec of {number} was lost");
            }
            if matches!(disk, OnDisk::Absent | OnDisk::Tombstone(_)) && !self.damaged.contains(&number) {
                assert_eq!(stored, Stored::Absent, "the CDI spec of {number} was left");
            }
        }
    }

    /// Nothing is left of any claim.
    pub(super) fn check_clean(&self) {
        assert_eq!(self.journal.claims().unwrap(), Vec::<String>::new());
        assert_eq!(self.cdi.claims().unwrap(), Vec::<String>::new());
    }
}

pub(super) fn device_node(minor: u32) -> DeviceNode {
    DeviceNode {
        path: format!("/dev/nvidia{minor}"),
        host_path: None,
        kind: "c".to_owned(),
        major: 195,
        minor,
        file_mode: 0o666,
        permissions: "rwm".to_owned(),
        gid: None,
    }
}
