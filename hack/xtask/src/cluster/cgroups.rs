//! The cgroup beneath which a node's pods live: its own in every hierarchy, so that clusters do not meet.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fs_err as fs;

/// Which cgroup hierarchies a machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A hierarchy per controller; perhaps a v2 hierarchy beside them, without controllers that pods need.
    V1(Vec<PathBuf>),
    /// One hierarchy for everything.
    V2(PathBuf),
}

impl Layout {
    /// Reads the layout off the text of `/proc/mounts`.
    pub(crate) fn of_mounts(mounts: &str) -> Result<Self> {
        let mut v1 = Vec::new();
        let mut v2 = Vec::new();
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(path), Some(kind)) = (fields.next(), fields.next()) else { continue };
            // Containers' own views of the hierarchies lie elsewhere.
            if !path.starts_with("/sys/fs/cgroup") {
                continue;
            }
            match kind {
                "cgroup" => v1.push(PathBuf::from(path)),
                "cgroup2" => v2.push(PathBuf::from(path)),
                _ => {}
            }
        }
        if !v1.is_empty() {
            v1.extend(v2);
            return Ok(Self::V1(v1));
        }
        let root = v2.into_iter().next();
        root.map(Self::V2)
            .context("no cgroup hierarchy is mounted beneath /sys/fs/cgroup: a kubelet needs one")
    }

    /// The layout of this machine.
    pub(crate) fn of_this_machine() -> Result<Self> {
        Self::of_mounts(&fs::read_to_string("/proc/mounts")?)
    }

    fn roots(&self) -> &[PathBuf] {
        match self {
            Self::V1(roots) => roots,
            Self::V2(root) => std::slice::from_ref(root),
        }
    }

    /// Makes the cgroup `name` in every hierarchy.
    pub(crate) fn create(&self, name: &str) -> Result<()> {
        if let Self::V2(root) = self {
            enable_controllers(root)?;
        }
        for root in self.roots() {
            let cgroup = root.join(name);
            fs::create_dir_all(&cgroup)?;
            // A new cpuset of v1 is empty, and nothing can run in it until it has been given something.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if matches!(self, Self::V1(_)) && root.join(file).exists() {
                    fs::write(cgroup.join(file), fs::read(root.join(file))?)?;
                }
            }
        }
        Ok(())
    }

    /// Removes the cgroup `name` with all beneath it; its processes must have been ended.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        for cgroup in self.roots().iter().map(|root| root.join(name)) {
            // The kernel lets go of ended processes a little later.
            while cgroup.exists() && remove_tree(&cgroup).is_err() {
                ensure!(
                    Instant::now() < deadline,
                    "the cgroup {} cannot be removed: its cgroup.procs names what still runs in it",
                    cgroup.display()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

/// Lets the cgroups beneath the root of a v2 hierarchy have every controller that there is: the kubelet refuses a
/// cgroup that lacks one. systemd enables most of them itself, and they stay enabled.
fn enable_controllers(root: &Path) -> Result<()> {
    let (available, enabled) = (root.join("cgroup.controllers"), root.join("cgroup.subtree_control"));
    let missing = missing_controllers(&fs::read_to_string(available)?, &fs::read_to_string(&enabled)?);
    if missing.is_empty() {
        return Ok(());
    }
    fs::write(&enabled, &missing).with_context(|| {
        format!(
            "cannot enable the cgroup controllers `{missing}` for the cluster: in a container, its cgroup must be \
             a root without processes of its own"
        )
    })
}

/// What to write to `cgroup.subtree_control`, from what it and `cgroup.controllers` hold.
fn missing_controllers(available: &str, enabled: &str) -> String {
    let enabled: Vec<&str> = enabled.split_whitespace().collect();
    let missing = available.split_whitespace().filter(|controller| !enabled.contains(controller));
    missing.map(|controller| format!("+{controller}")).collect::<Vec<_>>().join(" ")
}

/// A cgroup's files go with its folder, and only an empty folder can go.
fn remove_tree(cgroup: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian 12 with `systemd.unified_cgroup_hierarchy=0` style mounts, as systemd's documentation of the
    /// hybrid hierarchy describes them.
    const HYBRID: &str = "\
proc /proc proc rw 0 0
tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
";

    #[test]
    fn each_layout_is_recognised() {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        for (name, mounts, layout) in [
            (
                "v2, the default of systemd",
                "sysfs /sys sysfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate 0 0\n",
                Layout::V2(PathBuf::from("/sys/fs/cgroup")),
            ),
            (
                "v1",
                "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n",
                Layout::V1(paths(&["/sys/fs/cgroup/memory"])),
            ),
            (
                "hybrid",
                HYBRID,
                Layout::V1(paths(&[
                    "/sys/fs/cgroup/systemd",
                    "/sys/fs/cgroup/memory",
                    "/sys/fs/cgroup/cpu,cpuacct",
                    "/sys/fs/cgroup/unified",
                ])),
            ),
            (
                "v2 with a container's view elsewhere",
                "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\ncgroup /var/lib/lxc/a/cgroup cgroup rw,memory 0 0\n",
                Layout::V2(PathBuf::from("/sys/fs/cgroup")),
            ),
        ] {
            assert_eq!(Layout::of_mounts(mounts).unwrap(), layout, "{name}");
        }
        let none = Layout::of_mounts("proc /proc proc rw 0 0\n").unwrap_err();
        assert!(none.to_string().contains("/sys/fs/cgroup"), "{none}");
    }

    #[test]
    fn a_cgroup_of_v2_may_have_every_controller() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().to_path_buf();
        fs::write(root.join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        let control = root.join("cgroup.subtree_control");
        for (name, enabled, written) in [
            ("systemd enables some", "cpu memory pids\n", "+cpuset +io"),
            ("none is", "\n", "+cpuset +cpu +io +memory +pids"),
            ("all are", "cpuset cpu io memory pids\n", "cpuset cpu io memory pids\n"),
        ] {
            fs::write(&control, enabled).unwrap();
            Layout::V2(root.clone()).create("cluster").unwrap();
            assert_eq!(fs::read_to_string(&control).unwrap(), written, "{name}");
            assert!(root.join("cluster").is_dir(), "{name}");
        }
    }

    #[test]
    fn a_cgroup_is_made_with_its_cpuset_and_removed_from_the_leaves_up() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("cpuset");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("cpuset.cpus"), "0-1").unwrap();
        let layout = Layout::V1(vec![root.clone()]);
        layout.create("cluster").unwrap();
        assert_eq!(fs::read_to_string(root.join("cluster/cpuset.cpus")).unwrap(), "0-1");
        // Ordinary files, unlike a cgroup's own, have to go first.
        fs::remove_file(root.join("cluster/cpuset.cpus")).unwrap();
        fs::create_dir_all(root.join("cluster/kubepods/pod1")).unwrap();
        layout.remove("cluster").unwrap();
        assert!(!root.join("cluster").exists());
        layout.remove("cluster").unwrap();
    }
}
