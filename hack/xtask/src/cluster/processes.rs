//! A cluster's processes, found by a mark in their environment: it is there from their first instruction on,
//! whatever becomes of the program that started them, and unlike a process number it is never anyone else's.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fs_err as fs;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cluster::components::ComponentName;

/// The variable that marks a process as part of a cluster: `FOLDER#COMPONENT`.
const MARK: &str = "DRA_CLUSTER_PROCESS";

/// What [`MARK`] names for the first process of a node's namespaces.
pub(crate) const NAMESPACES: &str = "namespaces";

/// The mark for a component of the cluster in `folder`.
pub(crate) fn mark(folder: &Path, component: &str) -> (&'static str, String) {
    (MARK, format!("{}#{component}", folder.display()))
}

/// A process of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// The component that it is, or that started it.
    pub(crate) component: String,
    /// The file names of the first two words of its command line: its program, or the interpreter and the script.
    programs: Vec<String>,
    /// Whether it is the first process of a pid namespace.
    pub(crate) is_first: bool,
    /// Resident memory in KiB.
    pub(crate) resident: u64,
}

impl Process {
    /// Whether it is the component itself. What a component starts inherits its mark: containerd's shims do.
    pub(crate) fn is(&self, name: ComponentName) -> bool {
        self.component == name.text() && self.programs.iter().any(|program| program == name.text())
    }

    /// Sends a signal, unless the process has ended; whoever got its number since is not touched.
    fn signal(&self, folder: &Path, signal: Signal) {
        // The descriptor stands for the process that has the number now, and the mark proves that it is ours.
        if let Ok(process) = pidfd_open(self.pid, PidfdFlags::empty())
            && read(self.pid, folder).is_some_and(|found| found.component == self.component)
        {
            // A failure means that it has ended in this moment.
            let _ = pidfd_send_signal(process, signal);
        }
    }

    /// Whether it listens on a TCP port of its own network namespace.
    pub(crate) fn listens_on(&self, port: u16) -> bool {
        let tables =
            ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{}/net/{table}", self.pid)));
        tables.iter().flatten().any(|table| has_listener(table, port))
    }

    /// Whether somebody listens on a Unix socket in its network namespace.
    pub(crate) fn sees_socket(&self, path: &str) -> bool {
        fs::read_to_string(format!("/proc/{}/net/unix", self.pid))
            .is_ok_and(|table| table.lines().any(|line| line.ends_with(path)))
    }
}

/// Whether a table of /proc/net/tcp has a listener on the port: the kernel writes ports in hexadecimal, and the
/// state TCP_LISTEN as 0A.
fn has_listener(table: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, local, _, "0A", ..] if local.ends_with(&port))
    })
}

/// The processes of the cluster in `folder` that this user may look at.
pub(crate) fn of_cluster(folder: &Path) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        found.extend(pid.and_then(|pid| read(pid, folder)));
    }
    Ok(found)
}

/// Looks at one process; none where it is not of this cluster, has ended, or belongs to another user.
fn read(pid: Pid, folder: &Path) -> Option<Process> {
    let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
    let environment = file("environ")?;
    let mark = format!("{MARK}={}#", folder.display());
    let component =
        environment.split(|byte| *byte == 0).find_map(|word| word.strip_prefix(mark.as_bytes()))?;
    let command = file("cmdline")?;
    let words = command.split(|byte| *byte == 0).take(2).map(String::from_utf8_lossy);
    let status = file("status")?;
    let status = String::from_utf8_lossy(&status);
    Some(Process {
        pid,
        component: String::from_utf8_lossy(component).into_owned(),
        programs: words.map(|word| word.rsplit('/').next().unwrap_or_default().to_owned()).collect(),
        is_first: field(&status, "NSpid").and_then(|pids| pids.split_whitespace().last()) == Some("1"),
        resident: field(&status, "VmRSS")
            .and_then(|size| size.split_whitespace().next()?.parse().ok())
            .unwrap_or(0),
    })
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// The process that is the component itself.
pub(crate) fn component(folder: &Path, name: ComponentName) -> Result<Option<Process>> {
    Ok(of_cluster(folder)?.into_iter().find(|process| process.is(name)))
}

/// The first process of the node's namespaces, as this process sees it.
pub(crate) fn first(folder: &Path) -> Result<Option<Process>> {
    let is_it = |process: &Process| process.component == NAMESPACES && process.is_first;
    Ok(of_cluster(folder)?.into_iter().find(is_it))
}

/// Whether this process already is inside the namespaces of the cluster in `folder`.
pub(crate) fn is_inside(folder: &Path) -> Result<bool> {
    Ok(first(folder)?.is_some_and(|first| first.pid == Pid::INIT))
}

/// Asks a component to end, and ends it after `patience`; returns whether it had to.
pub(crate) fn end(folder: &Path, process: &Process, patience: Duration) -> Result<bool> {
    let asked = Instant::now();
    let mut forced = false;
    process.signal(folder, Signal::TERM);
    while read(process.pid, folder).is_some_and(|found| found.component == process.component) {
        if asked.elapsed() > patience {
            forced = true;
            process.signal(folder, Signal::KILL);
        }
        ensure!(
            asked.elapsed() < patience + Duration::from_secs(10),
            "{} (process {}) does not end, not even when killed",
            process.component,
            process.pid
        );
        std::thread::sleep(PACE);
    }
    Ok(forced)
}

/// Ends every process of the cluster at once; with the first one of a pid namespace goes all that is in it.
pub(crate) fn end_all(folder: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        let left = of_cluster(folder)?;
        if left.is_empty() {
            return Ok(());
        }
        if began.elapsed() > Duration::from_secs(10) {
            let left: Vec<String> =
                left.iter().map(|process| format!("{} ({})", process.component, process.pid)).collect();
            bail!("these processes do not end: {}", left.join(", "));
        }
        for process in &left {
            process.signal(folder, Signal::KILL);
        }
        std::thread::sleep(PACE);
    }
}

/// How often a wait looks.
const PACE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sleeper(folder: &Path, component: &str) -> std::process::Child {
        let (name, value) = mark(folder, component);
        Command::new("sleep").arg("600").env(name, value).stdin(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_component_is_told_from_what_it_started() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let (name, value) = mark(folder, "kube-scheduler");
        let program = folder.join("kube-scheduler");
        // As a program of its own, and as a script, whose command line begins with its interpreter.
        let script = "while read -r line; do :; done";
        fs::write(&program, script).unwrap();
        let mut itself =
            Command::new("sh").arg(&program).env(name, &value).stdin(Stdio::piped()).spawn().unwrap();
        let mut started = sleeper(folder, "kube-scheduler");
        let found = component(folder, ComponentName::KubeScheduler).unwrap().map(|process| process.pid);
        assert_eq!(found, Some(Pid::from_child(&itself)));
        assert!(component(folder, ComponentName::Kubelet).unwrap().is_none());
        for child in [&mut itself, &mut started] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_listener_is_read_off_the_kernels_table() {
        // Lines of /proc/net/tcp as proc(5) describes them: a listener on 127.0.0.1:631, and a connection to 443.
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            \x20  0: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1\n\
            \x20  1: 0100007F:A3F4 0100007F:01BB 01 00000000:00000000 00:00000000 00000000 0 0 2\n\
            \x20  2: 0100007F:01BB 0100007F:A3F4 01 00000000:00000000 00:00000000 00000000 0 0 3\n";
        for (name, port, listens) in
            [("a listener", 631, true), ("a connection's own port", 443, false), ("nobody", 80, false)]
        {
            assert_eq!(has_listener(table, port), listens, "{name}");
        }
    }

    #[test]
    fn processes_are_found_by_their_cluster_and_ended() {
        let temporary = tempfile::tempdir().unwrap();
        let (one, other) = (temporary.path().join("one"), temporary.path().join("one-more"));
        let mut first = sleeper(&one, "etcd");
        let mut second = sleeper(&one, "kubelet");
        let mut foreign = sleeper(&other, "etcd");
        let mut found: Vec<String> =
            of_cluster(&one).unwrap().into_iter().map(|process| process.component).collect();
        found.sort();
        assert_eq!(found, ["etcd", "kubelet"]);

        // The parent has to wait for its children before they are gone for good.
        let waiter = std::thread::spawn(move || (first.wait().unwrap(), second.wait().unwrap()));
        end_all(&one).unwrap();
        let (first, second) = waiter.join().unwrap();
        assert!(!first.success() && !second.success());
        assert_eq!(of_cluster(&other).unwrap().len(), 1, "another cluster's process was touched");
        foreign.kill().unwrap();
        foreign.wait().unwrap();
    }
}
