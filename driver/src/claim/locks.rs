//! One lock for each device, between threads and between processes: two instances of the plugin overlap in a
//! rolling update.
//!
//! Beside each lock lies the list of the claims that may hold its device, so that nobody has to read all records
//! to find out. It is a superset, written before a claim's record and put right by the next claim: what counts are
//! the records.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::file::{self, StateError, plain};

/// The locks of all devices.
#[derive(Clone, Debug)]
pub struct Locks {
    folder: PathBuf,
}

impl Locks {
    /// The locks in a driver's state folder, which must exist. Makes their folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(state: &Path) -> Result<Self, StateError> {
        let folder = state.join("locks");
        match std::fs::create_dir(&folder) {
            Err(error) if !folder.is_dir() => Err(StateError::new("make the folder", &folder, error)),
            _ => Ok(Self { folder }),
        }
    }

    /// Locks these devices, in the order of their names, so that two who want several never wait for each other.
    /// Blocks until all are free. They are free again when the answer is dropped, or the process ends.
    ///
    /// # Errors
    /// A lock's file cannot be made, or a name cannot be that of a device.
    pub fn lock(&self, devices: &BTreeSet<String>) -> Result<Locked<'_>, StateError> {
        let mut files = BTreeMap::new();
        for device in devices {
            let path = self.path(device, "lock")?;
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(|error| StateError::new("open", &path, error))?;
            file.lock().map_err(|error| StateError::new("lock", &path, error))?;
            files.insert(device.clone(), file);
        }
        Ok(Locked { locks: self, files })
    }

    fn path(&self, device: &str, kind: &str) -> Result<PathBuf, StateError> {
        let path = self.folder.join(format!("{device}.{kind}"));
        if plain(device) {
            return Ok(path);
        }
        let reason = format!("the device name {device:?} has to be letters, digits and '-'");
        Err(StateError::new("use", &path, Error::new(ErrorKind::InvalidInput, reason)))
    }
}

/// Devices that are locked.
#[derive(Debug)]
pub struct Locked<'a> {
    locks: &'a Locks,
    files: BTreeMap<String, File>,
}

impl Locked<'_> {
    /// Whether a device is among them.
    #[must_use]
    pub fn covers(&self, device: &str) -> bool {
        self.files.contains_key(device)
    }

    /// The UIDs of the claims that may hold a device.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn holders(&self, device: &str) -> Result<Vec<String>, StateError> {
        let list = file::read(&self.locks.path(device, "holders")?)?.unwrap_or_default();
        let list = String::from_utf8_lossy(&list).into_owned();
        Ok(list.lines().filter(|uid| plain(uid)).map(ToOwned::to_owned).collect())
    }

    /// Writes the list of the claims that may hold a device, if it is another than before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_holders(&self, device: &str, uids: &[String]) -> Result<(), StateError> {
        if self.holders(device)? == uids {
            return Ok(());
        }
        let list: String = uids.iter().map(|uid| format!("{uid}\n")).collect();
        file::write(&self.locks.path(device, "holders")?, list.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn set(devices: &[&str]) -> BTreeSet<String> {
        devices.iter().map(|device| (*device).to_owned()).collect()
    }

    #[test]
    fn whoever_wants_several_waits_for_nobody_in_a_circle() {
        let folder = tempfile::tempdir().unwrap();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for devices in [["a", "b"], ["b", "c"], ["c", "a"], ["a", "b"]] {
                let (locks, inside) = (Locks::open(folder.path()).unwrap(), &inside);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let locked = locks.lock(&set(&devices)).unwrap();
                        assert!(locked.covers(devices[0]) && locked.covers(devices[1]));
                        assert_eq!(
                            inside.fetch_add(1, Ordering::SeqCst),
                            0,
                            "any two of these share a device"
                        );
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn lists_of_holders() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::open(folder.path()).unwrap();
        let locked = locks.lock(&set(&["gpu-a"])).unwrap();
        assert!(!locked.covers("gpu-b"));
        assert_eq!(locked.holders("gpu-a").unwrap(), Vec::<String>::new());
        locked.set_holders("gpu-a", &["u".to_owned(), "v".to_owned()]).unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(folder.path().join("locks/gpu-a.holders"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"../../x\n\n"))
            .unwrap();
        assert_eq!(locked.holders("gpu-a").unwrap(), ["u", "v"]);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::open(folder.path()).unwrap();
        for device in ["", "..", "a/b", "a.b"] {
            let error = locks.lock(&set(&[device])).unwrap_err().to_string();
            assert!(error.contains("has to be letters, digits and '-'"), "{error}");
        }
    }
}
