//! `update-ldcache`: the loader's cache names the driver's libraries.
//!
//! NVIDIA's hook runs the host's `ldconfig` in the container's root, which reads all that the image's configuration names.
//! Here nothing is run and no library is opened: the image's cache stays as it is, and the names of the libraries that
//! were mounted into the folders are added to it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::HookError;
use crate::cache::{Cache, Entry};
use crate::compat;
use crate::root::{Root, is_file, mount_of, unless_mounted};

/// Where the cache is.
const CACHE: &str = "/etc/ld.so.cache";
/// Images have caches of less than 200 KiB.
const LONGEST: u64 = 16 << 20;

/// Adds the driver's libraries in folders to the cache.
pub(crate) fn update(root: &Root, folders: &[PathBuf]) -> Result<(), HookError> {
    let mut libraries = Vec::new();
    for folder in folders {
        let failed = |source| HookError::Container {
            attempt: "look for the driver's libraries in",
            path: folder.clone(),
            source,
        };
        libraries.extend(mounted(root, folder).map_err(failed)?);
    }
    let compat = compat::folders(root);
    let is_compat = |entry: &Entry| {
        let folder = Path::new(OsStr::from_bytes(&entry.path)).parent();
        folder.is_some_and(|folder| compat.iter().any(|compat| compat == folder))
    };
    change(root, |cache| {
        for (name, path) in &libraries {
            cache.add(name, path, is_compat);
        }
    })
}

/// Changes the cache of a container, or makes one. One that is damaged is of no use to the loader either.
pub(crate) fn change(root: &Root, change: impl FnOnce(&mut Cache)) -> Result<(), HookError> {
    let failed = |attempt| move |source| HookError::Container { attempt, path: PathBuf::from(CACHE), source };
    let before = root.read(Path::new(CACHE), LONGEST).map_err(failed("read"))?;
    let mut cache = before.as_deref().and_then(|bytes| Cache::read(bytes).ok()).unwrap_or_else(|| Cache {
        generator: concat!("dra-cdi-hook ", env!("CARGO_PKG_VERSION")).into(),
        ..Cache::default()
    });
    let entries = cache.entries.len();
    change(&mut cache);
    if cache.entries.len() == entries {
        return Ok(());
    }
    let Some(folder) =
        unless_mounted(root.make_folder(Path::new("/etc"))).map_err(failed("open the folder of"))?
    else {
        return Ok(());
    };
    folder.put_file(OsStr::new("ld.so.cache"), &cache.written(), 0o644).map_err(failed("write"))?;
    Ok(())
}

/// The libraries in a folder that were mounted there, and links to such: their names and paths.
fn mounted(root: &Root, path: &Path) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let folder = match unless_mounted(root.folder(path)) {
        Ok(Some(folder)) => folder,
        Ok(None) => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let own = folder.mount()?;
    let mut found = Vec::new();
    for name in folder.names()? {
        if !is_library(name.as_bytes()) {
            continue;
        }
        let path = path.join(&name);
        // A link may lead to nothing, and somebody may take a file away: it is no library then.
        let Ok(file) = root.open_anywhere(&path, OFlags::PATH) else { continue };
        if is_file(&file)? && mount_of(&file)? != own {
            found.push((name.as_bytes().to_vec(), path.as_os_str().as_bytes().to_vec()));
        }
    }
    Ok(found)
}

/// Whether a name is one that programs may ask the loader for.
pub(crate) fn is_library(name: &[u8]) -> bool {
    let text = name.strip_prefix(b"lib").unwrap_or_default();
    text.windows(3).any(|three| three == b".so")
}
