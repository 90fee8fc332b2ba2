//! The log of calls that programs made to the fake library.
//!
//! A ring of fixed entries in the state file, filled without a lock: a caller takes the next number and owns
//! that entry. An entry is written when its call begins and completed when it returns, so a call that hangs, or
//! whose process is killed, is in the log as unfinished.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::state_file::{AT_CALL_COUNTER, AT_CALLS, StateFile};
use crate::symbols::Function;

/// Entries in the ring.
const ENTRIES: usize = 1 << 16;
const ENTRY_SIZE: usize = 32;
/// Bytes of the ring.
pub(crate) const LOG_SIZE: usize = ENTRIES * ENTRY_SIZE;

/// In an entry's second word: the call has no GPU.
const NO_SLOT: u8 = 0xFF;
/// In an entry's second word: the call was answered by a stub.
const STUB: u8 = 1;
/// In an entry's third word: the call has not returned.
const UNFINISHED: u32 = u32::MAX;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Its place in the order in which calls began.
    pub number: u64,
    /// The function's name.
    pub function: &'static str,
    /// The calling process.
    pub pid: u32,
    /// Slot of the GPU, for calls that have one.
    pub slot: Option<usize>,
    /// What it returned; none while it runs, or if its process was killed in it.
    pub returned: Option<u32>,
    /// Whether nothing stands behind the function, so that the answer is only NOT_SUPPORTED.
    pub stub: bool,
    /// When it began, on the boot-time clock.
    pub began: Duration,
}

/// A call that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(Option<u64>);

impl StateFile {
    /// Writes down that a call begins.
    pub fn call_begins(&self, function: Function, slot: Option<usize>, stub: bool) -> Ticket {
        if !self.writable() {
            return Ticket(None);
        }
        let number = self.log_word(AT_CALL_COUNTER).fetch_add(1, Ordering::Relaxed);
        let at = position(number);
        let slot = slot.and_then(|slot| u8::try_from(slot).ok()).unwrap_or(NO_SLOT);
        let what = u64::from(std::process::id())
            | u64::from(function.position()) << 32
            | u64::from(slot) << 48
            | u64::from(if stub { STUB } else { 0 }) << 56;
        self.log_word(at).store(0, Ordering::Relaxed);
        self.log_word(at + 8).store(what, Ordering::Relaxed);
        self.log_word(at + 16).store(u64::from(UNFINISHED), Ordering::Relaxed);
        self.log_word(at + 24).store(boot_time_ns(), Ordering::Relaxed);
        self.log_word(at).store(number + 1, Ordering::Release);
        Ticket(Some(number))
    }

    /// Writes down what a call returned.
    pub fn call_ends(&self, ticket: Ticket, returned: u32) {
        if let Some(number) = ticket.0 {
            self.log_word(position(number) + 16).store(u64::from(returned), Ordering::Release);
        }
    }

    /// The number that the next call gets.
    pub fn next_call(&self) -> u64 {
        self.log_word(AT_CALL_COUNTER).load(Ordering::Acquire)
    }

    /// The calls from a number on that the ring still holds.
    pub fn calls_since(&self, first: u64) -> Vec<Call> {
        let next = self.next_call();
        let first = first.max(next.saturating_sub(ENTRIES as u64));
        (first..next).filter_map(|number| self.call(number)).collect()
    }

    fn call(&self, number: u64) -> Option<Call> {
        let at = position(number);
        if self.log_word(at).load(Ordering::Acquire) != number + 1 {
            return None;
        }
        let [pid_low, pid_1, pid_2, pid_high, function_low, function_high, slot, flags] =
            self.log_word(at + 8).load(Ordering::Relaxed).to_le_bytes();
        let returned = u32::try_from(self.log_word(at + 16).load(Ordering::Acquire)).unwrap_or(UNFINISHED);
        Some(Call {
            number,
            function: Function::at(u16::from_le_bytes([function_low, function_high]))?.name(),
            pid: u32::from_le_bytes([pid_low, pid_1, pid_2, pid_high]),
            slot: (slot != NO_SLOT).then_some(usize::from(slot)),
            returned: (returned != UNFINISHED).then_some(returned),
            stub: flags & STUB != 0,
            began: Duration::from_nanos(self.log_word(at + 24).load(Ordering::Relaxed)),
        })
    }
}

fn position(number: u64) -> usize {
    let entry = usize::try_from(number % ENTRIES as u64).unwrap_or(0);
    AT_CALLS + entry * ENTRY_SIZE
}

/// Nanoseconds on the clock that goes on while the machine sleeps and is the same in all processes.
pub fn boot_time_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
