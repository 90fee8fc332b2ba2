//! `cargo xtask binaries`: the programs without a cluster, so that a build can be a step of its own.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Containerd, Kubernetes, Level, Source, Wanted};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Those of the control plane alone
    #[arg(long)]
    control_plane: bool,
    /// The Kubernetes release
    #[arg(long, default_value = "1.36")]
    kubernetes: Kubernetes,
    /// The kubelet's release, where it is not that of the control plane
    #[arg(long, conflicts_with = "control_plane")]
    kubelet: Option<Kubernetes>,
    /// The containerd release
    #[arg(long, default_value = "2")]
    containerd: Containerd,
    /// Check that this folder holds all of them, and make nothing
    #[arg(long, value_name = "FOLDER", conflicts_with = "download")]
    binaries: Option<PathBuf>,
    /// Download official releases, by pinned digests, instead of building them
    #[arg(long)]
    download: bool,
    /// Download from this address instead of the official hosts, with the same paths
    #[arg(long, requires = "download", value_name = "URL")]
    from: Option<String>,
}

/// Provides the programs and prints the folders that hold them.
pub(crate) fn print(arguments: &Arguments) -> Result<()> {
    let wanted = Wanted {
        level: if arguments.control_plane { Level::ControlPlane } else { Level::Node },
        kubernetes: arguments.kubernetes,
        kubelet: arguments.kubelet.unwrap_or(arguments.kubernetes),
        containerd: arguments.containerd,
    };
    let source = match &arguments.binaries {
        Some(folder) => Source::Folder(folder.clone()),
        None if arguments.download => Source::Download { from: arguments.from.clone() },
        None => Source::CacheOrBuild,
    };
    let programs = super::provide(&wanted, &source)?;
    println!("kubernetes {}", programs.kubernetes.display());
    for (name, folder) in [("kubelet", &programs.kubelet), ("containerd", &programs.containerd)] {
        if let Some(folder) = folder {
            println!("{name:<10} {}", folder.display());
        }
    }
    println!("clients    {}", programs.clients.display());
    Ok(())
}
