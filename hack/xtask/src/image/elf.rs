//! What a program or library asks of the system it runs on.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, anyhow};
use object::elf::{FileHeader64, PT_INTERP, VER_FLG_WEAK};
use object::read::elf::{ElfFile, FileHeader, ProgramHeader};
use object::{Endianness, Object};

/// A version of the C library, such as 2.34.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glibc(pub(super) u32, pub(super) u32);

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What the dynamic linker must find before a program or library runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Names of shared libraries, as `libc.so.6`.
    pub(super) libraries: BTreeSet<String>,
    /// The newest version of the C library of which it uses a symbol.
    pub(super) glibc: Glibc,
    /// Whether the kernel starts a dynamic linker for it.
    pub(super) interpreter: bool,
}

impl Needs {
    /// Whether it runs on any system with the right kernel.
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads them from an ELF file of 64 bits.
pub(super) fn needs(file: &[u8]) -> Result<Needs> {
    let elf = ElfFile::<FileHeader64<Endianness>>::parse(file).context("no ELF file of 64 bits")?;
    let mut needs = Needs::default();
    for library in elf.import_libraries()? {
        needs.libraries.insert(String::from_utf8_lossy(library?.name()).into_owned());
    }
    let endian = elf.endian();
    let headers = elf.elf_header().program_headers(endian, file)?;
    needs.interpreter = headers.iter().any(|header| header.p_type(endian) == PT_INTERP);
    let sections = elf.elf_header().sections(endian, file)?;
    let Some((mut libraries, strings)) = sections.gnu_verneed(endian, file)? else { return Ok(needs) };
    let strings = sections.strings(endian, file, strings)?;
    while let Some((_, mut versions)) = libraries.next()? {
        while let Some(version) = versions.next()? {
            let name = version.name(endian, strings)?;
            let is_weak = version.vna_flags.get(endian).contains(VER_FLG_WEAK);
            // A weak need may stay unmet: the program asks whether the symbol is there.
            if !is_weak && let Some(version) = name.strip_prefix(b"GLIBC_") {
                needs.glibc = needs.glibc.max(parse(version)?);
            }
        }
    }
    Ok(needs)
}

/// `2.34`, or `2.2.5`, whose last number is left out: no program of this century stands between such versions.
fn parse(version: &[u8]) -> Result<Glibc> {
    let text = String::from_utf8_lossy(version);
    let mut numbers = text.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok(Glibc(major, minor)),
        _ => Err(anyhow!("it needs the unknown version GLIBC_{text} of the C library")),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::command;

    /// Asks binutils, another reader of ELF files.
    fn by_readelf(file: &str) -> Needs {
        let text = command::output(Command::new("readelf").args(["--wide", "-d", "-l", "-V", file])).unwrap();
        let interpreter = text.contains("Requesting program interpreter");
        let mut needs = Needs { interpreter, ..Needs::default() };
        for line in text.lines() {
            if let Some((_, library)) = line.split_once("Shared library: [") {
                needs.libraries.insert(library.trim_end_matches(']').to_owned());
            }
            let needed = line.split_once("Name: GLIBC_").filter(|_| line.contains("Flags: none"));
            if let Some((_, version)) = needed {
                let version = version.split_whitespace().next().unwrap();
                needs.glibc = needs.glibc.max(parse(version.as_bytes()).unwrap());
            }
        }
        needs
    }

    #[test]
    fn needs_are_what_binutils_reads() {
        let own = std::env::current_exe().unwrap();
        for file in [own.to_str().unwrap(), "/bin/sh", "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1"] {
            let read = needs(&fs_err::read(file).unwrap()).unwrap();
            assert!(read.libraries.contains("libc.so.6") && read.glibc > Glibc(2, 2), "{file}: {read:?}");
            assert_eq!(read, by_readelf(file), "{file}");
            assert!(!read.is_nothing(), "{file}");
        }
        // The C library's own program for the time when there are no libraries.
        let alone = "/sbin/ldconfig";
        let read = needs(&fs_err::read(alone).unwrap()).unwrap();
        assert!(read.is_nothing(), "{alone}: {read:?}");
        assert_eq!(read, by_readelf(alone));
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(parse(b"2.9").unwrap() < parse(b"2.34").unwrap());
        assert_eq!(parse(b"2.2.5").unwrap(), Glibc(2, 2));
        assert_eq!(
            parse(b"PRIVATE").unwrap_err().to_string(),
            "it needs the unknown version GLIBC_PRIVATE of the C library"
        );
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert_eq!(needs(b"#!/bin/sh\n").unwrap_err().to_string(), "no ELF file of 64 bits");
    }
}
