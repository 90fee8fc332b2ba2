//! Whether a disk and the memory have room for what is about to be made.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;

/// Space that is wanted beneath a folder, which need not exist yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need<'a> {
    pub(super) folder: &'a Path,
    pub(super) megabytes: u64,
}

/// A mounted file system and what is wanted of it.
#[derive(Debug, PartialEq, Eq)]
struct Disk {
    mounted_at: String,
    free_mb: u64,
    needed_mb: u64,
}

/// Refuses where a file system has less free than all needs upon it together.
pub(super) fn require(needs: &[Need<'_>]) -> Result<()> {
    let mut disks: Vec<Disk> = Vec::new();
    for need in needs {
        let existing = need.folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
        let mut df = Command::new("df");
        df.args(["--block-size=1M", "--output=avail,target", "--"]).arg(existing);
        let (free_mb, mounted_at) = parse_df(&command::output(&mut df)?)?;
        match disks.iter_mut().find(|disk| disk.mounted_at == mounted_at) {
            Some(disk) => disk.needed_mb += need.megabytes,
            None => disks.push(Disk { mounted_at, free_mb, needed_mb: need.megabytes }),
        }
    }
    enough(&disks)
}

fn enough(disks: &[Disk]) -> Result<()> {
    for Disk { mounted_at, free_mb, needed_mb } in disks {
        ensure!(
            free_mb >= needed_mb,
            "the file system at {mounted_at} has {free_mb} MB free, and {needed_mb} MB are needed: free some, or \
             move the caches elsewhere (XDG_CACHE_HOME for ours, GOCACHE and GOMODCACHE for Go's)"
        );
    }
    Ok(())
}

/// Reads `df --output=avail,target`: a heading, then one line.
fn parse_df(printed: &str) -> Result<(u64, String)> {
    let line = printed.lines().nth(1).map(str::trim);
    let (free, target) = line.and_then(|line| line.split_once(' ')).context("`df` printed no file system")?;
    Ok((free.parse().context("`df` printed no number")?, target.trim().to_owned()))
}

/// Memory that programs can have without swapping, in MB; `None` where the kernel does not say.
pub(super) fn available_memory_mb() -> Option<u64> {
    parse_meminfo(&fs_err::read_to_string("/proc/meminfo").ok()?)
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_and_meminfo_are_read() {
        let (free, target) = parse_df("  Avail Mounted on\n  67890 /mnt/with space\n").unwrap();
        assert_eq!((free, target.as_str()), (67890, "/mnt/with space"));
        assert!(parse_df("Avail Mounted on\n").is_err());
        assert_eq!(parse_meminfo("MemTotal:  2048 kB\nMemAvailable:    3145728 kB\n"), Some(3072));
        assert_eq!(parse_meminfo("MemTotal:  2048 kB\n"), None);
    }

    #[test]
    fn a_full_file_system_is_named() {
        let disk = |free_mb| Disk { mounted_at: "/home".to_owned(), free_mb, needed_mb: 2000 };
        enough(&[disk(2000)]).unwrap();
        let error = enough(&[disk(5000), disk(1999)]).unwrap_err().to_string();
        assert!(
            error.starts_with("the file system at /home has 1999 MB free, and 2000 MB are needed"),
            "{error}"
        );
    }

    #[test]
    fn needs_on_one_file_system_add_up() {
        let temporary = tempfile::tempdir().unwrap();
        let half = Need { folder: &temporary.path().join("not/yet/there"), megabytes: u64::MAX / 2 };
        assert!(require(&[half, half]).unwrap_err().to_string().contains(&(u64::MAX - 1).to_string()));
        require(&[Need { folder: temporary.path(), megabytes: 0 }]).unwrap();
    }
}
