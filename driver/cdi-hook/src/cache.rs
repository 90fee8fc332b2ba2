//! The cache of glibc's loader, `/etc/ld.so.cache`: which file has which library.
//!
//! The format is that of glibc's `elf/cache.c` and `sysdeps/generic/dl-cache.h`: a header, entries of 24 bytes in
//! descending order of their names, strings, and extensions that name the subfolders for better processors. Offsets of
//! strings are counted from the header. What stood before a new-format header (caches "in compatible format" have one for
//! a loader of the last century) is left out when a cache is written.

use std::cmp::Ordering;

use thiserror::Error;

const MAGIC: &[u8; 20] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// The header's byte that says in which order numbers have their bytes: little-endian, or unknown in old caches.
const ORDER: usize = 28;
const LITTLE_ENDIAN: u8 = 2;
const UNKNOWN_ORDER: u8 = 0;
const EXTENSIONS: u32 = 0xeaa4_2174;
/// Tags of extensions.
const GENERATOR: u32 = 0;
const SUBFOLDERS: u32 = 1;

/// A library for glibc and the machine that this program is built for.
pub const FLAGS: u32 = if cfg!(target_arch = "aarch64") { 0x0a03 } else { 0x0303 };

/// What a cache says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cache {
    /// In the order in which the loader searches them.
    pub entries: Vec<Entry>,
    /// Which program made it.
    pub generator: Vec<u8>,
    /// The subfolders that entries' `hwcap` counts.
    pub subfolders: Vec<Vec<u8>>,
}

/// Where a library is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// For which machine and C library.
    pub flags: u32,
    /// The name that programs ask for.
    pub name: Vec<u8>,
    /// The file.
    pub path: Vec<u8>,
    /// A field of old: the version of the kernel that it needs.
    pub os_version: u32,
    /// For which processors.
    pub hwcap: u64,
}

/// Why bytes are no cache.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum CacheError {
    /// There is no header.
    #[error("there is no header of a cache")]
    NoHeader,
    /// Numbers are big-endian, or in no known order.
    #[error("it is made for another kind of machine")]
    OtherOrder,
    /// Something points outside.
    #[error("it is damaged")]
    Damaged,
}

impl Cache {
    /// Reads a cache.
    ///
    /// # Errors
    /// Any [`CacheError`].
    pub fn read(file: &[u8]) -> Result<Self, CacheError> {
        // A header of old is 16 bytes, and its entries 12 each: the new one stands on a multiple of 8 behind them.
        let starts = (0..file.len()).step_by(4);
        let start = starts.into_iter().find(|start| file[*start..].starts_with(MAGIC));
        let start = start.ok_or(CacheError::NoHeader)?;
        let bytes = &file[start..];
        let order = *bytes.get(ORDER).ok_or(CacheError::Damaged)?;
        if order != LITTLE_ENDIAN && order != UNKNOWN_ORDER {
            return Err(CacheError::OtherOrder);
        }
        let count = index(number(bytes, 20)?);
        let table = bytes.get(HEADER..).ok_or(CacheError::Damaged)?;
        if count > table.len() / ENTRY {
            return Err(CacheError::Damaged);
        }
        let entry = |entry: &[u8]| -> Result<Entry, CacheError> {
            Ok(Entry {
                flags: number(entry, 0)?,
                name: string(bytes, number(entry, 4)?)?,
                path: string(bytes, number(entry, 8)?)?,
                os_version: number(entry, 12)?,
                hwcap: u64::from(number(entry, 16)?) | u64::from(number(entry, 20)?) << 32,
            })
        };
        let entries = table.chunks_exact(ENTRY).take(count).map(entry).collect::<Result<_, _>>()?;
        let mut cache = Self { entries, ..Self::default() };
        let extensions = number(bytes, 32)?;
        if extensions != 0 {
            // This one is counted from the file's beginning.
            cache.read_extensions(file, bytes, index(extensions))?;
        }
        Ok(cache)
    }

    fn read_extensions(&mut self, file: &[u8], bytes: &[u8], at: usize) -> Result<(), CacheError> {
        let extensions = file.get(at..).ok_or(CacheError::Damaged)?;
        if number(extensions, 0)? != EXTENSIONS {
            return Err(CacheError::Damaged);
        }
        let count = index(number(extensions, 4)?);
        for section in extensions[8..].chunks_exact(16).take(count) {
            let (from, length) = (index(number(section, 8)?), index(number(section, 12)?));
            let content = file.get(from..).and_then(|rest| rest.get(..length)).ok_or(CacheError::Damaged)?;
            match number(section, 0)? {
                GENERATOR => self.generator = content.to_vec(),
                SUBFOLDERS => {
                    let names = content.chunks_exact(4).map(|name| string(bytes, number(name, 0)?));
                    self.subfolders = names.collect::<Result<_, _>>()?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds a library before others of its name, apart from those for which `goes_first` holds.
    pub fn add(&mut self, name: &[u8], path: &[u8], goes_first: impl Fn(&Entry) -> bool) {
        let is_there = |entry: &Entry| entry.name == name && entry.path == path && entry.flags == FLAGS;
        if self.entries.iter().any(is_there) {
            return;
        }
        let at = self.entries.partition_point(|entry| match order(&entry.name, name) {
            Ordering::Greater => true,
            Ordering::Equal => goes_first(entry),
            Ordering::Less => false,
        });
        let entry = Entry { flags: FLAGS, name: name.into(), path: path.into(), os_version: 0, hwcap: 0 };
        self.entries.insert(at, entry);
    }

    /// The cache as a file.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        let table = HEADER + self.entries.len() * ENTRY;
        let mut strings = Strings { start: table, bytes: Vec::new() };
        let mut file = MAGIC.to_vec();
        file.extend(small(self.entries.len()));
        // The length of the strings is known in the end.
        file.extend([0; 4]);
        file.extend([LITTLE_ENDIAN, 0, 0, 0]);
        file.extend([0; 16]);
        for entry in &self.entries {
            file.extend(entry.flags.to_le_bytes());
            file.extend(small(strings.add(&entry.name)));
            file.extend(small(strings.add(&entry.path)));
            file.extend(entry.os_version.to_le_bytes());
            file.extend(entry.hwcap.to_le_bytes());
        }
        let subfolders: Vec<[u8; 4]> = self.subfolders.iter().map(|name| small(strings.add(name))).collect();
        file[24..28].copy_from_slice(&small(strings.bytes.len()));
        file.extend(strings.bytes);
        file.resize(file.len().next_multiple_of(4), 0);

        let start = file.len();
        file[32..36].copy_from_slice(&small(start));
        file.extend(EXTENSIONS.to_le_bytes());
        let sections = 1 + usize::from(!subfolders.is_empty());
        file.extend(small(sections));
        let mut content = start + 8 + sections * 16;
        let subfolders = subfolders.concat();
        for (tag, bytes) in [(SUBFOLDERS, &subfolders), (GENERATOR, &self.generator)] {
            if tag == SUBFOLDERS && bytes.is_empty() {
                continue;
            }
            file.extend(tag.to_le_bytes());
            file.extend([0; 4]);
            file.extend(small(content));
            file.extend(small(bytes.len()));
            content += bytes.len();
        }
        file.extend(subfolders);
        file.extend(&self.generator);
        file
    }
}

/// The strings of a cache that is written.
struct Strings {
    start: usize,
    bytes: Vec<u8>,
}

impl Strings {
    /// Adds one, and says where it stands.
    fn add(&mut self, string: &[u8]) -> usize {
        let at = self.start + self.bytes.len();
        self.bytes.extend(string);
        self.bytes.push(0);
        at
    }
}

/// In which order glibc's loader has names: numbers in them count as numbers, and are more than other characters.
#[must_use]
pub fn order(one: &[u8], other: &[u8]) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let digits = [one, other].map(|name| name.iter().take_while(|byte| byte.is_ascii_digit()).count());
        match digits {
            [0, 0] => match (one.split_first(), other.split_first()) {
                (Some((a, rest)), Some((b, others))) => {
                    // Characters are signed there.
                    let compared = a.cast_signed().cmp(&b.cast_signed());
                    if compared != Ordering::Equal {
                        return compared;
                    }
                    (one, other) = (rest, others);
                }
                (a, b) => return a.is_some().cmp(&b.is_some()),
            },
            [0, _] => return Ordering::Less,
            [_, 0] => return Ordering::Greater,
            [a, b] => {
                let number = |digits: &[u8]| {
                    digits
                        .iter()
                        .fold(0_i32, |sum, digit| sum.wrapping_mul(10).wrapping_add(i32::from(digit - b'0')))
                };
                let compared = number(&one[..a]).cmp(&number(&other[..b]));
                if compared != Ordering::Equal {
                    return compared;
                }
                (one, other) = (&one[a..], &other[b..]);
            }
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Result<u32, CacheError> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(CacheError::Damaged)?;
    Ok(u32::from_le_bytes(*found))
}

fn string(bytes: &[u8], at: u32) -> Result<Vec<u8>, CacheError> {
    let rest = bytes.get(index(at)..).ok_or(CacheError::Damaged)?;
    let end = rest.iter().position(|byte| *byte == 0).ok_or(CacheError::Damaged)?;
    Ok(rest[..end].to_vec())
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A place or a length: caches are far from 4 GiB.
fn small(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}
