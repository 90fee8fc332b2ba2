//! What is fetched once per machine: tools and foreign clients, in the user's cache folder, one folder per
//! version, so that a fresh clone (CI) finds them again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;

/// Returns the folder `name` of the cache; where it is missing, `fill` makes its contents.
///
/// A folder appears whole or not at all: it is filled under another name and then renamed, so neither an
/// interrupted run nor two runs at once leave half of it.
pub(crate) fn folder(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    folder_in(&cache()?, name, fill)
}

/// [`folder`] of the cache at `cache`.
pub(crate) fn folder_in(cache: &Path, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = cache.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let unfinished = cache.join(format!(".{name}.{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let filled = fill(&unfinished).and_then(|()| match fs::rename(&unfinished, &folder) {
        // Another run was faster: its folder has the same contents.
        Err(_) if folder.is_dir() => Ok(()),
        renamed => Ok(renamed?),
    });
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    filled.map(|()| folder).with_context(|| format!("cannot provide {name}"))
}

/// The folder that holds them all; it need not exist yet.
pub(crate) fn cache() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("dra-driver-xtask"))
        .context("no folder for downloads: set HOME or XDG_CACHE_HOME to an absolute path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_filled_once_and_a_failed_try_leaves_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let cache = temporary.path();
        let failed = folder_in(cache, "tool-1", |unfinished| {
            fs::write(unfinished.join("half"), "")?;
            anyhow::bail!("the network went away")
        });
        assert_eq!(format!("{:#}", failed.unwrap_err()), "cannot provide tool-1: the network went away");
        assert_eq!(fs::read_dir(cache).unwrap().count(), 0);

        let fill = |unfinished: &Path| Ok(fs::write(unfinished.join("tool"), "whole")?);
        let tool = folder_in(cache, "tool-1", fill).unwrap();
        let again = folder_in(cache, "tool-1", |_| anyhow::bail!("filled twice")).unwrap();
        assert_eq!(tool, again);
        assert_eq!(fs::read_to_string(tool.join("tool")).unwrap(), "whole");
        assert_eq!(fs::read_dir(cache).unwrap().count(), 1);
    }
}
