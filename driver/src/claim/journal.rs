//! The records on disk, one small file for each claim.
//!
//! Only the journal makes a [`Saved`], and only of what it wrote or read: who holds one knows that it is on disk.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::allocation::Access;
use super::file::{self, StateError, plain};
use super::record::{Broken, Decoded, Newer, Record, Stage, decode};
use super::{ClaimRef, PreparedDevice};
use crate::node::Epoch;

/// Something that is on disk.
#[derive(Debug)]
pub struct Saved<T>(T);

impl<T> Deref for Saved<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A plan that is in force: it may be carried out.
#[derive(Debug)]
pub struct Intent {
    /// The record.
    pub record: Record,
}

/// A plan that was carried out: it may be answered.
#[derive(Debug)]
pub struct Done {
    /// The plan, still in force.
    pub intent: Saved<Intent>,
    /// What the kubelet is told.
    pub answer: Vec<PreparedDevice>,
}

/// What is kept of a claim.
#[derive(Debug)]
pub enum OnDisk {
    /// Nothing.
    Absent,
    /// A plan, carried out in part.
    Intent(Saved<Intent>),
    /// A plan that was carried out.
    Done(Saved<Done>),
    /// A plan, undone in part.
    Undoing(Record),
    /// A claim that was taken over.
    Tombstone(Record),
    /// A record of an earlier boot: what it describes is gone.
    Void(Record),
    /// A record of a newer version.
    Newer(Newer),
    /// A file that is no record.
    Broken(Broken),
}

impl OnDisk {
    /// The record, if this version can read it.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Intent(intent) => Some(&intent.record),
            Self::Done(done) => Some(&done.intent.record),
            Self::Undoing(record) | Self::Tombstone(record) | Self::Void(record) => Some(record),
            Self::Absent | Self::Newer(_) | Self::Broken(_) => None,
        }
    }

    /// The claim, where it is known.
    #[must_use]
    pub fn claim(&self) -> Option<&ClaimRef> {
        match self {
            Self::Newer(newer) => newer.claim.as_ref(),
            Self::Broken(broken) => broken.claim.as_ref(),
            other => other.record().map(|record| &record.claim),
        }
    }

    /// The devices that the claim holds by this.
    #[must_use]
    pub fn holds(&self) -> Vec<(String, Access)> {
        let of =
            |record: &Record| record.devices().map(|(device, access)| (device.to_owned(), access)).collect();
        match self {
            Self::Intent(intent) => of(&intent.record),
            Self::Done(done) => of(&done.intent.record),
            Self::Undoing(record) => of(record),
            Self::Newer(newer) => newer.devices.clone(),
            Self::Absent | Self::Tombstone(_) | Self::Void(_) | Self::Broken(_) => Vec::new(),
        }
    }
}

/// The folder of the records. Who writes one holds the locks of its devices.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// The journal in a driver's state folder, which must exist. Makes the records' folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(state: &Path) -> Result<Self, StateError> {
        let folder = state.join("claims");
        match std::fs::create_dir(&folder) {
            Err(error) if !folder.is_dir() => Err(StateError::new("make the folder", &folder, error)),
            _ => Ok(Self { folder }),
        }
    }

    /// The journal in a driver's state folder, to read it alone.
    #[must_use]
    pub fn look(state: &Path) -> Self {
        Self { folder: state.join("claims") }
    }

    /// What is kept of a claim, in this boot.
    ///
    /// # Errors
    /// There is something, and it cannot be read.
    pub fn read(&self, uid: &str, boot_id: &str) -> Result<OnDisk, StateError> {
        let Some(bytes) = file::read(&self.path(uid)?)? else { return Ok(OnDisk::Absent) };
        let record = match decode(&bytes) {
            Decoded::Newer(newer) => return Ok(OnDisk::Newer(newer)),
            Decoded::Broken(broken) => return Ok(OnDisk::Broken(broken)),
            Decoded::Record(record) => *record,
        };
        if record.claim.uid != uid {
            let reason = "it is of another claim".to_owned();
            return Ok(OnDisk::Broken(Broken { reason, claim: None }));
        }
        if record.epoch.boot_id != boot_id {
            return Ok(OnDisk::Void(record));
        }
        Ok(match &record.stage {
            Stage::Intent => OnDisk::Intent(Saved(Intent { record })),
            Stage::Done { answer } => {
                let answer = answer.clone();
                OnDisk::Done(Saved(Done { intent: Saved(Intent { record }), answer }))
            }
            Stage::Undoing => OnDisk::Undoing(record),
            Stage::Tombstone => OnDisk::Tombstone(record),
        })
    }

    /// Puts a plan into force.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn intend(&self, record: &Record) -> Result<Saved<Intent>, StateError> {
        let record = self.write(record, Stage::Intent)?;
        Ok(Saved(Intent { record }))
    }

    /// Notes that a plan was carried out.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(
        &self,
        intent: &Saved<Intent>,
        answer: Vec<PreparedDevice>,
    ) -> Result<Saved<Done>, StateError> {
        let record = self.write(&intent.record, Stage::Done { answer: answer.clone() })?;
        Ok(Saved(Done { intent: Saved(Intent { record }), answer }))
    }

    /// Notes that a plan that was carried out was verified in a new epoch. Its answer stays.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn renew(&self, done: &Saved<Done>, epoch: &Epoch, record: &Record) -> Result<(), StateError> {
        let renewed =
            Record { epoch: epoch.clone(), plan: record.plan.clone(), ..done.intent.record.clone() };
        self.write(&renewed, Stage::Done { answer: done.answer.clone() }).map(drop)
    }

    /// Notes that a plan is being undone.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn undo(&self, record: &Record) -> Result<(), StateError> {
        self.write(record, Stage::Undoing).map(drop)
    }

    /// Notes that a claim's devices went to others, and nothing is left of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn bury(&self, record: &Record) -> Result<(), StateError> {
        self.write(record, Stage::Tombstone).map(drop)
    }

    /// Forgets a claim.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub fn remove(&self, uid: &str) -> Result<(), StateError> {
        file::remove(&self.path(uid)?)
    }

    /// Gives a broken record another name, so that people can look at it. Says where it is.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn set_aside(&self, uid: &str) -> Result<PathBuf, StateError> {
        let (path, aside) = (self.path(uid)?, self.folder.join(format!("{uid}.broken")));
        std::fs::rename(&path, &aside).map_err(|error| StateError::new("rename", &path, error))?;
        Ok(aside)
    }

    /// The UIDs of the claims that have a record, in order.
    ///
    /// # Errors
    /// The folder cannot be read. If it does not exist, there are none.
    pub fn claims(&self) -> Result<Vec<String>, StateError> {
        self.names(".json")
    }

    /// Whether a broken record of the claim was set aside.
    #[must_use]
    pub fn was_set_aside(&self, uid: &str) -> bool {
        plain(uid) && self.folder.join(format!("{uid}.broken")).exists()
    }

    /// The UIDs of the claims whose broken records were set aside, in order.
    ///
    /// # Errors
    /// The folder cannot be read. If it does not exist, there are none.
    pub fn set_aside_claims(&self) -> Result<Vec<String>, StateError> {
        self.names(".broken")
    }

    fn names(&self, suffix: &str) -> Result<Vec<String>, StateError> {
        let names = file::names(&self.folder)?;
        let uids = names.iter().filter_map(|name| name.strip_suffix(suffix));
        Ok(uids.filter(|uid| plain(uid)).map(ToOwned::to_owned).collect())
    }

    fn write(&self, record: &Record, stage: Stage) -> Result<Record, StateError> {
        let path = self.path(&record.claim.uid)?;
        let record = Record { stage, ..record.clone() };
        let bytes = record.encode().map_err(|error| StateError::new("write", &path, error.into()))?;
        file::write(&path, &bytes)?;
        Ok(record)
    }

    fn path(&self, uid: &str) -> Result<PathBuf, StateError> {
        let path = self.folder.join(format!("{uid}.json"));
        if plain(uid) {
            return Ok(path);
        }
        let reason = format!("the claim UID {uid:?} has to be letters, digits and '-'");
        Err(StateError::new("use", &path, std::io::Error::new(std::io::ErrorKind::InvalidInput, reason)))
    }
}
