//! A container's root file system, whose paths never lead out of it.
//!
//! Every path is resolved by the kernel (openat2 with `RESOLVE_IN_ROOT`): links of the image, absolute or upwards, stay
//! inside, and swapping a folder for a link meanwhile changes nothing about that. Where something is written, no mount is
//! crossed either (`RESOLVE_NO_XDEV`): what is mounted there is another's, such as a volume or a folder of the host. Links
//! of the kind that /proc has are never followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, ResolveFlags, StatxFlags, fchmod, mkdirat, openat,
    openat2, readlinkat, renameat, statx, symlinkat, unlinkat,
};
use rustix::io::Errno;

/// How often the kernel is asked again where a rename somewhere made it unsure.
const UNSURE: usize = 1000;
/// How many names are tried for a file that is to be renamed.
const NAMES: u32 = 64;
/// No path has more components.
const DEEPEST: usize = 64;

/// A container's root.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// A folder inside, on the root's own file system.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// What became of something that was to be put in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    Placed,
    /// It was there.
    Unchanged,
    /// Something is mounted there: that stays.
    Mounted,
}

impl Root {
    /// Opens the folder that is the root. The path is the runtime's, and trusted.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens something that may lie on a mount.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open_anywhere(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.resolve(path, flags, ResolveFlags::empty())
    }

    /// Reads a regular file, `limit` bytes of it at most; none where there is no file.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        // A pipe of the image would keep the hook waiting.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match self.open_anywhere(path, flags) {
            Ok(file) => File::from(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Opens a folder to change what is in it.
    ///
    /// # Errors
    /// What the kernel says; `EXDEV` where it lies on a mount.
    pub fn folder(&self, path: &Path) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.resolve(path, flags, ResolveFlags::NO_XDEV).map(Folder)
    }

    /// Opens a folder to change what is in it, and makes it and those above it where they are missing.
    ///
    /// # Errors
    /// What the kernel says; `EXDEV` where it lies on a mount.
    pub fn make_folder(&self, path: &Path) -> io::Result<Folder> {
        if path.components().count() > DEEPEST {
            return Err(Errno::NAMETOOLONG.into());
        }
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::NOENT.into());
        };
        let above = self.make_folder(above)?;
        match mkdirat(&above.0, name, Mode::from_raw_mode(0o755)) {
            // Somebody else was quicker, or it is a link to nothing, which the next step refuses.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let made = retried(|| {
            openat2(&above.0, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
        })?;
        Ok(Folder(made))
    }

    fn resolve(&self, path: &Path, flags: OFlags, more: ResolveFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        // An empty path is none; the root itself is "/".
        retried(|| openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
    }
}

impl Folder {
    /// Puts a file in a place. Whatever had the name, a link too, is gone then; a folder is an error.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn put_file(&self, name: &OsStr, contents: &[u8], mode: RawMode) -> io::Result<Put> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (file, aside) =
            Self::aside(name, |aside| openat(&self.0, aside, flags, Mode::from_raw_mode(0o600)))?;
        let mut file = File::from(file);
        let written = file.write_all(contents).and_then(|()| {
            // The mode of the call above goes through the umask.
            fchmod(&file, Mode::from_raw_mode(mode)).map_err(io::Error::from)
        });
        self.place(&aside, name, written)
    }

    /// Puts a symbolic link in a place, as [`Folder::put_file`] does.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn put_link(&self, name: &OsStr, target: &str) -> io::Result<Put> {
        if readlinkat(&self.0, name, Vec::new()).is_ok_and(|there| there.as_bytes() == target.as_bytes()) {
            return Ok(Put::Unchanged);
        }
        let ((), aside) = Self::aside(name, |aside| symlinkat(target, &self.0, aside))?;
        self.place(&aside, name, Ok(()))
    }

    /// The names of what is in it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Which mount it is of.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mount(&self) -> io::Result<u64> {
        mount_of(&self.0)
    }

    /// Makes something under a name that nobody has, which begins as `name` does.
    fn aside<T>(
        name: &OsStr,
        make: impl Fn(&OsStr) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<(T, OsString)> {
        let own = rustix::process::getpid().as_raw_nonzero();
        for number in 0..NAMES {
            let mut aside = OsString::from(".");
            // Names have 255 bytes at most.
            aside.push(OsStr::from_bytes(&name.as_bytes()[..name.len().min(200)]));
            aside.push(format!(".{own}.{number}"));
            match make(&aside) {
                Err(Errno::EXIST) => {}
                made => return made.map(|made| (made, aside)),
            }
        }
        Err(Errno::EXIST)
    }

    /// Renames what was made aside, or takes it away.
    fn place(&self, aside: &OsStr, name: &OsStr, made: io::Result<()>) -> io::Result<Put> {
        let placed = made.and_then(|()| renameat(&self.0, aside, &self.0, name).map_err(io::Error::from));
        let Err(error) = placed else { return Ok(Put::Placed) };
        // What cannot be taken away either is said with the first error.
        let _ = unlinkat(&self.0, aside, AtFlags::empty());
        if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) {
            return Ok(Put::Mounted);
        }
        Err(error)
    }
}

/// Which mount an open file is of.
///
/// # Errors
/// What the kernel says; one before 5.8 does not know.
pub fn mount_of(file: impl AsFd) -> io::Result<u64> {
    let known = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if known.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok(known.stx_mnt_id)
}

/// Whether an open file is a regular one.
///
/// # Errors
/// What the kernel says.
pub fn is_file(file: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode).is_file())
}

/// A path of a container, from its root and without detours through `..`, and its last name.
#[must_use]
pub fn parted(path: &Path) -> Option<(PathBuf, OsString)> {
    let mut folder = PathBuf::from("/");
    let mut names = path.components().peekable();
    while let Some(component) = names.next() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) if names.peek().is_none() => return Some((folder, name.to_owned())),
            Component::Normal(name) => folder.push(name),
            // What a link means by "up" only the kernel knows.
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    None
}

/// A folder, unless it is mounted from elsewhere: what is there is not the container's own.
///
/// # Errors
/// Those that opening it had.
pub fn unless_mounted(folder: io::Result<Folder>) -> io::Result<Option<Folder>> {
    match folder {
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Asks again where a rename somewhere made the kernel unsure whether the path stays inside.
fn retried<T>(ask: impl Fn() -> rustix::io::Result<T>) -> io::Result<T> {
    for _ in 0..UNSURE {
        match ask() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            answer => return answer.map_err(io::Error::from),
        }
    }
    Err(Errno::AGAIN.into())
}
