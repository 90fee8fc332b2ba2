//! `/sys` as the kernel writes it: the PCI tree, NUMA nodes, the kernel module.

use std::path::{Path, PathBuf};

use super::cpu_list;
use super::tree::Tree;
use crate::model::{Driver, Gpu, NodeState, PciAddress};

const VENDOR_NVIDIA: u16 = 0x10de;
const VENDOR_INTEL: u16 = 0x8086;
const VENDOR_BROADCOM: u16 = 0x1000;
const CLASS_3D: u32 = 0x03_0200;
const CLASS_BRIDGE: u32 = 0x06_0400;
const CLASS_OTHER_BRIDGE: u32 = 0x06_8000;

/// What any PCI device tells about itself.
struct Device {
    vendor: u16,
    device: u16,
    subsystem: Option<u16>,
    class: u32,
    numa: i32,
}

/// Files that tell the driver's version, below `sys`.
pub(super) fn versioned(driver: &Driver) -> Tree {
    let mut tree = Tree::default();
    tree.file_with_mode("module/nvidia/version", format!("{}\n", driver.version), 0o444);
    tree.file_with_mode("module/nvidia/initstate", "live\n", 0o444);
    tree
}

/// Everything below `sys` but the GPUs themselves. The bridges above a GPU stay when it is gone.
pub(super) fn node(state: &NodeState) -> Tree {
    let mut tree = Tree::default();
    tree.dir("bus/pci/devices");
    tree.dir("bus/pci/drivers/nvidia");

    let nodes = Path::new("devices/system/node");
    for (index, list) in state.numa_cpus.iter().enumerate() {
        let file = nodes.join(format!("node{index}/cpulist"));
        tree.file_with_mode(file, format!("{list}\n"), 0o444);
    }
    let online = match state.numa_cpus.len() {
        0 | 1 => "0\n".to_owned(),
        count => format!("0-{}\n", count - 1),
    };
    tree.file_with_mode(nodes.join("online"), online, 0o444);
    let cpus = cpu_list::union(&state.numa_cpus);
    if !cpus.is_empty() {
        tree.file_with_mode("devices/system/cpu/online", format!("{cpus}\n"), 0o444);
    }

    for gpu in &state.gpus {
        for (depth, bridge) in gpu.bridges.iter().enumerate() {
            // A root port of the processor, then the ports of a switch.
            let (vendor, device) = match depth {
                0 => (VENDOR_INTEL, 0x352a),
                _ => (VENDOR_BROADCOM, 0xc030),
            };
            let device = Device { vendor, device, subsystem: None, class: CLASS_BRIDGE, numa: gpu.numa };
            pci_device(&mut tree, &below(gpu, depth), *bridge, &device, state);
        }
    }

    for (index, switch) in (0u8..).zip(&state.nvswitches) {
        let port =
            PciAddress { domain: switch.domain, bus: 0, device: 0x1c + index / 8, function: index % 8 };
        let root = PathBuf::from(format!("devices/pci{:04x}:00", switch.domain));
        let mut device = Device {
            vendor: VENDOR_INTEL,
            device: 0x1bbf,
            subsystem: None,
            class: CLASS_BRIDGE,
            numa: if state.numa_cpus.is_empty() { -1 } else { 0 },
        };
        pci_device(&mut tree, &root, port, &device, state);
        device.vendor = VENDOR_NVIDIA;
        device.device = 0x22a3;
        device.class = CLASS_OTHER_BRIDGE;
        let folder = root.join(port.to_string());
        pci_device(&mut tree, &folder, *switch, &device, state);
        bind(&mut tree, &folder, *switch, "nvidia-nvswitch");
    }
    tree
}

/// One GPU, below `sys`.
pub(super) fn gpu(gpu: &Gpu, state: &NodeState) -> Tree {
    let mut tree = Tree::default();
    let device = Device {
        vendor: VENDOR_NVIDIA,
        device: gpu.board.pci_device,
        subsystem: Some(gpu.board.pci_subsystem),
        class: CLASS_3D,
        numa: gpu.numa,
    };
    let parent = below(gpu, gpu.bridges.len());
    let folder = pci_device(&mut tree, &parent, gpu.pci, &device, state);
    bind(&mut tree, &parent, gpu.pci, "nvidia");

    let speed = match gpu.board.pcie_generation {
        1 => "2.5",
        2 => "5.0",
        3 => "8.0",
        4 => "16.0",
        _ => "32.0",
    };
    for end in ["current", "max"] {
        let file = folder.join(format!("{end}_link_speed"));
        tree.file_with_mode(file, format!("{speed} GT/s PCIe\n"), 0o444);
        let file = folder.join(format!("{end}_link_width"));
        tree.file_with_mode(file, format!("{}\n", gpu.board.pcie_width), 0o444);
    }
    tree
}

/// The folder of the host bridge and of the first bridges above a GPU.
fn below(gpu: &Gpu, bridges: usize) -> PathBuf {
    let mut folder = Path::new("devices").join(&gpu.pcie_root);
    folder.extend(gpu.bridges.iter().take(bridges).map(ToString::to_string));
    folder
}

fn pci_device(
    tree: &mut Tree,
    parent: &Path,
    address: PciAddress,
    device: &Device,
    state: &NodeState,
) -> PathBuf {
    let folder = parent.join(address.to_string());
    tree.dir(folder.clone());
    let cpus = usize::try_from(device.numa)
        .ok()
        .and_then(|numa| state.numa_cpus.get(numa).cloned())
        .unwrap_or_else(|| cpu_list::union(&state.numa_cpus));
    let mask = cpu_list::mask(&cpus, cpu_list::count(&state.numa_cpus));
    let subsystem_vendor = device.subsystem.map_or(0, |_| device.vendor);
    for (name, value) in [
        ("vendor", format!("{:#06x}", device.vendor)),
        ("device", format!("{:#06x}", device.device)),
        ("subsystem_vendor", format!("{subsystem_vendor:#06x}")),
        ("subsystem_device", format!("{:#06x}", device.subsystem.unwrap_or(0))),
        ("class", format!("{:#08x}", device.class)),
        ("numa_node", device.numa.to_string()),
        ("local_cpulist", cpus),
        ("local_cpus", mask),
    ] {
        tree.file_with_mode(folder.join(name), format!("{value}\n"), 0o444);
    }
    tree.relative_symlink(Path::new("bus/pci/devices").join(address.to_string()), &folder);
    folder
}

/// Links a device and its kernel driver to each other.
fn bind(tree: &mut Tree, parent: &Path, address: PciAddress, driver: &str) {
    let device = parent.join(address.to_string());
    let driver = Path::new("bus/pci/drivers").join(driver);
    tree.relative_symlink(device.join("driver"), &driver);
    tree.relative_symlink(driver.join(address.to_string()), &device);
}
