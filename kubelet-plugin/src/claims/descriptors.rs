//! Who has a device node open, by what the kernel shows of its processes.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use rustix::io::Errno;

/// A process may seem to have started that much earlier than it did: the kernel counts in hundredths of a second.
const GRAIN_MS: u64 = 1000;

/// The processes that have the character device with this number open and started no earlier than `since_ms`
/// milliseconds after the machine, as `procfs` numbers them, in order. This process is none of them.
///
/// # Errors
/// The processes cannot be listed, or are those of a container in which this process is the first, or there are some of which the descriptors cannot be read, and none of the
/// others has the device open.
pub(super) fn open_by(procfs: &Path, (major, minor): (u32, u32), since_ms: u64) -> io::Result<Vec<u32>> {
    // In a container with the host's /proc mounted, only the link there tells who this process is.
    let own = fs::read_link(procfs.join("self")).ok();
    let own = own.and_then(|own| own.to_str()?.parse::<u32>().ok());
    if own == Some(1) {
        let alone = "they are those of the plugin's own container alone";
        return Err(io::Error::other(alone));
    }
    let mut open = Vec::new();
    let mut hidden = None;
    for entry in fs::read_dir(procfs)? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let process = procfs.join(pid.to_string());
        if own == Some(pid) {
            continue;
        }
        match has_open(&process, (major, minor)) {
            Ok(true) if started_ms(&process).is_none_or(|started| started + GRAIN_MS >= since_ms) => {
                open.push(pid);
            }
            Ok(_) => {}
            // It ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => {}
            Err(error) => hidden = Some(error),
        }
    }
    open.sort_unstable();
    match hidden {
        Some(error) if open.is_empty() => Err(error),
        _ => Ok(open),
    }
}

/// Whether a process has the device open.
fn has_open(process: &Path, (major, minor): (u32, u32)) -> io::Result<bool> {
    for entry in fs::read_dir(process.join("fd"))? {
        // Follows the kernel's link to the open file itself, whatever its name is by now, and never asks a server
        // for it: a descriptor on a dead network file system would block.
        let stat = statx(CWD, entry?.path(), AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE);
        let Ok(stat) = stat else { continue };
        if FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::CharacterDevice
            && (stat.stx_rdev_major, stat.stx_rdev_minor) == (major, minor)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When a process started, in milliseconds since the machine did: field 22 of `stat` (proc_pid_stat(5)).
fn started_ms(process: &Path) -> Option<u64> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The second field is the program's name in brackets, which may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    ticks.checked_mul(1000)?.checked_div(rustix::param::clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir_all, write};
    use std::os::unix::fs::symlink;
    use std::process;

    use super::*;

    /// The number of /dev/null (Documentation/admin-guide/devices.txt).
    const NULL: (u32, u32) = (1, 3);

    fn process(procfs: &Path, pid: u32, open: &[&str], started_ticks: u64) {
        let folder = procfs.join(pid.to_string());
        create_dir_all(folder.join("fd")).unwrap();
        for (number, target) in open.iter().enumerate() {
            symlink(target, folder.join("fd").join(number.to_string())).unwrap();
        }
        let stat = format!("{pid} (a ) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {started_ticks} 0 0\n");
        write(folder.join("stat"), stat).unwrap();
    }

    #[test]
    fn finds_who_has_a_device_open() {
        let folder = tempfile::tempdir().unwrap();
        let procfs = folder.path();
        process(procfs, 10, &["/dev/zero", "/dev/null"], 0);
        process(procfs, 11, &["/dev/zero", "/nowhere"], 0);
        process(procfs, 12, &[], 0);
        process(procfs, 9, &["/dev/null"], 0);
        process(procfs, 7, &["/dev/null"], 0);
        symlink("7", procfs.join("self")).unwrap();
        create_dir_all(procfs.join("13")).unwrap();
        create_dir_all(procfs.join("sys")).unwrap();
        assert_eq!(open_by(procfs, NULL, 0).unwrap(), [9, 10]);
        assert_eq!(open_by(procfs, (1, 5), 0).unwrap(), [10, 11]);
        assert_eq!(open_by(procfs, (195, 0), 0).unwrap(), [0_u32; 0]);
    }

    #[test]
    fn passes_over_who_ran_before() {
        let folder = tempfile::tempdir().unwrap();
        let procfs = folder.path();
        let second = rustix::param::clock_ticks_per_second();
        process(procfs, 20, &["/dev/null"], 100 * second);
        for (since_ms, found) in [(0, true), (100_000, true), (101_000, true), (101_001, false)] {
            assert_eq!(open_by(procfs, NULL, since_ms).unwrap() == [20], found, "{since_ms}");
        }
    }

    #[test]
    fn the_real_kernels_processes() {
        let Ok(device) = File::open("/dev/null") else { return };
        let mut child = process::Command::new("sleep").arg("60").stdin(device).spawn().unwrap();
        let seen = open_by(Path::new("/proc"), NULL, 0);
        child.kill().unwrap();
        child.wait().unwrap();
        let seen = seen.unwrap();
        assert!(seen.contains(&child.id()), "{seen:?}");
        assert!(!seen.contains(&process::id()), "{seen:?}");
    }

    #[test]
    fn a_containers_own_processes_say_nothing_of_other_pods() {
        let folder = tempfile::tempdir().unwrap();
        process(folder.path(), 1, &[], 0);
        symlink("1", folder.path().join("self")).unwrap();
        let error = open_by(folder.path(), NULL, 0).unwrap_err().to_string();
        assert!(error.contains("own container alone"), "{error}");
    }

    #[test]
    fn a_folder_without_processes_is_an_error() {
        assert!(open_by(Path::new("/nonexistent"), NULL, 0).is_err());
    }
}
