//! Files to be, as plain data, and the one place that writes them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::{LayoutError, NodeKind};

/// Folders, files, links and device nodes by their path below some root. Folders on the way to an entry need no
/// entry of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    Dir,
    File { bytes: Vec<u8>, mode: u32 },
    Copy { from: PathBuf, mode: u32 },
    Symlink { target: PathBuf },
    Device { major: u32, minor: u32, mode: u32 },
}

impl Tree {
    pub(super) fn dir(&mut self, path: impl Into<PathBuf>) {
        self.entries.insert(path.into(), Entry::Dir);
    }

    /// A file that everyone can read.
    pub(super) fn file(&mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) {
        self.file_with_mode(path, bytes, 0o644);
    }

    pub(super) fn file_with_mode(&mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>, mode: u32) {
        let bytes = bytes.into();
        self.entries.insert(path.into(), Entry::File { bytes, mode });
    }

    pub(super) fn copy(&mut self, path: impl Into<PathBuf>, from: &Path, mode: u32) {
        let from = from.to_owned();
        self.entries.insert(path.into(), Entry::Copy { from, mode });
    }

    pub(super) fn symlink(&mut self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) {
        let target = target.into();
        self.entries.insert(path.into(), Entry::Symlink { target });
    }

    /// A link from one path of this tree to another, so that the tree can be moved.
    pub(super) fn relative_symlink(&mut self, path: impl Into<PathBuf>, target: &Path) {
        let path = path.into();
        let up = path.parent().map_or(0, |parent| parent.components().count());
        let relative = PathBuf::from_iter(std::iter::repeat_n("..", up)).join(target);
        self.symlink(path, relative);
    }

    pub(super) fn device(&mut self, path: impl Into<PathBuf>, major: u32, minor: u32, mode: u32) {
        self.entries.insert(path.into(), Entry::Device { major, minor, mode });
    }

    /// Writes everything. What stands at a path is replaced in one step, so that a program that has the old
    /// file open or mapped keeps it.
    pub(super) fn write(&self, root: &Path, kind: NodeKind) -> Result<(), LayoutError> {
        for (path, entry) in &self.entries {
            let path = root.join(path);
            let folder = match entry {
                Entry::Dir => &path,
                _ => path.parent().unwrap_or(root),
            };
            fs_err::create_dir_all(folder).map_err(LayoutError::Write)?;
            if *entry != Entry::Dir {
                replace(&path, entry, kind)?;
            }
        }
        Ok(())
    }

    /// Removes everything of which `obsolete` says so; folders only when nothing is left in them.
    pub(super) fn remove(
        &self,
        root: &Path,
        obsolete: impl Fn(&Path, &Entry) -> bool,
    ) -> Result<(), LayoutError> {
        for (path, entry) in self.entries.iter().rev() {
            let path = root.join(path);
            if !obsolete(&path, entry) {
                continue;
            }
            let removed = match entry {
                Entry::Dir => fs_err::remove_dir(&path),
                _ => fs_err::remove_file(&path),
            };
            match removed {
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                    return Err(LayoutError::Write(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn replace(path: &Path, entry: &Entry, kind: NodeKind) -> Result<(), LayoutError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // Left by a process that died here.
    match fs_err::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(LayoutError::Write(error)),
        _ => {}
    }
    make(&new, entry, kind)?;
    fs_err::rename(&new, path).map_err(LayoutError::Write)
}

fn make(path: &Path, entry: &Entry, kind: NodeKind) -> Result<(), LayoutError> {
    let mode = match entry {
        Entry::Dir => return fs_err::create_dir(path).map_err(LayoutError::Write),
        Entry::Symlink { target } => {
            return symlink(target, path).map_err(|source| {
                LayoutError::Write(std::io::Error::new(
                    source.kind(),
                    format!("cannot make the link {}: {source}", path.display()),
                ))
            });
        }
        Entry::File { bytes, mode } => {
            fs_err::write(path, bytes).map_err(LayoutError::Write)?;
            mode
        }
        Entry::Copy { from, mode } => {
            fs_err::copy(from, path).map_err(LayoutError::Write)?;
            mode
        }
        Entry::Device { major, minor, mode } => {
            match kind {
                NodeKind::Character => mknod(path, *major, *minor)?,
                NodeKind::Record => {
                    let record = format!("c {major} {minor} {mode:04o}\n");
                    fs_err::write(path, record).map_err(LayoutError::Write)?;
                }
            }
            mode
        }
    };
    // Apart from the creation, because that is subject to the umask.
    fs_err::set_permissions(path, PermissionsExt::from_mode(*mode)).map_err(LayoutError::Write)
}

/// Makes a character device.
pub(super) fn mknod(path: &Path, major: u32, minor: u32) -> Result<(), LayoutError> {
    let mode = Mode::from_bits_truncate(0o600);
    mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(major, minor))
        .map_err(|errno| LayoutError::DeviceNode { path: path.to_owned(), source: errno.into() })
}
