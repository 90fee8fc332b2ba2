//! Reads `ld.so.cache`, in which `ldconfig` notes where shared libraries lie.
//!
//! The format is that of glibc's `sysdeps/generic/dl-cache.h`. A file begins either with the format that glibc
//! writes since 2.32, or with the older one that is followed, 8-byte aligned, by the newer:
//!
//! ```text
//! 0   "glibc-ld.so.cache" "1.1"        20   number of entries        24   length of the strings
//! 28  flags, extensions, unused        48   entries of 24 bytes: flags, name, path, OS version, capabilities
//! ```
//!
//! Name and path are offsets from the beginning of the newer format. Nothing in the file is trusted: an entry
//! that points outside is left out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use thiserror::Error;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const MAGIC_OLD: &[u8] = b"ld.so-1.7.0";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// The old format: magic, padding, number of entries; then entries of three numbers.
const HEADER_OLD: usize = 16;
const ENTRY_OLD: usize = 12;
/// A file with more entries than this is not read further. A full desktop has about ten thousand.
const MOST_ENTRIES: usize = 100_000;

/// The entry's flags for a glibc library of this program's own machine: `FLAG_ELF_LIBC6` with the
/// machine's `FLAG_*_LIB64`.
const OUR_FLAGS: u32 = if cfg!(target_arch = "aarch64") { 0x0a03 } else { 0x0303 };

/// Why a cache cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum CacheError {
    /// Neither format's magic is where it has to be.
    #[error("it is not a glibc ld.so.cache (magic 'glibc-ld.so.cache1.1' not found)")]
    Magic,
    /// The file is shorter than its header says.
    #[error("it is cut short: {needed} bytes needed, {present} present")]
    Short {
        /// Bytes that the header needs.
        needed: usize,
        /// Bytes in the file.
        present: usize,
    },
}

/// The paths that a cache names for a library of this machine, in the cache's order.
///
/// # Errors
/// The file is no cache, or is cut short.
pub(super) fn paths_of<'a>(cache: &'a [u8], library: &str) -> Result<Vec<&'a Path>, CacheError> {
    let cache = newer_format(cache)?;
    let count = size(number(cache, 20)?);
    let needed = count.saturating_mul(ENTRY).saturating_add(HEADER);
    if needed > cache.len() {
        return Err(CacheError::Short { needed, present: cache.len() });
    }
    let entries = cache[HEADER..needed].chunks_exact(ENTRY).take(MOST_ENTRIES);
    Ok(entries
        .filter_map(|entry| {
            let flags = number(entry, 0).ok()?;
            let name = string(cache, number(entry, 4).ok()?)?;
            let path = string(cache, number(entry, 8).ok()?)?;
            (flags == OUR_FLAGS && name == library.as_bytes() && path.first() == Some(&b'/'))
                .then(|| Path::new(OsStr::from_bytes(path)))
        })
        .collect())
}

/// The part of the file in the newer format.
fn newer_format(file: &[u8]) -> Result<&[u8], CacheError> {
    if file.starts_with(MAGIC) {
        return Ok(file);
    }
    if !file.starts_with(MAGIC_OLD) {
        return Err(CacheError::Magic);
    }
    let end = size(number(file, 12)?).saturating_mul(ENTRY_OLD).saturating_add(HEADER_OLD);
    let newer = end.checked_next_multiple_of(8).and_then(|start| file.get(start..));
    newer.filter(|newer| newer.starts_with(MAGIC)).ok_or(CacheError::Magic)
}

fn number(bytes: &[u8], at: usize) -> Result<u32, CacheError> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|four| u32::from_ne_bytes(*four))
        .ok_or(CacheError::Short { needed: at.saturating_add(4), present: bytes.len() })
}

fn string(cache: &[u8], at: u32) -> Option<&[u8]> {
    let rest = cache.get(size(at)..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    rest.get(..end)
}

/// On a machine whose addresses are too short for the number, nothing can lie there anyway.
fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NVML: &str = "libnvidia-ml.so.1";

    /// Lays out a cache by glibc's dl-cache.h: flags, name and path of each entry.
    fn cache(entries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut table = Vec::new();
        let base = 48 + 24 * entries.len();
        for (flags, name, path) in entries {
            table.extend(flags.to_ne_bytes());
            for text in [name, path] {
                table.extend(u32::try_from(base + strings.len()).unwrap().to_ne_bytes());
                strings.extend(text.as_bytes());
                strings.push(0);
            }
            table.extend([0; 12]);
        }
        let mut file = b"glibc-ld.so.cache1.1".to_vec();
        file.extend(u32::try_from(entries.len()).unwrap().to_ne_bytes());
        file.extend(u32::try_from(strings.len()).unwrap().to_ne_bytes());
        file.resize(48, 0);
        file.extend(table);
        file.extend(strings);
        file
    }

    /// The same behind an old-format table with one entry, as glibc before 2.32 writes it.
    fn compatible_cache(entries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut file = b"ld.so-1.7.0\0".to_vec();
        file.extend(1_u32.to_ne_bytes());
        file.extend([0; 12]);
        file.resize(32, 0);
        file.extend(cache(entries));
        file
    }

    #[test]
    fn finds_the_librarys_paths_for_this_machine() {
        let entries = [
            (0x0003, NVML, "/usr/lib/i386-linux-gnu/libnvidia-ml.so.1"),
            (OUR_FLAGS, "libc.so.6", "/usr/lib64/libc.so.6"),
            (OUR_FLAGS, NVML, "/opt/nvidia/lib64/libnvidia-ml.so.1"),
            (OUR_FLAGS, NVML, "/usr/lib64/libnvidia-ml.so.1"),
            (OUR_FLAGS, NVML, "relative/libnvidia-ml.so.1"),
        ];
        let wanted = ["/opt/nvidia/lib64/libnvidia-ml.so.1", "/usr/lib64/libnvidia-ml.so.1"].map(Path::new);
        for (name, file) in [("since 2.32", cache(&entries)), ("before", compatible_cache(&entries))] {
            assert_eq!(paths_of(&file, NVML).unwrap(), wanted, "{name}");
            assert_eq!(paths_of(&file, "libcuda.so.1").unwrap(), Vec::<&Path>::new(), "{name}");
        }
    }

    #[test]
    fn a_broken_cache_is_an_error_or_fewer_entries() {
        let good = cache(&[(OUR_FLAGS, NVML, "/usr/lib64/libnvidia-ml.so.1")]);
        let mut too_many = good.clone();
        too_many[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
        let mut name_outside = good.clone();
        name_outside[52..56].copy_from_slice(&u32::MAX.to_ne_bytes());
        let mut old_too_many = compatible_cache(&[]);
        old_too_many[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());

        let none = Ok(vec![]);
        type Paths<'a> = Result<Vec<&'a Path>, CacheError>;
        let cases: [(&str, &[u8], Paths<'_>); 8] = [
            ("empty", b"", Err(CacheError::Magic)),
            ("other file", b"\x7fELF and more", Err(CacheError::Magic)),
            ("only the magic", &good[..20], Err(CacheError::Short { needed: 24, present: 20 })),
            ("table cut", &good[..60], Err(CacheError::Short { needed: 72, present: 60 })),
            ("strings cut", &good[..good.len() - 1], none.clone()),
            ("name outside", &name_outside, none),
            (
                "more entries than bytes",
                &too_many,
                Err(CacheError::Short { needed: 103_079_215_128, present: good.len() }),
            ),
            ("old table longer than the file", &old_too_many, Err(CacheError::Magic)),
        ];
        for (name, file, wanted) in cases {
            assert_eq!(paths_of(file, NVML), wanted, "{name}");
        }
    }
}
