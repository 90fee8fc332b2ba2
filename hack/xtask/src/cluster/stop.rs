//! Ends a cluster and sees to it that nothing of it is left.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::cluster::cgroups::Layout;
use crate::cluster::processes;
use crate::cluster::state::Cluster;

/// The cgroup of the cluster's pods. It follows from the folder alone, so that what is left of a cluster can be
/// removed whatever became of its files.
pub(crate) fn cgroup(cluster: &Cluster) -> String {
    // FNV-1a: short, and the same in every build of this program.
    let folder = cluster.folder.as_os_str().as_encoded_bytes();
    let hash = folder.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("dra-{}-{:08x}", cluster.name, hash >> 32)
}

/// Whether anything of the cluster exists.
pub(crate) fn exists(cluster: &Cluster) -> Result<bool> {
    Ok(cluster.folder.exists() || !processes::of_cluster(&cluster.folder)?.is_empty())
}

/// Ends every process, removes cgroups and files; the error names what is left.
pub(crate) fn take_down(cluster: &Cluster) -> Result<()> {
    processes::end_all(&cluster.folder)?;
    if let Ok(layout) = Layout::of_this_machine() {
        layout.remove(&cgroup(cluster))?;
    }
    remove_folder(cluster)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let folder = cluster.folder.display().to_string();
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&folder)).collect();
    if !left.is_empty() {
        bail!("mounts are left of the cluster:\n  {}", left.join("\n  "));
    }
    Ok(())
}

fn remove_folder(cluster: &Cluster) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while cluster.folder.exists() {
        let Err(error) = fs::remove_dir_all(&cluster.folder) else { break };
        if Instant::now() > deadline {
            return Err(error).context("the cluster's folder cannot be removed");
        }
        // The kernel takes the namespaces' mounts apart a little after their last process.
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Moves the logs of a failed start to where they outlive it; those of an earlier one are replaced. The cluster must
/// be locked.
pub(crate) fn keep_logs(cluster: &Cluster) -> Result<PathBuf> {
    let kept = cluster.failed_logs();
    if kept.exists() {
        fs::remove_dir_all(&kept)?;
    }
    fs::create_dir_all(cluster.logs())?;
    fs::rename(cluster.logs(), &kept)?;
    Ok(kept)
}
