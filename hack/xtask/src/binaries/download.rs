//! `--download`: upstream's official releases, each archive proven by a digest that stands here.
//!
//! Kubernetes' digests are those of its own change logs (CHANGELOG/CHANGELOG-1.34.md and -1.36.md), etcd's and
//! containerd's those that kubespray checks its downloads with (roles/kubespray_defaults/vars/main/checksums.yml).
//! Only releases whose digests are published there are known, so their patch versions differ from those that
//! are built.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;

use super::room::{self, Need};
use super::{CONTAINERD, Containerd, KUBELET, Kubernetes, make_executable};
use crate::digest::Digest;
use crate::{command, store};

/// A gzipped tar archive that holds programs.
#[derive(Debug, Clone, Copy)]
struct Archive {
    host: &'static str,
    path: &'static str,
    digest: Digest,
    /// The folder inside the archive where the programs lie.
    folder: &'static str,
    programs: &'static [&'static [&'static str]],
}

/// What fills one cache entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Release {
    title: &'static str,
    entry: &'static str,
    /// How much is fetched at most, and how much space archives and programs take at most.
    fetched_mb: u64,
    space_mb: u64,
    archives: &'static [Archive],
}

const ETCD: Archive = Archive {
    host: "https://github.com",
    path: "/etcd-io/etcd/releases/download/v3.6.8/etcd-v3.6.8-linux-amd64.tar.gz",
    digest: Digest::Sha256("cf9cfe91a4856cb90eed9c99e6aee4b708db2c7888b88a6f116281f04b0ea693"),
    folder: "etcd-v3.6.8-linux-amd64",
    programs: &[&["etcd"]],
};

const KUBERNETES_PROGRAMS: &[&[&str]] =
    &[&["kube-apiserver", "kube-controller-manager", "kube-scheduler"], &KUBELET];

const KUBERNETES_1_36: Release = Release {
    title: "Kubernetes 1.36.0 and etcd 3.6.8",
    entry: "released-kubernetes-1.36.0-etcd-3.6.8",
    fetched_mb: 450,
    space_mb: 1200,
    archives: &[
        Archive {
            host: "https://dl.k8s.io",
            path: "/v1.36.0/kubernetes-server-linux-amd64.tar.gz",
            digest: Digest::Sha512(
                "1c64da92575451c2c7ff97c79b772e603995f8e76da1371a6b0746aaa27b65dce81c4d734cbb50f40e71486a8e08df36f14e12974f97d4d29e41f23a172a6a25",
            ),
            folder: "kubernetes/server/bin",
            programs: KUBERNETES_PROGRAMS,
        },
        ETCD,
    ],
};

const KUBERNETES_1_34: Release = Release {
    title: "Kubernetes 1.34.7 and etcd 3.6.8",
    entry: "released-kubernetes-1.34.7-etcd-3.6.8",
    archives: &[
        Archive {
            host: "https://dl.k8s.io",
            path: "/v1.34.7/kubernetes-server-linux-amd64.tar.gz",
            digest: Digest::Sha512(
                "baaf8dd4ff110a384e9dfe3db54a85a04223074fd13da32a38f9883a12b93bcd26ae4d666bbc2f37724f0a6631f3d2e4ddb97caaf909906711a824afd70cec81",
            ),
            folder: "kubernetes/server/bin",
            programs: KUBERNETES_PROGRAMS,
        },
        ETCD,
    ],
    ..KUBERNETES_1_36
};

const CONTAINERD_2: Release = Release {
    title: "containerd 2.3.4",
    entry: "released-containerd-2.3.4",
    fetched_mb: 50,
    space_mb: 200,
    archives: &[Archive {
        host: "https://github.com",
        path: "/containerd/containerd/releases/download/v2.3.4/containerd-2.3.4-linux-amd64.tar.gz",
        digest: Digest::Sha256("9d68969855fbf676cdb8ed758e420fb048d61f984f61de3e53eddfebe484d168"),
        folder: "bin",
        programs: &[&CONTAINERD],
    }],
};

const CONTAINERD_1_7: Release = Release {
    title: "containerd 1.7.34",
    entry: "released-containerd-1.7.34",
    archives: &[Archive {
        host: "https://github.com",
        path: "/containerd/containerd/releases/download/v1.7.34/containerd-1.7.34-linux-amd64.tar.gz",
        digest: Digest::Sha256("640f989745020ea4897ad0a3d7d977863a7279d3f2e132792fc62c25a45bda50"),
        folder: "bin",
        programs: &[&CONTAINERD],
    }],
    ..CONTAINERD_2
};

/// The control plane and the kubelet of a release, where digests of it are known.
pub(super) fn kubernetes(release: Kubernetes) -> Result<Release> {
    match release {
        Kubernetes::V1_34 => Ok(KUBERNETES_1_34),
        Kubernetes::V1_36 => Ok(KUBERNETES_1_36),
        Kubernetes::V1_37 => bail!(
            "no digest of an official Kubernetes 1.37 is pinned, so none is downloaded: leave out --download to \
             build it, or give a folder of programs that you trust (--binaries)"
        ),
    }
}

/// containerd, its runc shim and ctr.
pub(super) fn containerd(release: Containerd) -> Release {
    match release {
        Containerd::V1_7 => CONTAINERD_1_7,
        Containerd::V2 => CONTAINERD_2,
    }
}

/// Provides the releases in their order, fetching what the cache lacks: from their official hosts, or all
/// from `base` with the same paths.
pub(super) fn provide(cache: &Path, releases: &[Release], base: Option<&str>) -> Result<Vec<PathBuf>> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "official releases are pinned for x86-64 alone: leave out --download to build them"
    );
    let missing: Vec<&Release> =
        releases.iter().filter(|release| !cache.join(release.entry).is_dir()).collect();
    if !missing.is_empty() {
        eprintln!(
            "These releases are not in the cache of this machine yet and are fetched, without privileges:"
        );
        for Release { title, fetched_mb, space_mb, .. } in &missing {
            eprintln!(
                "  {title:<34} up to {fetched_mb} MB to fetch, {space_mb} MB of disk in {}",
                cache.display()
            );
        }
        let megabytes = missing.iter().map(|release| release.space_mb).sum();
        room::require(&[Need { folder: cache, megabytes }])?;
    }
    for release in missing {
        store::folder_in(cache, release.entry, |folder| {
            release.archives.iter().try_for_each(|archive| fetch(archive, base, folder))
        })?;
    }
    Ok(releases.iter().map(|release| cache.join(release.entry)).collect())
}

/// Fetches an archive, proves it, and leaves its programs in `folder`.
fn fetch(archive: &Archive, base: Option<&str>, folder: &Path) -> Result<()> {
    let url = format!("{}{}", base.unwrap_or(archive.host).trim_end_matches('/'), archive.path);
    let file = folder.join("archive.tar.gz");
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--show-error", "--connect-timeout", "20"]);
    // The bar is redrawn in place, which only a terminal can do.
    curl.arg(if std::io::stderr().is_terminal() { "--progress-bar" } else { "--silent" });
    // A transfer is given up when it stands, however long it takes as a whole.
    curl.args(["--speed-limit", "1000", "--speed-time", "30", "--retry", "2", "--output"]);
    command::run_aside(curl.arg(&file).arg(&url)).with_context(|| {
        format!("cannot fetch {url}: is the network there? A mirror can be named (--from), or a folder (--binaries)")
    })?;
    archive.digest.verify(&file, &url)?;

    let names: Vec<&str> = archive.programs.iter().copied().flatten().copied().collect();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--no-same-owner", "--file"]).arg(&file).arg("--directory").arg(folder);
    command::run_aside(tar.args(names.iter().map(|name| format!("{}/{name}", archive.folder))))?;
    for name in names {
        fs::rename(folder.join(archive.folder).join(name), folder.join(name))?;
        make_executable(&folder.join(name))?;
    }
    let top = archive.folder.split('/').next().unwrap_or(archive.folder);
    fs::remove_dir_all(folder.join(top))?;
    Ok(fs::remove_file(file)?)
}

#[cfg(test)]
mod tests;
