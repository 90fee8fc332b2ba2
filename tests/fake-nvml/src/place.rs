//! Where this library lies, and so which node it belongs to.

use std::fs;
use std::path::{Path, PathBuf};

use fake_node::layout;

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
    let name = own.file_name()?.to_str()?;
    let version = name.strip_prefix("libnvidia-ml.so.")?.to_owned();
    let driver_root =
        own.ancestors().skip(1).find(|root| layout::state_file(root, &version).exists())?.to_owned();
    Some(Place { driver_root, version })
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
