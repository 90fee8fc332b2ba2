//! The node's state as one file that processes share.
//!
//! ```text
//! 0        header: magic, version, sequence, wake-up word, call counter, fault counters
//! 4096     slot 0: length, checksum, sequence, JSON of a NodeState
//! …        slot 1: the same
//! …        call log, see the module `calls`
//! ```
//!
//! The sequence says which slot holds the state: its lowest bit. A writer takes the file's lock, writes the
//! *other* slot and then moves the sequence, so a writer that dies at any instruction leaves the old state in
//! force, and the kernel gives its lock back. A reader copies the slot and keeps the copy only if the sequence
//! has not moved. Readers need no lock and no right to write: in a container the file is mounted read-only.

mod mapping;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::futex;
use thiserror::Error;

use crate::model::NodeState;
use mapping::Mapping;

const MAGIC: u64 = u64::from_le_bytes(*b"FAKENVML");
const LAYOUT_VERSION: u64 = 1;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 8;
const AT_SEQUENCE: usize = 16;
const AT_WAKE: usize = 24;
pub(crate) const AT_CALL_COUNTER: usize = 32;
const AT_FAULT_COUNTERS: usize = 512;
const AT_SLOTS: usize = 4096;
const SLOT_HEADER: usize = 24;
const SLOT_SIZE: usize = 512 << 10;
pub(crate) const AT_CALLS: usize = AT_SLOTS + 2 * SLOT_SIZE;
/// The whole file. Most of it is a hole.
pub(crate) const FILE_SIZE: usize = AT_CALLS + crate::calls::LOG_SIZE;

/// How many faults can be set at a time.
pub const MAX_FAULTS: u16 = 64;

/// The longest sleep before a waiter looks again by itself: a writer can die between its write and its wake-up.
const WAKE_AT_LEAST: Duration = Duration::from_millis(50);

/// What can be wrong with a state file.
#[derive(Debug, Error)]
pub enum StateError {
    /// The operating system refused.
    #[error("cannot {action} the node's state file {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not one of ours, or was damaged.
    #[error("the node's state file {path} is damaged: {what}; create the node anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The process may only read it.
    #[error("the node's state file {path} is read-only for this process")]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The state outgrew its slot.
    #[error("the state of the node at {path} takes {size} bytes and its slot holds {SLOT_SIZE}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that the state takes.
        size: usize,
    },
}

/// An open state file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    file: File,
    mapping: Mapping,
    /// The state that was read last, and its sequence.
    latest: Mutex<Option<(u64, Arc<NodeState>)>>,
}

impl StateFile {
    /// Writes a new state file. An existing one is replaced; processes that hold it keep the old one.
    ///
    /// # Errors
    /// If the file cannot be written or the state is too large.
    pub fn create(path: &Path, state: &NodeState) -> Result<Self, StateError> {
        let attempt = |action| move |source| StateError::Io { action, path: path.to_owned(), source };
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)
            .map_err(attempt("create"))?;
        file.set_len(FILE_SIZE as u64).map_err(attempt("size"))?;
        let mapping = Mapping::new(&file, FILE_SIZE, true).map_err(attempt("map"))?;
        mapping.word(AT_VERSION).store(LAYOUT_VERSION, Ordering::Relaxed);
        mapping.word(AT_MAGIC).store(MAGIC, Ordering::Relaxed);
        let created = Self { path: path.to_owned(), file, mapping, latest: Mutex::new(None) };
        created.write_slot(0, state)?;
        std::fs::rename(&temporary, path).map_err(attempt("put in place"))?;
        Ok(created)
    }

    /// Opens a state file, for writing too if the process may.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let attempt = |action| move |source| StateError::Io { action, path: path.to_owned(), source };
        let damaged = |what: String| StateError::Damaged { path: path.to_owned(), what };
        let (mut file, writable) = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => (file, true),
            Err(_) => (File::open(path).map_err(attempt("open"))?, false),
        };
        let mut start = [0; 16];
        file.read_exact(&mut start).map_err(|_| damaged("it is shorter than a header".into()))?;
        let (magic, version) = start.split_at(8);
        if magic != MAGIC.to_ne_bytes() {
            return Err(damaged("it does not begin with the mark of a fake node".into()));
        }
        if version != LAYOUT_VERSION.to_ne_bytes() {
            return Err(damaged("it was written by another version of fake-node".into()));
        }
        let size = file.metadata().map_err(attempt("inspect"))?.len();
        if size != FILE_SIZE as u64 {
            return Err(damaged(format!("it has {size} bytes instead of {FILE_SIZE}")));
        }
        let mapping = Mapping::new(&file, FILE_SIZE, writable).map_err(attempt("map"))?;
        let opened = Self { path: path.to_owned(), file, mapping, latest: Mutex::new(None) };
        opened.read()?;
        Ok(opened)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process may change the state.
    pub fn writable(&self) -> bool {
        self.mapping.writable()
    }

    /// The state now. Cheap while nothing changes.
    ///
    /// # Errors
    /// If the file was damaged.
    pub fn read(&self) -> Result<Arc<NodeState>, StateError> {
        loop {
            let sequence = self.sequence();
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((known, state)) = &*latest
                && *known == sequence
            {
                return Ok(Arc::clone(state));
            }
            let slot = self.read_slot(sequence);
            // What was read must not be from after the second look at the sequence.
            fence(Ordering::Acquire);
            if self.sequence() != sequence {
                continue;
            }
            let state = Arc::new(slot?);
            *latest = Some((sequence, Arc::clone(&state)));
            return Ok(state);
        }
    }

    /// Changes the state under the file's lock. Nothing is written if `change` fails.
    ///
    /// # Errors
    /// If the file is read-only or damaged; what `change` answers is inside.
    pub fn update<T, E>(
        &self,
        change: impl FnOnce(&mut NodeState) -> Result<T, E>,
    ) -> Result<Result<T, E>, StateError> {
        if !self.writable() {
            return Err(StateError::ReadOnly { path: self.path.clone() });
        }
        // A descriptor of its own for each writer: the lock belongs to the open file, so threads exclude each
        // other as processes do. It goes with the descriptor, also when the process is killed. Opened through
        // /proc because a driver update moves the file to another name.
        let attempt = |source| StateError::Io { action: "lock", path: self.path.clone(), source };
        let lock = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd())).map_err(attempt)?;
        lock.lock().map_err(attempt)?;
        let mut state = (*self.read()?).clone();
        let answer = match change(&mut state) {
            Ok(answer) => answer,
            Err(refused) => return Ok(Err(refused)),
        };
        self.write_slot(self.sequence() + 1, &state)?;
        Ok(Ok(answer))
    }

    /// Waits until the state is no longer that of `sequence`, or the time is over.
    pub fn wait_for_change(&self, sequence: u64, timeout: Duration) {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let wake = self.mapping.half_word(AT_WAKE).load(Ordering::Acquire);
            if self.sequence() != sequence {
                return;
            }
            let left = deadline.map_or(WAKE_AT_LEAST, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            let sleep = left.min(WAKE_AT_LEAST);
            let timespec = rustix::fs::Timespec { tv_sec: 0, tv_nsec: i64::from(sleep.subsec_nanos()) };
            // Every outcome (woken, timed out, interrupted, changed before) means: look again.
            let _ =
                futex::wait(self.mapping.half_word(AT_WAKE), futex::Flags::empty(), wake, Some(&timespec));
        }
    }

    /// The number of the state in force.
    pub fn sequence(&self) -> u64 {
        self.mapping.word(AT_SEQUENCE).load(Ordering::Acquire)
    }

    /// Counts a call that a fault matches and says how many there were before. A process that may only read
    /// the file does not move the counter.
    pub fn count_fault(&self, id: u16) -> u64 {
        let counter = self.fault_counter(id);
        if self.writable() {
            counter.fetch_add(1, Ordering::Relaxed)
        } else {
            counter.load(Ordering::Relaxed)
        }
    }

    /// Sets the counter of a fault back.
    pub fn reset_fault(&self, id: u16) {
        if self.writable() {
            self.fault_counter(id).store(0, Ordering::Relaxed);
        }
    }

    /// A word of the call log or its counter.
    pub(crate) fn log_word(&self, at: usize) -> &AtomicU64 {
        self.mapping.word(at)
    }

    fn fault_counter(&self, id: u16) -> &AtomicU64 {
        self.mapping.word(AT_FAULT_COUNTERS + usize::from(id % MAX_FAULTS) * 8)
    }

    fn slot_position(sequence: u64) -> usize {
        if sequence.is_multiple_of(2) { AT_SLOTS } else { AT_SLOTS + SLOT_SIZE }
    }

    fn read_slot(&self, sequence: u64) -> Result<NodeState, StateError> {
        let damaged = |what: String| StateError::Damaged { path: self.path.clone(), what };
        let at = Self::slot_position(sequence);
        let length = self.mapping.word(at).load(Ordering::Relaxed);
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= SLOT_SIZE - SLOT_HEADER)
            .ok_or_else(|| damaged(format!("a state of {length} bytes does not fit its slot")))?;
        let checksum_found = self.mapping.word(at + 8).load(Ordering::Relaxed);
        let bytes = self.mapping.copy_out(at + SLOT_HEADER, length);
        if self.mapping.word(at + 16).load(Ordering::Relaxed) != sequence
            || checksum(&bytes) != checksum_found
        {
            return Err(damaged(format!("the checksum of state {sequence} is wrong")));
        }
        serde_json::from_slice(&bytes).map_err(|error| damaged(format!("state {sequence}: {error}")))
    }

    fn write_slot(&self, sequence: u64, state: &NodeState) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(state)
            .map_err(|error| StateError::Damaged { path: self.path.clone(), what: error.to_string() })?;
        if bytes.len() > SLOT_SIZE - SLOT_HEADER {
            return Err(StateError::TooLarge { path: self.path.clone(), size: bytes.len() });
        }
        let at = Self::slot_position(sequence);
        self.mapping.copy_in(at + SLOT_HEADER, &bytes);
        self.mapping.word(at).store(bytes.len() as u64, Ordering::Relaxed);
        self.mapping.word(at + 8).store(checksum(&bytes), Ordering::Relaxed);
        self.mapping.word(at + 16).store(sequence, Ordering::Relaxed);
        self.mapping.word(AT_SEQUENCE).store(sequence, Ordering::Release);
        let wake = self.mapping.half_word(AT_WAKE);
        wake.fetch_add(1, Ordering::Release);
        // Waking nobody is no error, and nothing else can fail here.
        let _ = futex::wake(wake, futex::Flags::empty(), u32::MAX >> 1);
        Ok(())
    }
}

/// FNV-1a with 64 bits: it only has to notice damage.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
