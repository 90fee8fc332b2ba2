//! `enable-cuda-compat`: images for a newer CUDA than the host's driver has bring libraries that make up for it. They count
//! where they are of a newer major version than the driver; an older one would take features away.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::HookError;
use crate::ldcache::{change, is_library};
use crate::root::{Root, unless_mounted};

/// Where images have them.
const FOLDER: &str = "/usr/local/cuda/compat";
/// The library whose version is theirs.
const CUDA: &str = "libcuda.so.";
/// The loader's configuration, from which `ldconfig` makes its cache.
const SETTINGS: &str = "/etc/ld.so.conf.d";
/// What is written there. It comes before others, which are read in the order of their names.
const SETTING: &str = "00-compat-dra.conf";
/// How the names of such settings begin, NVIDIA's too.
const SETTING_PREFIX: &[u8] = b"00-compat-";
const LONGEST: u64 = 64 << 10;

/// Makes the loader prefer the image's libraries where they are newer than the host's driver.
pub(crate) fn enable(root: &Root, host_driver_version: &str) -> Result<(), HookError> {
    let failed = |attempt, path: &str| {
        let path = PathBuf::from(path);
        move |source| HookError::Container { attempt, path, source }
    };
    let folder = match root.folder(Path::new(FOLDER)) {
        Ok(folder) => folder,
        // Most images have none; what is mounted there is not the image's.
        Err(_) => return Ok(()),
    };
    let names = folder.names().map_err(failed("look into", FOLDER))?;
    let version = |name: &OsStr| name.to_str()?.strip_prefix(CUDA).and_then(major);
    let newest = names.iter().filter_map(|name| version(name)).max();
    if newest.is_none_or(|newest| Some(newest) <= major(host_driver_version)) {
        return Ok(());
    }
    let opened = unless_mounted(root.make_folder(Path::new(SETTINGS)));
    if let Some(settings) = opened.map_err(failed("open", SETTINGS))? {
        let setting = format!("{FOLDER}\n");
        settings
            .put_file(OsStr::new(SETTING), setting.as_bytes(), 0o644)
            .map_err(failed("write a file in", SETTINGS))?;
    }
    change(root, |cache| {
        for name in names.iter().filter(|name| is_library(name.as_bytes())) {
            let path = Path::new(FOLDER).join(name);
            cache.add(name.as_bytes(), path.as_os_str().as_bytes(), |_| false);
        }
    })
}

/// The folders that such settings name.
pub(crate) fn folders(root: &Root) -> Vec<PathBuf> {
    let Ok(settings) = root.folder(Path::new(SETTINGS)) else { return Vec::new() };
    let names = settings.names().unwrap_or_default();
    let ours = names.iter().filter(|name| name.as_bytes().starts_with(SETTING_PREFIX));
    let read = ours.filter_map(|name| root.read(&Path::new(SETTINGS).join(name), LONGEST).ok().flatten());
    let mut folders = Vec::new();
    for setting in read {
        let lines = setting.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"/"));
        folders.extend(lines.map(|line| PathBuf::from(OsStr::from_bytes(line))));
    }
    folders
}

/// The first number of a version. `libcuda.so.1` is a link and has none that says anything.
fn major(version: &str) -> Option<u32> {
    let (major, _) = version.split_once('.')?;
    major.parse().ok()
}
