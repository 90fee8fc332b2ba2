//! What the kernel shows: devices, `/proc`, `/sys`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fake_node::layout;

use crate::{Laid, VERSION};

#[test]
fn devices_are_those_of_a_driver() {
    let node = Laid::new("hgx-h100-8");
    assert_eq!(fs::read_link(node.path("dev")).unwrap(), Path::new("driver/dev"));
    let devices = node.read("proc/devices");
    let major = |name: &str| {
        let line = devices.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {devices}"));
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(major("nvidia"), "195");
    // Minors 255 and 254, and 1 for the tools, are the kernel modules'; capability modes too.
    for (device, major, minor, mode) in [
        ("nvidia0", major("nvidia"), 0, 0o666),
        ("nvidia7", major("nvidia"), 7, 0o666),
        ("nvidiactl", major("nvidia"), 255, 0o666),
        ("nvidia-modeset", major("nvidia"), 254, 0o666),
        ("nvidia-uvm", major("nvidia-uvm"), 0, 0o666),
        ("nvidia-uvm-tools", major("nvidia-uvm"), 1, 0o666),
        ("nvidia-nvswitch3", major("nvidia-nvswitch"), 3, 0o666),
        ("nvidia-nvswitchctl", major("nvidia-nvswitch"), 255, 0o666),
        ("nvidia-caps/nvidia-cap1", major("nvidia-caps"), 1, 0o400),
        ("nvidia-caps/nvidia-cap2", major("nvidia-caps"), 2, 0o444),
    ] {
        let path = node.path("dev").join(device);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("c {major} {minor} {mode:04o}\n"));
        let found = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{device}");
    }
    assert!(!node.path("dev/nvidia8").exists());
    assert!(!Laid::new("h100-pcie-4").path("dev/nvidia-nvswitchctl").exists());

    let mut older = Laid::new("h100-pcie-4");
    older.state.driver.version = "535.261.03".to_owned();
    layout::install_driver(&older.state, &older.dir(), &older.library()).unwrap();
    assert!(older.read("proc/devices").contains("195 nvidia-frontend\n"));
}

#[test]
fn proc_tells_what_the_kernel_module_tells() {
    let node = Laid::new("hgx-h100-8");
    let version = node.read("proc/driver/nvidia/version");
    let arch = std::env::consts::ARCH;
    assert!(
        version.starts_with(&format!("NVRM version: NVIDIA UNIX {arch} Kernel Module  550.163.01  ")),
        "{version}"
    );
    assert!(version.lines().nth(1).unwrap().starts_with("GCC version:  gcc version"));

    let information = node.read("proc/driver/nvidia/gpus/0000:1b:00.0/information");
    let pairs: Vec<(&str, &str)> = information
        .lines()
        .map(|line| line.split_once(':').unwrap())
        .map(|(key, value)| (key, value.trim()))
        .collect();
    let keys: Vec<&str> = pairs.iter().map(|(key, _)| *key).collect();
    assert_eq!(
        keys,
        [
            "Model",
            "IRQ",
            "GPU UUID",
            "Video BIOS",
            "Bus Type",
            "DMA Size",
            "DMA Mask",
            "Bus Location",
            "Device Minor",
            "GPU Firmware",
            "GPU Excluded"
        ]
    );
    for (key, value) in [
        ("Model", "NVIDIA H100 80GB HBM3"),
        ("GPU UUID", &node.state.gpus[0].uuid),
        ("Bus Location", "0000:1b:00.0"),
        ("Device Minor", "0"),
        ("GPU Firmware", VERSION),
        ("GPU Excluded", "No"),
    ] {
        assert!(pairs.contains(&(key, value)), "{key}: {value} is not in {information}");
    }
    assert_eq!(fs::read_dir(node.path("proc/driver/nvidia/gpus")).unwrap().count(), 8);
    assert!(node.read("proc/driver/nvidia/params").contains("ModifyDeviceFiles: 1\n"));
}

#[test]
fn mig_capabilities_have_the_kernel_module_s_minors() {
    let node = Laid::new("h100-nvl-2");
    let table = node.read("proc/driver/nvidia-caps/mig-minors");
    // From the table in NVIDIA's open kernel modules, nv-caps.c.
    for line in [
        "config 1",
        "monitor 2",
        "gpu0/gi0/access 3",
        "gpu0/gi0/ci0/access 4",
        "gpu0/gi1/access 12",
        "gpu0/gi14/ci7/access 137",
        "gpu1/gi0/access 138",
        "gpu31/gi14/ci7/access 4322",
    ] {
        assert!(table.lines().any(|present| present == line), "{line}");
    }
    assert_eq!(table.lines().count(), 2 + 32 * 15 * 9);
    assert_eq!(layout::gpu_instance_capability(1, 0), 138);
    assert_eq!(layout::compute_instance_capability(31, 14, 7), 4322);
    assert_eq!(
        node.read("proc/driver/nvidia/capabilities/mig/config"),
        "DeviceFileMinor: 1\nDeviceFileMode: 256\nDeviceFileModify: 1\n"
    );
    assert_eq!(
        node.read("proc/driver/nvidia/capabilities/mig/monitor"),
        "DeviceFileMinor: 2\nDeviceFileMode: 292\nDeviceFileModify: 1\n"
    );
}

#[test]
fn sysfs_shows_the_pci_tree() {
    let node = Laid::new("hgx-h100-8");
    let device = "sys/bus/pci/devices/0000:1b:00.0";
    for (file, content) in [
        ("vendor", "0x10de"),
        ("device", "0x2330"),
        ("subsystem_vendor", "0x10de"),
        ("subsystem_device", "0x16c1"),
        ("class", "0x030200"),
        ("numa_node", "0"),
        ("local_cpulist", "0-55,112-167"),
        // CPUs 0 to 55 and 112 to 167 of 224.
        ("local_cpus", "00000000,000000ff,ffffffff,ffff0000,00000000,00ffffff,ffffffff"),
        ("current_link_speed", "32.0 GT/s PCIe"),
        ("max_link_speed", "32.0 GT/s PCIe"),
        ("current_link_width", "16"),
        ("max_link_width", "16"),
    ] {
        assert_eq!(node.read(&format!("{device}/{file}")), format!("{content}\n"), "{file}");
    }
    let link = fs::read_link(node.path(device)).unwrap();
    let expected = "../../../devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0/0000:1b:00.0";
    assert_eq!(link, Path::new(expected));
    let folder = fs::canonicalize(node.path(device)).unwrap();
    let driver = node.path("sys/bus/pci/drivers/nvidia");
    assert_eq!(fs::canonicalize(folder.join("driver")).unwrap(), fs::canonicalize(&driver).unwrap());
    assert_eq!(fs::canonicalize(driver.join("0000:1b:00.0")).unwrap(), folder);

    assert_eq!(node.read("sys/bus/pci/devices/0000:17:00.0/class"), "0x060400\n");
    assert_eq!(node.read("sys/bus/pci/devices/0000:05:00.0/device"), "0x22a3\n");
    assert_eq!(node.read("sys/bus/pci/devices/0000:05:00.0/class"), "0x068000\n");
    assert_eq!(node.read("sys/module/nvidia/version"), "550.163.01\n");
    assert_eq!(node.read("sys/devices/system/node/node1/cpulist"), "56-111,168-223\n");
    // Every link of the tree leads somewhere.
    let paths = node.everything();
    for path in paths.keys() {
        assert!(path.exists(), "{} leads nowhere", path.display());
    }
}

#[test]
fn a_gpu_without_a_numa_node_is_near_to_all_cpus() {
    let mut node = Laid::new("h100-pcie-4");
    node.state.gpus[0].numa = -1;
    layout::add_gpu(&node.dir(), &node.state, &node.state.gpus[0]).unwrap();
    let device = "sys/bus/pci/devices/0000:17:00.0";
    assert_eq!(node.read(&format!("{device}/numa_node")), "-1\n");
    assert_eq!(node.read(&format!("{device}/local_cpulist")), "0-127\n");
    assert_eq!(node.read(&format!("{device}/local_cpus")), "ffffffff,ffffffff,ffffffff,ffffffff\n");
}
