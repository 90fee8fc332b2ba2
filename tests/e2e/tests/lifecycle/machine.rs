//! What a cluster could leave on the machine, and the program that starts and ends clusters.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The xtask program under test, with a state folder of its own.
pub(crate) struct Xtask {
    pub(crate) program: PathBuf,
    pub(crate) state: tempfile::TempDir,
    /// Words before the program's own: another user, another namespace.
    pub(crate) before: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

/// What a command of xtask printed, and how it ended.
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) text: String,
}

impl Xtask {
    pub(crate) fn new() -> Self {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/xtask");
        let program = std::env::var_os("DRA_XTASK").map_or(built, PathBuf::from);
        assert!(program.is_file(), "{} is missing: `cargo build -p xtask`", program.display());
        let state = tempfile::Builder::new().prefix("lifecycle").tempdir().unwrap();
        Self { program, state, before: Vec::new(), environment: Vec::new() }
    }

    /// `xtask cluster …`, to be completed.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.before.iter().cloned();
        let first = words.next();
        let mut command = Command::new(first.as_deref().map_or(self.program.as_os_str(), str::as_ref));
        command.args(words);
        if first.is_some() {
            command.arg(&self.program);
        }
        command.arg("cluster").args(arguments).env("XDG_STATE_HOME", self.state.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // The test itself may run inside another cluster's environment.
        for name in ["DRA_CLUSTER", "DRA_CLUSTER_STATE", "KUBECONFIG"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        Said { success: status.success(), text }
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert!(said.success, "`cluster {}` failed:\n{}", arguments.join(" "), said.text);
        said.text
    }

    /// Runs a command that must fail, and returns what it printed.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert!(!said.success, "`cluster {}` succeeded:\n{}", arguments.join(" "), said.text);
        said.text
    }

    /// Starts a command and returns it once it has printed a line that contains `line`.
    pub(crate) fn until_line(&self, arguments: &[&str], line: &str) -> Child {
        let mut child = self.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines.any(|printed| printed.unwrap().contains(line));
        assert!(found, "`cluster {}` never printed {line:?}", arguments.join(" "));
        child
    }

    /// Everything on the machine that belongs to clusters of this state folder.
    pub(crate) fn traces(&self) -> BTreeSet<String> {
        let folder = self.state.path().display().to_string();
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            // Processes come and go while they are looked at.
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if contains(&environment, &folder) || contains(&command, &folder) {
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                if !command.is_empty() {
                    found.insert(format!("process {}: {command}", entry.file_name().display()));
                }
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        found
            .extend(mounts.lines().filter(|line| line.contains(&folder)).map(|line| format!("mount {line}")));
        let clusters = self.state.path().join("dra-driver-xtask/clusters");
        for entry in std::fs::read_dir(clusters).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // Locks, and logs that are kept on purpose.
            if !name.starts_with('.') {
                found.insert(format!("folder {name}"));
            }
        }
        found
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What every process of the machine shares, and no cluster may change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    mounts: Vec<String>,
    interfaces: Vec<String>,
    cgroups: Vec<PathBuf>,
    kernel_flags: Vec<String>,
    folders: Vec<PathBuf>,
}

impl Machine {
    /// The machine as it is now, less the cgroups of clusters other than those called `names`.
    pub(crate) fn now(names: &[&str]) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        // The fields after the numbers of mount, parent and device.
        let mounts = mounts.lines().map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" "));
        let flags = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];
        let flag = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap();
        let mut folders = Vec::new();
        for folder in ["/var/lib", "/run", "/etc", "/var/log", "/opt", "/usr/lib"] {
            folders.extend(children(Path::new(folder)));
        }
        Self {
            mounts: sorted(mounts),
            interfaces: sorted(
                children(Path::new("/sys/class/net")).iter().map(|path| path.display().to_string()),
            ),
            cgroups: cgroups(names),
            kernel_flags: flags.iter().map(|name| flag(name)).collect(),
            folders: sorted(folders),
        }
    }
}

/// The cgroups of clusters with these names, in every hierarchy.
pub(crate) fn cgroups(names: &[&str]) -> Vec<PathBuf> {
    let roots = std::iter::once(PathBuf::from("/sys/fs/cgroup")).chain(children(Path::new("/sys/fs/cgroup")));
    let all = roots.flat_map(|root| children(&root));
    let is_theirs = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        names.iter().any(|cluster| name.starts_with(&format!("dra-{cluster}-")))
    };
    sorted(all.filter(is_theirs))
}

fn children(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn sorted<T: Ord>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.into_iter().collect();
    all.sort();
    all
}
