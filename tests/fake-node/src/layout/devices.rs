//! Device nodes, and the numbers that the kernel gave them.

use super::tree::Tree;
use crate::model::{Gpu, NodeState};

/// The kernel module's own number, the only one that is the same on all machines.
pub(super) const MAJOR_NVIDIA: u32 = 195;
/// Minor of `nvidiactl`.
pub(super) const MINOR_CTL: u32 = 255;
const MINOR_MODESET: u32 = 254;
const MINOR_NVSWITCHCTL: u32 = 255;

// Numbers that a kernel gives out when asked for any. It counts down from 511, so that these are free on a
// machine with few modules: a node made here does not reach a stranger's driver.
const MAJOR_CAPS: u32 = 402;
const MAJOR_CAPS_IMEX: u32 = 403;
const MAJOR_NVLINK: u32 = 404;
const MAJOR_NVSWITCH: u32 = 405;
const MAJOR_UVM: u32 = 406;

/// Devices that the node has apart from its GPUs, below `dev`.
pub(super) fn node(state: &NodeState) -> Tree {
    let mut tree = Tree::default();
    tree.device("nvidiactl", MAJOR_NVIDIA, MINOR_CTL, 0o666);
    tree.device("nvidia-modeset", MAJOR_NVIDIA, MINOR_MODESET, 0o666);
    tree.device("nvidia-uvm", MAJOR_UVM, 0, 0o666);
    tree.device("nvidia-uvm-tools", MAJOR_UVM, 1, 0o666);
    tree.device("nvidia-caps/nvidia-cap1", MAJOR_CAPS, 1, 0o400);
    tree.device("nvidia-caps/nvidia-cap2", MAJOR_CAPS, 2, 0o444);
    if !state.nvswitches.is_empty() {
        tree.device("nvidia-nvlink", MAJOR_NVLINK, 0, 0o666);
        tree.device("nvidia-nvswitchctl", MAJOR_NVSWITCH, MINOR_NVSWITCHCTL, 0o666);
        for (minor, _) in (0..).zip(&state.nvswitches) {
            tree.device(format!("nvidia-nvswitch{minor}"), MAJOR_NVSWITCH, minor, 0o666);
        }
    }
    tree
}

/// The device of one GPU, below `dev`.
pub(super) fn gpu(gpu: &Gpu) -> Tree {
    let mut tree = Tree::default();
    tree.device(format!("nvidia{}", gpu.minor), MAJOR_NVIDIA, gpu.minor, 0o666);
    tree
}

/// `/proc/devices`.
pub(super) fn proc_devices(branch: u16) -> String {
    // Since 550 each of the module's devices has a line of its own.
    let nvidia = if branch < 550 {
        format!("{MAJOR_NVIDIA} nvidia-frontend\n")
    } else {
        ["nvidia", "nvidia-modeset", "nvidiactl"].map(|name| format!("{MAJOR_NVIDIA} {name}\n")).concat()
    };
    format!(
        "Character devices:\n  1 mem\n  5 /dev/tty\n 10 misc\n{nvidia}\
         {MAJOR_CAPS} nvidia-caps\n{MAJOR_CAPS_IMEX} nvidia-caps-imex-channels\n{MAJOR_NVLINK} nvidia-nvlink\n\
         {MAJOR_NVSWITCH} nvidia-nvswitch\n{MAJOR_UVM} nvidia-uvm\n\nBlock devices:\n259 blkext\n"
    )
}
