//! What a machine must have before anything of a cluster is made; each lack is named with its cure.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::binaries::Level;
use crate::cluster::state::{Cluster, Ports};
use crate::command;

/// Folders of administration, which an ordinary user's `PATH` often lacks.
const ADMINISTRATION: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// Where every system has its programs.
const SYSTEM: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// A program that a node needs from the system, and Debian's package of it.
const TOOLS: [(&str, &str); 7] = [
    ("setsid", "util-linux"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("bash", "bash"),
    ("ip", "iproute2"),
    ("runc", "runc"),
];

/// Where distributions keep CNI plugins.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
/// The CNI plugins that a node's network is made with.
const CNI_PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];

/// What a node takes from the system.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) runc: PathBuf,
    pub(crate) cni: PathBuf,
}

/// Looks for the system's programs; the error names every one that is missing.
pub(crate) fn system(level: Level) -> Result<System> {
    let mut missing = Vec::new();
    let needed = if level == Level::Node { &TOOLS[..] } else { &TOOLS[..1] };
    for (tool, package) in needed {
        if find(tool).is_none() {
            missing.push((format!("the program {tool}"), *package));
        }
    }
    let has_plugins = |folder: &&str| CNI_PLUGINS.iter().all(|name| Path::new(folder).join(name).exists());
    let cni = CNI_FOLDERS.iter().find(|folder| has_plugins(folder));
    if level == Level::Node && cni.is_none() {
        missing.push((
            "the CNI plugins bridge, host-local and loopback".to_owned(),
            "containernetworking-plugins",
        ));
    }
    if missing.is_empty() {
        let runc = find("runc").unwrap_or_default();
        return Ok(System { runc, cni: cni.map(PathBuf::from).unwrap_or_default() });
    }
    let things: Vec<&str> = missing.iter().map(|(thing, _)| thing.as_str()).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    bail!(
        "this machine lacks {}: install Debian's {} (`apt-get install {}`), then run this again",
        things.join(", "),
        if packages.len() == 1 { "package" } else { "packages" },
        packages.join(" ")
    )
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(ADMINISTRATION.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The search path of a cluster's components.
pub(crate) fn search_path(first: &[&Path]) -> String {
    let first = first.iter().map(|folder| folder.display().to_string());
    let rest = ADMINISTRATION.iter().chain(&SYSTEM).map(|folder| (*folder).to_owned());
    first.chain(rest).collect::<Vec<_>>().join(":")
}

/// Bytes that a cluster may come to need in its folder: etcd, logs and, on a node, unpacked images.
fn space(level: Level) -> u64 {
    match level {
        Level::ControlPlane => 300 << 20,
        Level::Node => 1500 << 20,
    }
}

/// Checks that the file system of the cluster's folder has room.
pub(crate) fn enough_space(cluster: &Cluster, level: Level) -> Result<()> {
    let folder = nearest_existing(&cluster.folder);
    let found = rustix::fs::statvfs(folder)
        .with_context(|| format!("cannot ask how much room {} has", folder.display()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let needed = space(level);
    ensure!(
        free >= needed,
        "too little space for the cluster: the file system of {} has {} MiB left, and {} MiB are needed; make \
         room, or set XDG_STATE_HOME to a folder with more",
        folder.display(),
        free >> 20,
        needed >> 20
    );
    Ok(())
}

/// Whether overlayfs can be mounted with what lies in `folder`: containerd unpacks images with it where it can. The
/// trial's mount is in a namespace of its own and ends with it. Needs root.
pub(crate) fn has_overlayfs(folder: &Path) -> Result<bool> {
    let trial = folder.join("overlayfs-trial");
    let parts = ["lower", "upper", "work", "merged"].map(|part| trial.join(part));
    for part in &parts {
        fs::create_dir_all(part)?;
    }
    let [lower, upper, work, merged] = parts.map(|part| part.display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mut mount = Command::new("unshare");
    mount.args(["--mount", "mount", "--no-mtab", "-t", "overlay", "-o", &options, "overlay", &merged]);
    let succeeds = command::succeeds(&mut mount);
    fs::remove_dir_all(trial)?;
    Ok(succeeds)
}

/// Folders of the host that a node's own cover inside its namespaces.
const COVERED: [&str; 4] = ["/run", "/var/run", "/var/log", "/var/lib/kubelet"];

/// Checks that what a node needs of the host is not beneath a folder that is covered.
pub(crate) fn visible_inside<'a>(mut needed: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let covered = needed.find_map(|path| {
        let by = COVERED.iter().find(|folder| path.starts_with(folder))?;
        Some((path, by))
    });
    match covered {
        None => Ok(()),
        Some((path, by)) => bail!(
            "{} cannot be seen by a node, which has its own {by}: move it, or set XDG_STATE_HOME, XDG_CACHE_HOME \
             or --binaries to a folder elsewhere",
            path.display()
        ),
    }
}

fn nearest_existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"))
}

/// The ports of a node: its network namespace has nobody else's.
pub(crate) const NODE_PORTS: Ports =
    Ports { api_server: 443, etcd: 2379, etcd_peer: 2380, controller_manager: 10257, scheduler: 10259 };

/// Takes a port of 127.0.0.1, or any that is free for 0, until the listener is dropped.
pub(crate) fn take_port(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).with_context(|| {
        format!("port {port} of 127.0.0.1 cannot be had: give --api-port another, or leave it out")
    })
}

/// Ports of this machine that are free now.
pub(crate) fn free_ports(api_server: Option<u16>) -> Result<Ports> {
    // All are held at once, so that no two are the same.
    let mut held = Vec::new();
    let mut choose = |port| -> Result<u16> {
        let listener = take_port(port)?;
        let port = listener.local_addr()?.port();
        held.push(listener);
        Ok(port)
    };
    Ok(Ports {
        api_server: choose(api_server.unwrap_or(0))?,
        etcd: choose(0)?,
        etcd_peer: choose(0)?,
        controller_manager: choose(0)?,
        scheduler: choose(0)?,
    })
}

/// The signals by which people and machines ask a program to end.
pub(crate) const TERMINATION: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Set for the part of a command that runs as root on behalf of a user, who has built everything before.
const ELEVATED: &str = "DRA_XTASK_ELEVATED";

/// Whether this process is the part that [`as_root`] started.
pub(crate) fn is_elevated() -> bool {
    std::env::var_os(ELEVATED).is_some()
}

/// Whether this process has the rights of root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Fails where this process neither is root nor could become it.
pub(crate) fn can_be_root(why: &str) -> Result<()> {
    ensure!(
        is_root() || find("sudo").is_some(),
        "{why} needs root, and there is no sudo: run this as root; or start `--control-plane`, which needs none"
    );
    Ok(())
}

/// Runs this very command again as root, through sudo; it says itself what goes wrong.
pub(crate) fn as_root(why: &str) -> Result<ExitCode> {
    can_be_root(why)?;
    eprintln!("{why} needs root: sudo may ask for your password.");
    // Whoever interrupts this interrupts the part below too, which cleans up: it is waited for.
    for signal in TERMINATION {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let program = command::own_path()?;
    let mut sudo = Command::new("sudo");
    // sudo sets these anew even where it keeps the rest.
    sudo.args(["--preserve-env", "env"]).arg(format!("{ELEVATED}=1"));
    for name in ["HOME", "PATH"] {
        if let Ok(value) = std::env::var(name) {
            sudo.arg(format!("{name}={value}"));
        }
    }
    sudo.arg(program).args(std::env::args_os().skip(1));
    let status = sudo.status().with_context(|| format!("cannot start `{}`", command::line(&sudo)))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_covers_cannot_be_used_inside() {
        for (name, path, covered_by) in [
            ("a home", "/home/a/.cache/x", None),
            ("a home beneath /var/lib", "/var/lib/jenkins/x", None),
            ("a name that only begins alike", "/runner/x", None),
            ("a runtime folder", "/run/user/1000/x", Some("/run")),
            ("a kubelet's folder", "/var/lib/kubelet/x", Some("/var/lib/kubelet")),
        ] {
            let path = PathBuf::from(path);
            let error = visible_inside([&path].into_iter()).map_err(|error| error.to_string()).err();
            let words = covered_by.map(|folder| format!("its own {folder}:"));
            match (words, error) {
                (None, None) => {}
                (Some(words), Some(error)) => assert!(error.contains(&words), "{name}: {error}"),
                (words, error) => panic!("{name}: expected {words:?}, got {error:?}"),
            }
        }
    }

    #[test]
    fn a_taken_port_is_named_and_chosen_ports_differ() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = free_ports(Some(port)).unwrap_err();
        assert!(error.to_string().contains(&port.to_string()), "{error:#}");

        let ports = free_ports(None).unwrap();
        let mut all =
            vec![ports.api_server, ports.etcd, ports.etcd_peer, ports.controller_manager, ports.scheduler];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
    }
}
