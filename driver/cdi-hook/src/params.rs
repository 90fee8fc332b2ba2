//! `disable-device-node-modification`: the driver's settings, as the container sees them, say that programs are not to make
//! or change device nodes. Otherwise the driver's libraries would make nodes of the host's GPUs in the container, or change
//! the modes of those that are there.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsmount,
    fsopen, move_mount, open_tree,
};

use crate::HookError;
use crate::root::Root;

/// The driver's settings, on the host and in a container.
const PARAMS: &str = "/proc/driver/nvidia/params";
/// No driver says more.
const LONGEST: u64 = 1 << 20;
const ALLOWED: &str = "ModifyDeviceFiles: 1";
const FORBIDDEN: &str = "ModifyDeviceFiles: 0";

/// Mounts changed settings over those of the container. Does nothing where they forbid it already.
pub(crate) fn disable_modification(root: &Root) -> Result<(), HookError> {
    let params = match File::open(PARAMS) {
        Ok(file) => file,
        // Without them nothing has to be forbidden.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(HookError::Params(error)),
    };
    let mut text = String::new();
    params.take(LONGEST).read_to_string(&mut text).map_err(HookError::Params)?;
    let Some(changed) = forbidding(&text) else { return Ok(()) };
    // The container's own /proc is a mount; nothing is written there.
    let target = match root.open_anywhere(Path::new(PARAMS), OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(HookError::Container { attempt: "open", path: PARAMS.into(), source });
        }
    };
    cover(&target, changed.as_bytes())
}

/// The same settings, but programs may not modify device nodes; none where they may not anyway.
fn forbidding(settings: &str) -> Option<String> {
    settings.lines().any(|line| line == ALLOWED).then(|| {
        let lines = settings.lines().map(|line| if line == ALLOWED { FORBIDDEN } else { line });
        lines.flat_map(|line| [line, "\n"]).collect()
    })
}

/// Mounts a file with these contents, which nobody can change, onto another.
fn cover(target: &OwnedFd, contents: &[u8]) -> Result<(), HookError> {
    let failed =
        |attempt| move |source: rustix::io::Errno| HookError::Mount { attempt, source: source.into() };
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen"))?;
    fsconfig_create(context.as_fd()).map_err(failed("fsconfig"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount =
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("fsmount"))?;
    write(&mount, contents).map_err(|source| HookError::Mount { attempt: "write", source })?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = open_tree(&mount, "params", flags).map_err(failed("open_tree"))?;
    read_only(&context).map_err(failed("remount"))?;
    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&file, "", target, "", onto).map_err(failed("move_mount"))
}

fn write(folder: &OwnedFd, contents: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(folder, "params", flags, Mode::from_raw_mode(0o444))?;
    File::from(file).write_all(contents)
}

/// Makes the whole file system read-only, and with it every mount of it.
fn read_only(context: &OwnedFd) -> rustix::io::Result<()> {
    rustix::mount::fsconfig_set_flag(context.as_fd(), "ro")?;
    rustix::mount::fsconfig_reconfigure(context.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_setting_is_changed_and_the_others_stay() {
        let settings = "ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileUID: 0\n";
        let changed = "ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 0\nDeviceFileUID: 0\n";
        assert_eq!(forbidding(settings).as_deref(), Some(changed));
        assert_eq!(forbidding(changed), None);
        assert_eq!(forbidding(""), None);
        assert_eq!(forbidding("XModifyDeviceFiles: 1\n"), None);
    }
}
