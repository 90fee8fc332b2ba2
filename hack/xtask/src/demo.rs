//! `cargo xtask demo`: two fake nodes, and what the plugin sees on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;
use serde_json::Value;

use crate::command;

const NODES: [(&str, &str); 2] = [
    ("hgx-h100-8", "eight H100 SXM5 80GB on an HGX board"),
    ("hgx-h200-8", "eight H200 SXM5 141GB on an HGX board"),
];

/// Shows `inspect` on an H100 and an H200 node; `keep` leaves the nodes in place.
pub(crate) fn demo(root: &Path, keep: bool) -> Result<()> {
    println!("Building the plugin, and the fake node with its fake NVML library. No GPU is needed.");
    command::run(Command::new("cargo").args([
        "build",
        "--package=fake-node",
        "--package=fake-nvml",
        "--package=dra-kubelet-plugin",
    ]))?;
    let programs = programs()?;
    let folder = Folder::new(root.join(".build/demo"), keep)?;
    for (description, words) in NODES {
        let node = folder.path.join(description);
        println!(
            "\nA fake node: {words}. It is a folder with the driver's files, /dev, /proc and /sys; its \
             libnvidia-ml.so.1 answers as that node's would."
        );
        command::run(
            Command::new(programs.join("fake-node")).args(["create", description, "--dir"]).arg(&node),
        )?;
        println!(
            "\nThe plugin looks at it as it would at a real node: NVML for the GPUs, sysfs for PCI and NUMA."
        );
        command::run(
            Command::new(programs.join("dra-kubelet-plugin"))
                .arg("inspect")
                .arg("--driver-root")
                .arg(node.join("driver"))
                .arg("--sysfs")
                .arg(node.join("sys"))
                .arg("--procfs")
                .arg(node.join("proc")),
        )?;
    }
    if keep {
        println!(
            "\nThe nodes stay in {0}. Break one and look again:\n  {1} inject {0}/{2} --help",
            folder.path.display(),
            programs.join("fake-node").display(),
            NODES[0].0
        );
    }
    Ok(())
}

/// Where cargo puts programs of the development profile.
fn programs() -> Result<PathBuf> {
    let metadata =
        command::output(Command::new("cargo").args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let target = metadata["target_directory"].as_str().context("`cargo metadata` names no target folder")?;
    Ok(Path::new(target).join("debug"))
}

/// The demo's folder. It has a fixed place, so that what an interrupted run leaves is removed by the next.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(path: PathBuf, keep: bool) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("warning: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_starts_empty_and_goes_unless_it_is_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("demo");
        for (name, keep) in [("kept", true), ("removed, with what was kept before", false)] {
            let folder = Folder::new(path.clone(), keep).unwrap();
            assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "{name}");
            fs::write(path.join("node"), "").unwrap();
            drop(folder);
            assert_eq!(path.exists(), keep, "{name}");
        }
    }
}
