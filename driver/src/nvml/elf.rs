//! Looks at a shared library's ELF header before the dynamic loader does, because the loader's messages name
//! neither the reason nor the remedy, and because it maps a truncated file and lets the process die of SIGBUS.
//! Also reads the name (SONAME) under which other programs ask the loader for a library.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use thiserror::Error;

/// Size of a 64-bit ELF header, and of one entry of its program header table.
const HEADER: usize = 64;
const SEGMENT: usize = 56;
/// More program headers than this are not read. Libraries have about ten.
const MOST_SEGMENTS: u16 = 128;

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_SHARED: u16 = 3;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_DYNAMIC: u32 = 2;
/// Entries of the dynamic section: the end, the string table's address, the SONAME's place in it.
const DYNAMIC_END: u64 = 0;
const DYNAMIC_STRINGS: u64 = 5;
const DYNAMIC_SONAME: u64 = 14;
/// More bytes of a dynamic section, and of a SONAME, than these are not read. Libraries have about 600 and 30.
const MOST_DYNAMIC: u64 = 64 << 10;
const MOST_SONAME: u64 = 255;
const MACHINE_X86_64: u16 = 62;
const MACHINE_AARCH64: u16 = 183;

/// The machine that this program was built for.
const OUR_MACHINE: u16 = if cfg!(target_arch = "aarch64") { MACHINE_AARCH64 } else { MACHINE_X86_64 };

/// Why a file cannot be loaded as a shared library.
#[derive(Debug, Error)]
pub(crate) enum ElfError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It has no bytes.
    #[error("the file is empty; the driver's installation is incomplete")]
    Empty,
    /// It does not begin as ELF files do.
    #[error("it is not a shared library (no ELF header); the driver's installation is damaged")]
    NotElf,
    /// It is built for another machine.
    #[error(
        "it is built for {found}, this program for {}; give the driver root of the host itself",
        machine(OUR_MACHINE)
    )]
    OtherMachine {
        /// What it is built for.
        found: String,
    },
    /// It is an ELF file of another type, such as a program.
    #[error("it is an ELF file, but not a shared library (type {0})")]
    NotShared(u16),
    /// It ends before its last segment does.
    #[error("it is cut short: {needed} bytes needed, {present} present; install the driver again")]
    Short {
        /// Bytes that the segments need.
        needed: u64,
        /// Bytes in the file.
        present: u64,
    },
}

/// Checks that this process can load the file as a shared library.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn check(path: &Path) -> Result<(), ElfError> {
    Library::open(path).map(drop)
}

/// The name under which programs ask the loader for the library. None if it has none.
///
/// # Errors
/// What is wrong with the file, as of [`check`].
pub(crate) fn soname(path: &Path) -> Result<Option<String>, ElfError> {
    Library::open(path)?.soname()
}

/// A shared library that is whole.
struct Library {
    file: fs_err::File,
    present: u64,
    segments: Vec<Segment>,
}

/// A program header.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    bytes: u64,
}

impl Library {
    fn open(path: &Path) -> Result<Self, ElfError> {
        let mut file = fs_err::File::open(path)?;
        let present = file.metadata()?.len();
        if present == 0 {
            return Err(ElfError::Empty);
        }
        let mut header = Vec::with_capacity(HEADER);
        file.by_ref().take(u64::try_from(HEADER).unwrap_or(u64::MAX)).read_to_end(&mut header)?;
        if !header.starts_with(b"\x7fELF") || header.len() < 20 {
            return Err(ElfError::NotElf);
        }
        let found = u16::from_ne_bytes([header[18], header[19]]);
        if header[4] != CLASS_64 || header[5] != LITTLE_ENDIAN || found != OUR_MACHINE {
            let bits = if header[4] == CLASS_64 { 64 } else { 32 };
            return Err(ElfError::OtherMachine { found: format!("{} ({bits}-bit)", machine(found)) });
        }
        let kind = u16::from_ne_bytes([header[16], header[17]]);
        if kind != TYPE_SHARED {
            return Err(ElfError::NotShared(kind));
        }
        let Some(header) = header.first_chunk::<HEADER>() else {
            return Err(short(64, present));
        };
        let table = u64::from_ne_bytes(part(header, 32));
        let count = u16::from_ne_bytes(part(header, 56)).min(MOST_SEGMENTS);
        file.seek(SeekFrom::Start(table))?;
        let mut segments = Vec::with_capacity(count.into());
        for _ in 0..count {
            let mut segment = [0; SEGMENT];
            file.read_exact(&mut segment)
                .map_err(|_| short(table.saturating_add(u64::from(count) * 56), present))?;
            segments.push(Segment {
                kind: u32::from_ne_bytes(part(&segment, 0)),
                offset: u64::from_ne_bytes(part(&segment, 8)),
                address: u64::from_ne_bytes(part(&segment, 16)),
                bytes: u64::from_ne_bytes(part(&segment, 32)),
            });
        }
        let library = Self { file, present, segments };
        let ends = library.loaded().map(|segment| segment.offset.saturating_add(segment.bytes));
        let needed = ends.max().unwrap_or(0);
        if needed > present {
            return Err(short(needed, present));
        }
        Ok(library)
    }

    fn loaded(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.kind == SEGMENT_LOAD)
    }

    fn soname(mut self) -> Result<Option<String>, ElfError> {
        let Some(dynamic) = self.segments.iter().find(|segment| segment.kind == SEGMENT_DYNAMIC) else {
            return Ok(None);
        };
        let entries = self.read(dynamic.offset, dynamic.bytes.min(MOST_DYNAMIC))?;
        let (mut strings, mut name) = (None, None);
        for entry in entries.as_chunks::<16>().0 {
            let value = u64::from_ne_bytes(part(entry, 8));
            match u64::from_ne_bytes(part(entry, 0)) {
                DYNAMIC_END => break,
                DYNAMIC_STRINGS => strings = Some(value),
                DYNAMIC_SONAME => name = Some(value),
                _ => {}
            }
        }
        let (Some(strings), Some(name)) = (strings, name) else { return Ok(None) };
        let Some(at) = self.offset_of(strings).and_then(|strings| strings.checked_add(name)) else {
            return Ok(None);
        };
        let bytes = self.read(at, MOST_SONAME)?;
        let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).map(str::to_owned))
    }

    /// Where in the file lies what the loader puts at an address.
    fn offset_of(&self, address: u64) -> Option<u64> {
        self.loaded().find_map(|segment| {
            let inside = address.checked_sub(segment.address).filter(|&inside| inside < segment.bytes)?;
            segment.offset.checked_add(inside)
        })
    }

    /// At most `bytes` bytes: fewer where the file ends before.
    fn read(&mut self, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        if offset >= self.present {
            return Ok(read);
        }
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.by_ref().take(bytes).read_to_end(&mut read)?;
        Ok(read)
    }
}

fn short(needed: u64, present: u64) -> ElfError {
    ElfError::Short { needed, present }
}

/// `N` bytes of a fixed-size table. The offsets are constants inside it.
fn part<const ALL: usize, const N: usize>(bytes: &[u8; ALL], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn machine(code: u16) -> String {
    match code {
        3 => "x86".into(),
        40 => "arm".into(),
        21 => "ppc64".into(),
        MACHINE_X86_64 => "x86_64".into(),
        MACHINE_AARCH64 => "aarch64".into(),
        other => format!("ELF machine {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header by the System V ABI: class, type, machine; one load segment of `bytes` bytes.
    fn elf(class: u8, kind: u16, machine: u16, bytes: u64) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..4].copy_from_slice(b"\x7fELF");
        file[4] = class;
        file[5] = 1;
        file[16..18].copy_from_slice(&kind.to_ne_bytes());
        file[18..20].copy_from_slice(&machine.to_ne_bytes());
        file[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        file[56..58].copy_from_slice(&1_u16.to_ne_bytes());
        file[64..68].copy_from_slice(&1_u32.to_ne_bytes());
        file[96..104].copy_from_slice(&bytes.to_ne_bytes());
        file
    }

    #[test]
    fn says_what_is_wrong_with_a_file() {
        let other = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
        let other_name = if cfg!(target_arch = "aarch64") { "x86_64" } else { "aarch64" };
        let cases: [(&str, Vec<u8>, Result<(), String>); 8] = [
            ("a library", elf(2, 3, OUR_MACHINE, 120), Ok(())),
            ("empty", vec![], Err("the file is empty".into())),
            ("a script", b"#!/bin/sh\n".to_vec(), Err("no ELF header".into())),
            ("only the magic", b"\x7fELF".to_vec(), Err("no ELF header".into())),
            ("another machine", elf(2, 3, other, 120), Err(format!("built for {other_name} (64-bit)"))),
            ("32 bits", elf(1, 3, 3, 120), Err("built for x86 (32-bit)".into())),
            ("a program", elf(2, 2, OUR_MACHINE, 120), Err("not a shared library (type 2)".into())),
            ("cut short", elf(2, 3, OUR_MACHINE, 4096), Err("4096 bytes needed, 120 present".into())),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnvidia-ml.so.1");
        for (name, bytes, wanted) in cases {
            fs_err::write(&path, bytes).unwrap();
            match (check(&path), wanted) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.to_string().contains(&part), "{name}: {error}"),
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
        fs_err::remove_file(&path).unwrap();
        assert!(matches!(check(&path), Err(ElfError::Unreadable(_))), "missing");
    }

    /// The SONAMEs that NVIDIA's libraries have on a real node.
    #[test]
    fn reads_the_names_that_the_loader_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        let description = fake_node::Description::builtin("hgx-h100-8").unwrap();
        let node = folder.path().join("node");
        let node =
            fake_node::Node::create(&description, &node, &fake_node::CreateOptions::default()).unwrap();
        let libraries = node.library().parent().unwrap().to_owned();
        let cases = [
            ("libcuda.so.550.163.01", "libcuda.so.1"),
            ("libnvidia-ml.so.550.163.01", "libnvidia-ml.so.1"),
            ("libnvidia-nvvm.so.550.163.01", "libnvidia-nvvm.so.4"),
            ("libnvidia-gpucomp.so.550.163.01", "libnvidia-gpucomp.so.550.163.01"),
            ("vdpau/libvdpau_nvidia.so.550.163.01", "libvdpau_nvidia.so.1"),
        ];
        for (file, wanted) in cases {
            assert_eq!(soname(&libraries.join(file)).unwrap().as_deref(), Some(wanted), "{file}");
        }
    }

    #[test]
    fn a_damaged_file_has_no_name_or_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib.so");
        fs_err::write(&path, elf(2, 3, OUR_MACHINE, 120)).unwrap();
        assert_eq!(soname(&path).unwrap(), None, "no dynamic section");

        let mut dynamic = elf(2, 3, OUR_MACHINE, 0);
        dynamic[64..68].copy_from_slice(&2_u32.to_ne_bytes());
        for (name, offset, bytes) in [
            ("behind the end", 4096_u64, 48_u64),
            ("beyond all files", u64::MAX >> 1, u64::MAX),
            ("of nothing but its header", 0, 120),
        ] {
            dynamic[72..80].copy_from_slice(&offset.to_ne_bytes());
            dynamic[96..104].copy_from_slice(&bytes.to_ne_bytes());
            fs_err::write(&path, &dynamic).unwrap();
            assert_eq!(soname(&path).unwrap(), None, "{name}");
        }
    }
}
