//! The C library of this machine, for images whose programs are linked with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;

use super::archive::Entry;

/// Debian's folder for libraries of this machine.
#[cfg(target_arch = "x86_64")]
const FOLDER: &str = "lib/x86_64-linux-gnu";
/// Debian's folder for libraries of this machine.
#[cfg(target_arch = "aarch64")]
const FOLDER: &str = "lib/aarch64-linux-gnu";

/// The dynamic linker, by the folder and name that programs have in them.
#[cfg(target_arch = "x86_64")]
const LINKER: (&str, &str) = ("lib64", "ld-linux-x86-64.so.2");
/// The dynamic linker, by the folder and name that programs have in them.
#[cfg(target_arch = "aarch64")]
const LINKER: (&str, &str) = ("lib", "ld-linux-aarch64.so.1");

/// What our programs and NVIDIA's NVML need beside the linker. Four of them are for NVML alone, which comes from the
/// host: empty by now, but NVML is linked with them by name.
const NAMES: [&str; 6] =
    ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1"];

/// Whether an image has this library, by the name that programs have in them.
pub(super) fn has(name: &str) -> bool {
    name == LINKER.1 || NAMES.contains(&name)
}

/// The files that the libraries are read from.
pub(super) fn files() -> Vec<PathBuf> {
    let (folder, linker) = LINKER;
    let linker = Path::new("/").join(folder).join(linker);
    std::iter::once(linker).chain(NAMES.iter().map(|name| Path::new("/").join(FOLDER).join(name))).collect()
}

/// The libraries, with `usr` and `lib` as Debian, Ubuntu and Red Hat have them.
pub(super) fn entries() -> Result<Vec<Entry>> {
    let usr = format!("usr/{FOLDER}");
    let (linker_folder, _) = LINKER;
    let mut entries = vec![
        Entry::folder("usr", 0o755),
        Entry::folder("usr/lib", 0o755),
        Entry::folder(&usr, 0o755),
        Entry::link("lib", "usr/lib"),
    ];
    if linker_folder != "lib" {
        entries.push(Entry::folder(linker_folder, 0o755));
    }
    for file in files() {
        // Links are followed: the image has the bytes under the name that programs know.
        let bytes = fs::read(&file).with_context(|| {
            format!("images are made with the C library of a Debian system; {} is not there", file.display())
        })?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let folder = match file.parent() {
            // The folder "lib" is a link to "usr/lib".
            Some(folder) if folder == Path::new("/lib") => "usr/lib",
            Some(folder) if folder == Path::new("/lib64") => "lib64",
            _ => &usr,
        };
        entries.push(Entry::file(&format!("{folder}/{name}"), 0o755, bytes));
    }
    Ok(entries)
}
