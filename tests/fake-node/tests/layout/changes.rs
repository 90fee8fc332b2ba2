//! GPUs that come and go, and drivers that are replaced.

use std::fs;
use std::path::PathBuf;

use fake_node::description::Description;
use fake_node::layout;

use crate::{Laid, VERSION};

#[test]
fn a_gpu_goes_without_a_trace_and_comes_back_the_same() {
    for description in ["hgx-h100-8", "h200-nvl-8"] {
        let node = Laid::new(description);
        let before = node.everything();
        let gpu = &node.state.gpus[3];

        layout::remove_gpu(&node.dir(), &node.state, gpu).unwrap();
        layout::remove_gpu(&node.dir(), &node.state, gpu).unwrap();
        let address = gpu.pci.to_string();
        let after = node.everything();
        assert!(!after.keys().any(|path| path.ends_with(&address)), "{address}");
        assert!(!node.path("dev/nvidia3").exists());
        // Its neighbours and the bridges above it stay.
        assert!(node.path("dev/nvidia2").exists());
        for bridge in &gpu.bridges {
            assert!(node.path("sys/bus/pci/devices").join(bridge.to_string()).exists());
        }

        layout::add_gpu(&node.dir(), &node.state, gpu).unwrap();
        assert_eq!(node.everything(), before, "{description}");
    }
}

#[test]
fn the_driver_of_a_branch_has_the_libraries_of_that_branch() {
    for (version, library, there) in [
        ("535.261.03", "libnvidia-gpucomp", true),
        ("550.163.01", "libnvidia-sandboxutils", false),
        ("570.170.01", "libnvidia-sandboxutils", true),
        ("550.163.01", "libnvidia-present", false),
        ("580.126.20", "libnvidia-present", true),
    ] {
        let mut node = Laid::new("h100-nvl-2");
        let description = Description::builtin("h100-nvl-2").unwrap();
        node.state = description.with_driver_version(version).unwrap().state();
        layout::uninstall_driver(&node.dir(), VERSION).unwrap();
        layout::install_driver(&node.state, &node.dir(), &node.library()).unwrap();
        let path = node.libraries().join(format!("{library}.so.{version}"));
        assert_eq!(path.exists(), there, "{}", path.display());
    }
}

#[test]
fn another_driver_takes_the_place_of_the_first() {
    // Both orders of a reload: the old one goes first, or the new one comes first.
    for old_goes_first in [true, false] {
        let mut node = Laid::new("h100-nvl-2");
        let state_file = layout::state_file(&node.path("driver"), VERSION);
        fs::write(&state_file, "state").unwrap();
        let description = Description::builtin("h100-nvl-2").unwrap();
        node.state = description.with_driver_version("570.170.01").unwrap().state();
        let install = || layout::install_driver(&node.state, &node.dir(), &node.library()).unwrap();
        if old_goes_first {
            layout::uninstall_driver(&node.dir(), VERSION).unwrap();
            assert!(!node.path("proc/driver/nvidia/version").exists());
            assert!(!node.path("sys/module/nvidia/version").exists());
            assert!(!node.libraries().join("libnvidia-ml.so.1").exists());
            install();
        } else {
            install();
            layout::uninstall_driver(&node.dir(), VERSION).unwrap();
        }
        for link in ["libnvidia-ml.so.1", "libcuda.so.1", "libcuda.so", "libnvidia-nvvm.so.4"] {
            let target = fs::canonicalize(node.libraries().join(link)).unwrap();
            assert!(target.to_string_lossy().ends_with("570.170.01"), "{}", target.display());
        }
        assert_eq!(node.read("sys/module/nvidia/version"), "570.170.01\n");
        assert!(node.read("proc/driver/nvidia/version").contains("  570.170.01  "));
        let information = node.read("proc/driver/nvidia/gpus/0000:17:00.0/information");
        assert!(information.contains("570.170.01"), "{information}");
        assert!(node.path("proc/devices").exists());
        // Nothing of the old one is left but the state, which is not the layout's.
        let left: Vec<PathBuf> =
            node.everything().into_keys().filter(|path| path.to_string_lossy().contains(VERSION)).collect();
        assert_eq!(left, [state_file.parent().unwrap().to_owned(), state_file]);
    }
}

#[test]
fn a_mapped_library_is_replaced_and_not_overwritten() {
    let node = Laid::new("h100-nvl-2");
    let path = node.libraries().join(format!("libnvidia-ml.so.{VERSION}"));
    let open = fs::File::open(&path).unwrap();
    fs::write(node.library(), "another build").unwrap();
    layout::install_driver(&node.state, &node.dir(), &node.library()).unwrap();
    assert_eq!(std::io::read_to_string(open).unwrap(), "the fake library");
    assert_eq!(fs::read_to_string(path).unwrap(), "another build");
}
