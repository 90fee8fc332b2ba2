//! Finds NVIDIA's management library under a driver root, and says where it looked.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{elf, ld_cache, rooted};

/// The library's name (its SONAME).
pub const LIBRARY: &str = "libnvidia-ml.so.1";

const CACHE: &str = "/etc/ld.so.cache";
/// A larger cache is not read. A full desktop's has half a megabyte.
const MOST_CACHE_BYTES: u64 = 16 << 20;

/// Where driver packages put the library, for this machine's architecture.
pub(crate) const FOLDERS: [&str; 9] = [
    // Debian, Ubuntu: NVIDIA's packages, Debian's own packages.
    if cfg!(target_arch = "aarch64") { "/usr/lib/aarch64-linux-gnu" } else { "/usr/lib/x86_64-linux-gnu" },
    if cfg!(target_arch = "aarch64") {
        "/usr/lib/aarch64-linux-gnu/nvidia/current"
    } else {
        "/usr/lib/x86_64-linux-gnu/nvidia/current"
    },
    // Red Hat, SUSE, Amazon Linux, NVIDIA's .run installer.
    "/usr/lib64",
    "/usr/lib",
    // Where /lib is not a link to /usr/lib.
    if cfg!(target_arch = "aarch64") { "/lib/aarch64-linux-gnu" } else { "/lib/x86_64-linux-gnu" },
    "/lib64",
    "/lib",
    // Windows Subsystem for Linux.
    "/usr/lib/wsl/lib",
    // NixOS.
    "/run/opengl-driver/lib",
];

/// What came of looking for the library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Search {
    /// The driver root.
    pub driver_root: PathBuf,
    /// The library's file as this process sees it, free of symbolic links below the driver root.
    pub found: Option<PathBuf>,
    /// Every place that was looked at, in order. The last one is where the library was found, if it was.
    pub looked: Vec<Place>,
}

/// A place where the library might have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The path inside the driver root.
    pub path: PathBuf,
    /// What was there.
    pub outcome: Outcome,
}

/// What was at a [`Place`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The library.
    Found,
    /// Nothing.
    Missing,
    /// The linker's cache, which does not name the library.
    NotListed,
    /// A file that cannot be used, with the reason.
    Refused(String),
}

impl Search {
    /// The places where something was that could not be used.
    pub fn refused(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.looked.iter().filter_map(|place| match &place.outcome {
            Outcome::Refused(reason) => Some((place.path.as_path(), reason.as_str())),
            Outcome::Found | Outcome::Missing | Outcome::NotListed => None,
        })
    }
}

/// Looks for the library: first where the root's `ld.so.cache` says, then in the usual folders. The first file
/// that this process can load wins.
pub fn find(driver_root: &Path) -> Search {
    let mut search = Search { driver_root: driver_root.to_owned(), ..Search::default() };
    if !driver_root.is_dir() {
        search.note(
            Path::new("/"),
            Outcome::Refused(format!("the driver root {} is not a folder", driver_root.display())),
        );
        return search;
    }
    let mut candidates = search.paths_in_cache();
    for folder in FOLDERS {
        candidates.push(Path::new(folder).join(LIBRARY));
    }
    for candidate in candidates {
        if search.looked.iter().any(|place| place.path == candidate) {
            continue;
        }
        match usable(driver_root, &candidate) {
            Ok(path) => {
                search.note(&candidate, Outcome::Found);
                search.found = Some(path);
                break;
            }
            Err(outcome) => search.note(&candidate, outcome),
        }
    }
    search
}

impl Search {
    fn note(&mut self, path: &Path, outcome: Outcome) {
        self.looked.push(Place { path: path.to_owned(), outcome });
    }

    /// The paths that the root's linker cache names. What is wrong with the cache is noted.
    fn paths_in_cache(&mut self) -> Vec<PathBuf> {
        let cache = Path::new(CACHE);
        let bytes = match read_cache(&self.driver_root) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.note(cache, missing_or_refused(&error));
                return Vec::new();
            }
        };
        match ld_cache::paths_of(&bytes, LIBRARY) {
            Ok(paths) if paths.is_empty() => {
                self.note(cache, Outcome::NotListed);
                Vec::new()
            }
            Ok(paths) => paths.into_iter().map(Path::to_owned).collect(),
            Err(error) => {
                self.note(cache, Outcome::Refused(error.to_string()));
                Vec::new()
            }
        }
    }
}

fn read_cache(driver_root: &Path) -> io::Result<Vec<u8>> {
    let path = regular_file(driver_root, Path::new(CACHE))?;
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(MOST_CACHE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn usable(driver_root: &Path, candidate: &Path) -> Result<PathBuf, Outcome> {
    let path = regular_file(driver_root, candidate).map_err(|error| missing_or_refused(&error))?;
    elf::check(&path).map_err(|error| Outcome::Refused(error.to_string()))?;
    Ok(path)
}

/// Opening something else, a named pipe for one, could wait for ever.
pub(crate) fn regular_file(driver_root: &Path, path: &Path) -> io::Result<PathBuf> {
    let path = rooted::resolve(driver_root, path)?;
    if !path.symlink_metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(path)
}

fn missing_or_refused(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Outcome::Missing,
        _ => Outcome::Refused(error.to_string()),
    }
}
