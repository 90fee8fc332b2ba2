//! Where this library lies, and so which node it belongs to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fake_node::layout;

const NAME: &str = "libnvidia-ml.so.";

/// The library's own place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The root of the driver's files: "/" in a container.
    pub(crate) driver_root: PathBuf,
    /// The version in the library's file name.
    pub(crate) version: String,
}

/// Finds the place from the library's own file name, as the kernel maps it.
pub(crate) fn find() -> Option<Place> {
    let own = own_path()?;
    let version = version(&own)?;
    // In most images /lib is a link to /usr/lib, so that /usr looks like a driver root too, but has no devices.
    let is_root = |root: &&Path| layout::state_file(root, &version).exists() && root.join("dev").is_dir();
    let driver_root = own.ancestors().skip(1).find(is_root)?.to_owned();
    Some(Place { driver_root, version })
}

/// The version in the library's file name. In a container the file may be mounted under its SONAME too and loaded by that:
/// then the same file lies beside it under the whole name.
fn version(own: &Path) -> Option<String> {
    let of = |name: &str| name.strip_prefix(NAME).filter(|version| version.contains('.')).map(str::to_owned);
    if let Some(version) = own.file_name().and_then(|name| of(name.to_str()?)) {
        return Some(version);
    }
    let file = fs::metadata(own).ok()?;
    let mut beside = fs::read_dir(own.parent()?).ok()?.filter_map(Result::ok);
    beside.find_map(|entry| {
        let version = of(entry.file_name().to_str()?)?;
        // Not the entry's own metadata, which know nothing of mounts.
        let other = fs::metadata(entry.path()).ok()?;
        (other.dev() == file.dev() && other.ino() == file.ino()).then_some(version)
    })
}

/// Looks up which mapped file holds this function. (dladdr would do the same, through a raw pointer.)
fn own_path() -> Option<PathBuf> {
    let inside = own_path as *const () as usize;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (low, high) = range.split_once('-')?;
        let (low, high) = (usize::from_str_radix(low, 16).ok()?, usize::from_str_radix(high, 16).ok()?);
        let path = rest.find('/').map(|at| &rest[at..])?;
        (low..high).contains(&inside).then(|| Path::new(path).to_owned())
    })
}
