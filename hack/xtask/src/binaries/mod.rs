//! The programs of the test cluster: built from upstream's sources, taken from a folder, or downloaded.

mod arguments;
mod build;
mod download;
mod folder;
pub(crate) mod go;
mod kubectl;
mod room;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{command, store};
use build::Recipe;

pub(crate) use arguments::{Arguments, print};
pub(crate) use go::Go;

/// How much of a cluster is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Level {
    /// etcd, API server, scheduler and controller manager
    ControlPlane,
    /// The control plane, and a node with kubelet and containerd
    Node,
}

/// A Kubernetes release that the cluster runs, by its minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Kubernetes {
    /// The oldest that the driver supports
    #[value(name = "1.34")]
    V1_34,
    /// The default
    #[value(name = "1.36")]
    V1_36,
    /// The newest
    #[value(name = "1.37")]
    V1_37,
}

impl Kubernetes {
    /// The minor version as people write it, such as `1.36`.
    pub(crate) fn minor(self) -> &'static str {
        match self {
            Self::V1_34 => "1.34",
            Self::V1_36 => "1.36",
            Self::V1_37 => "1.37",
        }
    }
}

/// A containerd release that the cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Containerd {
    /// The long-term release
    #[value(name = "1.7")]
    V1_7,
    /// The default
    #[value(name = "2")]
    V2,
}

/// The programs that are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) level: Level,
    /// The release of the control plane.
    pub(crate) kubernetes: Kubernetes,
    /// The release of the kubelet, which may be older; unused at [`Level::ControlPlane`].
    pub(crate) kubelet: Kubernetes,
    /// Unused at [`Level::ControlPlane`].
    pub(crate) containerd: Containerd,
}

impl Containerd {
    /// The series as people write it, such as `1.7`.
    pub(crate) fn series(self) -> &'static str {
        match self {
            Self::V1_7 => "1.7",
            Self::V2 => "2",
        }
    }
}

impl Wanted {
    /// The Kubernetes releases that are wanted, each once; the control plane's comes first.
    fn kubernetes_releases(&self) -> Vec<Kubernetes> {
        let mut releases = vec![self.kubernetes];
        if self.level == Level::Node && self.kubelet != self.kubernetes {
            releases.push(self.kubelet);
        }
        releases
    }

    fn containerd_release(&self) -> Option<Containerd> {
        (self.level == Level::Node).then_some(self.containerd)
    }
}

/// Where the programs come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// The cache of this machine; what it lacks is built.
    CacheOrBuild,
    /// A folder that holds all of them under upstream's names.
    Folder(PathBuf),
    /// Official releases, by pinned digests, through the cache.
    Download {
        /// A base URL instead of `https://dl.k8s.io` and `https://github.com`: a mirror with their paths.
        from: Option<String>,
    },
}

/// Folders that hold the programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Programs {
    /// Holds etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
    pub(crate) kubernetes: PathBuf,
    /// Holds kubelet; `None` at [`Level::ControlPlane`].
    pub(crate) kubelet: Option<PathBuf>,
    /// Holds containerd, containerd-shim-runc-v2 and ctr; `None` at [`Level::ControlPlane`].
    pub(crate) containerd: Option<PathBuf>,
    /// Holds helm and kubectl.
    pub(crate) clients: PathBuf,
}

const CONTROL_PLANE: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
const KUBELET: [&str; 1] = ["kubelet"];
const CONTAINERD: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];
const ALLOCATOR_ORACLE: &str = "allocator-oracle";
const CEL_ORACLE: &str = "cel-oracle";
const CLIENTS: [&str; 2] = ["helm", "kubectl"];

/// Provides the programs; silent where all of them are there, else it first says what that takes.
///
/// Runs as whoever calls it and needs no privileges. The current folder must lie in the workspace.
pub(crate) fn provide(wanted: &Wanted, source: &Source) -> Result<Programs> {
    match source {
        Source::Folder(folder) => folder::check(folder, wanted),
        Source::CacheOrBuild => {
            // First what takes seconds: where the network is away, nobody waits for builds to learn it.
            let clients = kubectl::provide()?;
            Ok(arrange(wanted, &built(wanted)?, clients))
        }
        Source::Download { from } => {
            let folders = downloaded(wanted, from.as_deref())?;
            Ok(arrange(wanted, &folders, kubectl::provide()?))
        }
    }
}

fn built(wanted: &Wanted) -> Result<Vec<PathBuf>> {
    let modules = modules()?;
    let mut recipes = Vec::new();
    for release in wanted.kubernetes_releases() {
        recipes.push(Recipe::kubernetes(&modules, release)?);
    }
    if let Some(release) = wanted.containerd_release() {
        recipes.push(Recipe::containerd(&modules, release)?);
    }
    build::provide(&store::cache()?, &recipes)
}

fn downloaded(wanted: &Wanted, from: Option<&str>) -> Result<Vec<PathBuf>> {
    let mut releases = Vec::new();
    for release in wanted.kubernetes_releases() {
        releases.push(download::kubernetes(release)?);
    }
    releases.extend(wanted.containerd_release().map(download::containerd));
    download::provide(&store::cache()?, &releases, from)
}

/// Says which folder holds what: `folders` are those of [`Wanted::kubernetes_releases`], then that of containerd.
fn arrange(wanted: &Wanted, folders: &[PathBuf], clients: PathBuf) -> Programs {
    // The kubelet's folder is the control plane's where both are of one release.
    let kubernetes_releases = wanted.kubernetes_releases().len();
    let of_node = |index: usize| (wanted.level == Level::Node).then(|| folders[index].clone());
    Programs {
        kubernetes: folders[0].clone(),
        kubelet: of_node(kubernetes_releases - 1),
        containerd: of_node(kubernetes_releases),
        clients,
    }
}

/// The folder of our Go modules.
fn modules() -> Result<PathBuf> {
    Ok(command::workspace_root()?.join("hack/cluster"))
}

/// Makes a file a program for everybody: neither Python's zipfile nor every archive keeps that.
fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs_err::set_permissions(file, std::fs::Permissions::from_mode(0o755))?)
}

/// The program of the image `pause`.
pub(crate) fn pause() -> Result<PathBuf> {
    let folders = build::provide(&store::cache()?, &[Recipe::pause(&modules()?)?])?;
    Ok(folders[0].join("pause"))
}

/// The program that answers with the scheduler's allocator, for the suite that compares ours with it.
pub(crate) fn allocator_oracle() -> Result<PathBuf> {
    let folders = build::provide(&store::cache()?, &[Recipe::allocator_oracle(&modules()?)?])?;
    Ok(folders[0].join(ALLOCATOR_ORACLE))
}

/// The program that answers with the scheduler's compiler of device selectors, for the test that compares ours with it.
pub(crate) fn cel_oracle() -> Result<PathBuf> {
    let folders = build::provide(&store::cache()?, &[Recipe::cel_oracle(&modules()?)?])?;
    Ok(folders[0].join(CEL_ORACLE))
}

/// The program helm, for tests of the chart that need no cluster.
pub(crate) fn helm() -> Result<PathBuf> {
    Ok(kubectl::provide()?.join("helm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_in_the_folder_of_its_release() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (name, level, kubelet, folders, expected_kubelet, expected_containerd) in [
            ("control plane", Level::ControlPlane, Kubernetes::V1_36, &["k36"][..], None, None),
            ("control plane, unused kubelet", Level::ControlPlane, Kubernetes::V1_34, &["k36"], None, None),
            ("node", Level::Node, Kubernetes::V1_36, &["k36", "c2"], Some("k36"), Some("c2")),
            ("older kubelet", Level::Node, Kubernetes::V1_34, &["k36", "k34", "c2"], Some("k34"), Some("c2")),
        ] {
            let wanted = Wanted { level, kubernetes: Kubernetes::V1_36, kubelet, containerd: Containerd::V2 };
            let expected = Programs {
                kubernetes: PathBuf::from("k36"),
                kubelet: expected_kubelet.map(PathBuf::from),
                containerd: expected_containerd.map(PathBuf::from),
                clients: PathBuf::from("clients"),
            };
            assert_eq!(arrange(&wanted, &paths(folders), PathBuf::from("clients")), expected, "{name}");
        }
    }
}
