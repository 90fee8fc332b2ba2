//! The files of a node, looked at with the tools that look at real ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper that fails is a failed test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fake_node::description::Description;
use fake_node::layout::{self, DeviceNodes, LayoutError, NodeKind};
use fake_node::model::NodeState;
use tempfile::TempDir;

const VERSION: &str = "550.163.01";

mod changes;
mod driver_root;
mod kernel;

/// A node that lies in a folder of its own.
struct Laid {
    root: TempDir,
    state: NodeState,
}

impl Laid {
    fn new(description: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let state = Description::builtin(description).unwrap().state();
        let library = root.path().join("library.so");
        fs::write(&library, "the fake library").unwrap();
        let laid = Self { root, state };
        let kind = layout::create(&laid.state, &laid.dir(), &laid.library(), DeviceNodes::Record);
        assert_eq!(kind.unwrap(), NodeKind::Record);
        laid
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("node")
    }

    fn library(&self) -> PathBuf {
        self.root.path().join("library.so")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn libraries(&self) -> PathBuf {
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        self.path("driver/usr/lib").join(triplet)
    }

    /// Every path below the node, with what stands there.
    fn everything(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.dir()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap().file_type();
                let what = if kind.is_symlink() {
                    format!("link to {}", fs::read_link(&path).unwrap().display())
                } else if kind.is_dir() {
                    folders.push(path.clone());
                    "folder".to_owned()
                } else {
                    format!("{:?}", fs::read(&path).unwrap())
                };
                found.insert(path, what);
            }
        }
        found
    }
}

#[test]
fn root_makes_character_devices() {
    let node = Laid::new("h100-nvl-2");
    let dir = node.root.path().join("other");
    let root = rustix::process::geteuid().is_root();
    match layout::create(&node.state, &dir, &node.library(), DeviceNodes::Mknod) {
        Ok(kind) => {
            assert!(root);
            assert_eq!(kind, NodeKind::Character);
            let metadata = fs::metadata(dir.join("dev/nvidia1")).unwrap();
            assert!(metadata.file_type().is_char_device());
            assert_eq!(metadata.permissions().mode() & 0o777, 0o666);
            assert_eq!(metadata.rdev(), rustix::fs::makedev(195, 1));
            let gpu = &node.state.gpus[1];
            layout::remove_gpu(&dir, &node.state, gpu).unwrap();
            assert!(!dir.join("dev/nvidia1").exists());
            layout::add_gpu(&dir, &node.state, gpu).unwrap();
            let metadata = fs::metadata(dir.join("dev/nvidia1")).unwrap();
            assert!(metadata.file_type().is_char_device());
        }
        Err(error) => {
            assert!(matches!(error, LayoutError::DeviceNode { .. }), "{error}");
            assert!(error.to_string().contains("run as root"), "{error}");
        }
    }
}

#[test]
fn auto_makes_nodes_that_say_truly_what_they_are() {
    let node = Laid::new("h100-nvl-2");
    let dir = node.root.path().join("other");
    let kind = layout::create(&node.state, &dir, &node.library(), DeviceNodes::Auto).unwrap();
    let file_type = fs::metadata(dir.join("dev/nvidia0")).unwrap().file_type();
    assert_eq!(file_type.is_char_device(), kind == NodeKind::Character);
    // No driver stands behind the node, but the kernel looked for one: it was not the mount that refused.
    if kind == NodeKind::Character
        && let Err(error) = fs::File::open(dir.join("dev/nvidia0"))
    {
        assert_ne!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
    }
    assert!(!dir.join(".probe").exists());
}

#[test]
fn a_removed_gpu_is_not_laid_out() {
    let mut state = Description::builtin("h100-nvl-2").unwrap().state();
    state.gpus[0].live.presence = fake_node::model::Presence::Removed;
    let node = Laid::new("h100-nvl-2");
    let dir = node.root.path().join("other");
    layout::create(&state, &dir, &node.library(), DeviceNodes::Record).unwrap();
    assert!(!dir.join("dev/nvidia0").exists());
    assert!(dir.join("dev/nvidia1").exists());
}

#[test]
fn what_cannot_be_laid_out_is_refused() {
    let node = Laid::new("h100-nvl-2");
    let create = |dir: &Path, library: &Path| {
        layout::create(&node.state, dir, library, DeviceNodes::Record).unwrap_err().to_string()
    };
    let before = node.everything();
    let error = create(&node.dir(), &node.library());
    assert!(error.contains("not empty") && error.contains(node.dir().to_str().unwrap()), "{error}");
    assert_eq!(node.everything(), before);

    let error = create(&node.root.path().join("a"), Path::new("/nonexistent/libfake.so"));
    assert!(error.contains("/nonexistent/libfake.so") && error.contains("cargo build"), "{error}");
    let error = create(&node.library().join("below-a-file"), &node.library());
    assert!(error.contains("below-a-file"), "{error}");
}

#[test]
fn all_nodes_can_be_laid_out() {
    for (name, gpus) in [
        ("hgx-h100-8", 8),
        ("hgx-h200-8", 8),
        ("h100-pcie-4", 4),
        ("h100-nvl-2", 2),
        ("h200-nvl-8", 8),
        ("mixed", 4),
        ("h100-16", 16),
    ] {
        let node = Laid::new(name);
        let drivers = fs::read_dir(node.path("sys/bus/pci/drivers/nvidia")).unwrap();
        assert_eq!(drivers.count(), gpus, "{name}");
        for path in node.everything().keys() {
            assert!(path.exists(), "{name}: {} leads nowhere", path.display());
        }
    }
}
