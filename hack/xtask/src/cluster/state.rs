//! A cluster's folder: where everything of it lies, and what it was asked to be.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::binaries::{Containerd, Kubernetes, Level, Programs};

/// What a cluster is asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) level: Level,
    pub(crate) kubernetes: Kubernetes,
    pub(crate) kubelet: Kubernetes,
    pub(crate) containerd: Containerd,
    pub(crate) cdi: bool,
    /// `NAME=BOOL` each.
    pub(crate) feature_gates: Vec<String>,
    /// `API=BOOL` each.
    pub(crate) runtime_config: Vec<String>,
    pub(crate) fake_node: Option<String>,
    /// Where the programs were asked to be taken from, if from a folder.
    pub(crate) binaries: Option<PathBuf>,
    pub(crate) api_port: Option<u16>,
}

/// A cluster's wish, and what was chosen for it; written before anything else of the cluster exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) wish: Wish,
    pub(crate) programs: Programs,
    pub(crate) ports: Ports,
    /// The cgroup beneath which the node's pods live.
    pub(crate) cgroup: String,
    /// Whether this machine has the hierarchies of cgroup v1.
    pub(crate) cgroup_v1: bool,
    /// Whether containerd can unpack images with overlayfs where the cluster's folder lies.
    pub(crate) overlayfs: bool,
    pub(crate) runc: PathBuf,
    /// The folder of the CNI plugins.
    pub(crate) cni: PathBuf,
}

/// The TCP ports that the control plane listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) api_server: u16,
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) controller_manager: u16,
    pub(crate) scheduler: u16,
}

impl Wish {
    /// What differs between two wishes for a cluster of the same name, in the words of the flags.
    pub(crate) fn differences(&self, wanted: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |flag: &str, is: String, asked: String| {
            if is != asked {
                found.push(format!("{flag}: it has {is}, asked for was {asked}"));
            }
        };
        let level = |wish: &Self| (wish.level == Level::ControlPlane).to_string();
        compare("--control-plane", level(self), level(wanted));
        compare("--kubernetes", shown(self.kubernetes), shown(wanted.kubernetes));
        if self.level == Level::Node && wanted.level == Level::Node {
            compare("--kubelet", shown(self.kubelet), shown(wanted.kubelet));
            compare("--containerd", shown(self.containerd), shown(wanted.containerd));
            let switch = |on| if on { "on" } else { "off" }.to_owned();
            compare("--cdi", switch(self.cdi), switch(wanted.cdi));
        }
        let list = |gates: &[String]| format!("[{}]", gates.join(", "));
        compare("--feature-gate", list(&self.feature_gates), list(&wanted.feature_gates));
        compare("--runtime-config", list(&self.runtime_config), list(&wanted.runtime_config));
        let text = |name: &Option<String>| name.clone().unwrap_or_else(|| "none".to_owned());
        compare("--fake-node", text(&self.fake_node), text(&wanted.fake_node));
        // Without these flags, whatever runs will do.
        if let Some(folder) = &wanted.binaries {
            let other = self.binaries.as_ref().map(|folder| folder.display().to_string());
            compare("--binaries", text(&other), folder.display().to_string());
        }
        if let Some(port) = wanted.api_port {
            let other = self.api_port.map(|port| port.to_string());
            compare("--api-port", text(&other), port.to_string());
        }
        found
    }

    /// The Kubernetes release in words.
    pub(crate) fn kubernetes_text(&self) -> String {
        let control_plane = shown(self.kubernetes);
        if self.kubelet == self.kubernetes {
            control_plane
        } else {
            format!("{control_plane} with a kubelet {}", shown(self.kubelet))
        }
    }
}

/// A value as it is typed on the command line.
fn shown(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A cluster by its name; it need not exist.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    /// Absolute.
    pub(crate) folder: PathBuf,
}

impl Cluster {
    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), folder: clusters()?.join(name) })
    }

    /// All clusters that have a folder, by name.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let clusters = clusters()?;
        if !clusters.is_dir() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(clusters)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                names.push(name);
            }
        }
        names.sort();
        names.iter().map(|name| Self::named(name)).collect()
    }

    /// What the cluster was asked to be; none where there is no such cluster.
    pub(crate) fn settings(&self) -> Result<Option<Settings>> {
        let file = self.settings_file();
        if !file.exists() {
            return Ok(None);
        }
        let settings = serde_json::from_slice(&fs::read(&file)?);
        settings.map(Some).with_context(|| {
            format!("{} is damaged: run `cargo xtask cluster down --name {}`", file.display(), self.name)
        })
    }

    /// The settings of a cluster that must be there.
    pub(crate) fn existing(&self) -> Result<Settings> {
        match self.settings()? {
            Some(settings) => Ok(settings),
            None => {
                bail!("there is no cluster {0}: start it with `cargo xtask cluster up --name {0}`", self.name)
            }
        }
    }

    pub(crate) fn save(&self, settings: &Settings) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        Ok(fs::write(self.settings_file(), serde_json::to_vec_pretty(settings)?)?)
    }

    fn settings_file(&self) -> PathBuf {
        self.folder.join("settings.json")
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.join("pki")
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.join("config")
    }

    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join("kubeconfig").join(user)
    }

    /// Is there from the moment that the cluster was ready for the first time.
    pub(crate) fn ready_file(&self) -> PathBuf {
        self.folder.join("ready")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    pub(crate) fn fake_node(&self) -> PathBuf {
        self.folder.join("fake-node")
    }

    /// Where the logs of a failed start are kept.
    pub(crate) fn failed_logs(&self) -> PathBuf {
        self.folder.with_file_name(".failed").join(&self.name)
    }

    /// Takes the cluster for this process until the returned file is dropped.
    pub(crate) fn lock(&self) -> Result<fs::File> {
        let folder = self.folder.with_file_name(".locks");
        // Whoever locks first is the user; what root adds for a node lies in folders of the user's.
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(self.folder.with_file_name(".failed"))?;
        let path = folder.join(&self.name);
        let file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        match file.file().try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => bail!(
                "another `cargo xtask cluster` is at work on cluster {}: wait for it, or end it",
                self.name
            ),
            Err(std::fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}

/// The folder of all clusters of this user.
pub(crate) fn clusters() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("dra-driver-xtask/clusters"))
        .context("no folder for clusters: set HOME or XDG_STATE_HOME to an absolute path")
}

/// The last `count` lines of a file; of a file that is not there, none.
pub(crate) fn last_lines(file: &Path, count: usize) -> Vec<String> {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cluster that exists on paper alone.
    pub(crate) fn cluster() -> Cluster {
        Cluster { name: "dev".to_owned(), folder: PathBuf::from("/state/dev") }
    }

    pub(crate) fn settings(level: Level) -> Settings {
        let node = |path: &str| (level == Level::Node).then(|| PathBuf::from(path));
        let ports = match level {
            Level::Node => crate::cluster::preconditions::NODE_PORTS,
            Level::ControlPlane => {
                Ports { api_server: 1, etcd: 2, etcd_peer: 3, controller_manager: 4, scheduler: 5 }
            }
        };
        Settings {
            wish: Wish {
                level,
                kubernetes: Kubernetes::V1_36,
                kubelet: Kubernetes::V1_34,
                containerd: Containerd::V2,
                cdi: true,
                feature_gates: vec!["DRADeviceTaintRules=true".to_owned()],
                runtime_config: vec!["resource.k8s.io/v1beta2=true".to_owned()],
                fake_node: None,
                binaries: None,
                api_port: None,
            },
            programs: Programs {
                kubernetes: PathBuf::from("/kubernetes-1.36"),
                kubelet: node("/kubernetes-1.34"),
                containerd: node("/containerd-2"),
                clients: PathBuf::from("/clients"),
            },
            ports,
            cgroup: "dra-dev-1".to_owned(),
            cgroup_v1: true,
            overlayfs: true,
            runc: PathBuf::from("/usr/sbin/runc"),
            cni: PathBuf::from("/usr/lib/cni"),
        }
    }

    #[test]
    fn what_differs_from_a_running_cluster_is_said_in_the_words_of_the_flags() {
        let running = settings(Level::Node).wish;
        assert_eq!(running.differences(&running), Vec::<String>::new());
        let change = |change: fn(&mut Wish)| {
            let mut wanted = running.clone();
            change(&mut wanted);
            running.differences(&wanted)
        };
        for (name, found, expected) in [
            (
                "kubernetes",
                change(|w| w.kubernetes = Kubernetes::V1_37),
                "--kubernetes: it has 1.36, asked for was 1.37",
            ),
            (
                "kubelet",
                change(|w| w.kubelet = Kubernetes::V1_36),
                "--kubelet: it has 1.34, asked for was 1.36",
            ),
            ("cdi", change(|w| w.cdi = false), "--cdi: it has on, asked for was off"),
            (
                "gates",
                change(|w| w.feature_gates.clear()),
                "--feature-gate: it has [DRADeviceTaintRules=true], asked for was []",
            ),
            (
                "fake node",
                change(|w| w.fake_node = Some("hgx-h100-8".to_owned())),
                "--fake-node: it has none, asked for was hgx-h100-8",
            ),
            (
                "binaries",
                change(|w| w.binaries = Some(PathBuf::from("/other"))),
                "--binaries: it has none, asked for was /other",
            ),
            ("port", change(|w| w.api_port = Some(6443)), "--api-port: it has none, asked for was 6443"),
            (
                "level",
                change(|w| w.level = Level::ControlPlane),
                "--control-plane: it has false, asked for was true",
            ),
        ] {
            assert_eq!(found, [expected], "{name}");
        }
    }

    #[test]
    fn settings_survive_being_saved() {
        let temporary = tempfile::tempdir().unwrap();
        let cluster = Cluster { name: "a".to_owned(), folder: temporary.path().join("a") };
        assert_eq!(cluster.settings().unwrap(), None);
        cluster.save(&settings(Level::Node)).unwrap();
        assert_eq!(cluster.settings().unwrap(), Some(settings(Level::Node)));
        fs::write(cluster.folder.join("settings.json"), "{").unwrap();
        let error = cluster.settings().unwrap_err().to_string();
        assert!(error.contains("cluster down --name a"), "{error}");
    }

    #[test]
    fn one_at_a_time_works_on_a_cluster() {
        let temporary = tempfile::tempdir().unwrap();
        let cluster = Cluster { name: "a".to_owned(), folder: temporary.path().join("clusters/a") };
        let lock = cluster.lock().unwrap();
        assert!(cluster.lock().unwrap_err().to_string().contains("at work on cluster a"));
        drop(lock);
        cluster.lock().unwrap();
    }
}
