//! The memory mapping below a state file: the crate's only unsafe code.
//!
//! Other processes write to the same pages at any time, so nothing here hands out a reference to them. Words
//! are read and written as atomics, and everything else is copied in or out byte by byte, to be checked by the
//! caller.

#![expect(unsafe_code, reason = "shared memory between processes is only to be had through raw pointers")]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of a file's first bytes.
#[derive(Debug)]
pub(super) struct Mapping {
    base: *mut u8,
    length: usize,
    writable: bool,
}

// SAFETY: the mapping is used through atomics only, and unmapped once, when the owner goes.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes of a file that is at least that long.
    pub(super) fn new(file: &File, length: usize, writable: bool) -> io::Result<Self> {
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe { mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, file, 0) }?;
        Ok(Self { base: base.cast(), length, writable })
    }

    /// Whether the mapping can be written.
    pub(super) fn writable(&self) -> bool {
        self.writable
    }

    /// The word at a position that is a multiple of 8.
    pub(super) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.length, "a word within the mapping");
        // SAFETY: within the mapping, aligned (the base is a page), and only ever used atomically.
        unsafe { AtomicU64::from_ptr(self.base.add(at).cast()) }
    }

    /// The half word at a position that is a multiple of 4, for waiting on.
    pub(super) fn half_word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.length, "a half word within the mapping");
        // SAFETY: as in `word`.
        unsafe { AtomicU32::from_ptr(self.base.add(at).cast()) }
    }

    /// Copies bytes out. Another process may be writing them: the caller checks what it gets.
    pub(super) fn copy_out(&self, at: usize, length: usize) -> Vec<u8> {
        assert!(at.is_multiple_of(8) && at + length.next_multiple_of(8) <= self.length, "a range within");
        let mut bytes = Vec::with_capacity(length.next_multiple_of(8));
        for position in (at..at + length).step_by(8) {
            bytes.extend_from_slice(&self.word(position).load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Copies bytes in.
    pub(super) fn copy_in(&self, at: usize, bytes: &[u8]) {
        assert!(self.writable && at + bytes.len() <= self.length, "a writable range within the mapping");
        for (position, byte) in bytes.iter().enumerate() {
            // SAFETY: within the mapping, and only ever used atomically.
            let cell = unsafe { AtomicU8::from_ptr(self.base.add(at + position)) };
            cell.store(*byte, Ordering::Relaxed);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and no reference to it outlives `self`.
        let unmapped = unsafe { munmap(self.base.cast(), self.length) };
        debug_assert!(unmapped.is_ok());
    }
}
