//! Every figure that `nvidia-smi -q` prints of a board, against NVIDIA's published ones.
//!
//! Sources: names and PCI ids from NVIDIA's open kernel modules (g_nv_name_released.h); memory, BAR1 and clocks of
//! the SXM5 80GB from published output of nvidia-smi on real boards; power from NVIDIA's data sheets; places on a
//! DGX H100 from its published topology. Figures that nobody has published are checked for their form alone.

use fake_node::description::Description;
use fake_node::model::{Board, NodeState};

use crate::log::{self, Fields};
use crate::smi_text;
use crate::support::TestNode;

/// The published figures of a board.
#[derive(Clone, Copy)]
struct Published {
    name: &'static str,
    device: &'static str,
    subsystem: &'static str,
    memory_mib: u64,
    /// Where one is published.
    reserved_mib: Option<u64>,
    bar1_mib: u64,
    /// Default and highest limit.
    watts: u32,
    /// Where one is published.
    min_watts: Option<u32>,
    /// SM, memory and video clock, where they are published.
    max_mhz: (Option<u32>, Option<u32>, Option<u32>),
    /// Joins the fabric of an HGX board.
    sxm: bool,
}

const H100_SXM: Published = Published {
    name: "NVIDIA H100 80GB HBM3",
    device: "0x233010DE",
    subsystem: "0x16C110DE",
    memory_mib: 81559,
    reserved_mib: Some(516),
    bar1_mib: 131_072,
    watts: 700,
    min_watts: Some(200),
    max_mhz: (Some(1980), Some(2619), Some(1545)),
    sxm: true,
};

const H200_SXM: Published = Published {
    name: "NVIDIA H200",
    device: "0x233510DE",
    subsystem: "0x18BE10DE",
    memory_mib: 143_771,
    reserved_mib: None,
    bar1_mib: 262_144,
    max_mhz: (Some(1980), Some(3201), None),
    ..H100_SXM
};

const H100_PCIE: Published = Published {
    name: "NVIDIA H100 PCIe",
    device: "0x233110DE",
    subsystem: "0x162610DE",
    watts: 350,
    max_mhz: (Some(1755), Some(1593), None),
    sxm: false,
    ..H100_SXM
};

const H100_NVL: Published = Published {
    name: "NVIDIA H100 NVL",
    device: "0x232110DE",
    subsystem: "0x183910DE",
    memory_mib: 95830,
    reserved_mib: Some(594),
    watts: 400,
    min_watts: None,
    max_mhz: (None, None, None),
    sxm: false,
    ..H100_SXM
};

const H200_NVL: Published = Published {
    name: "NVIDIA H200 NVL",
    device: "0x233B10DE",
    subsystem: "0x199610DE",
    watts: 600,
    min_watts: None,
    max_mhz: (None, Some(3201), None),
    sxm: false,
    ..H200_SXM
};

/// What all boards of the family print.
const HOPPER: &[(&str, &str)] = &[
    ("Product Brand", "NVIDIA"),
    ("Product Architecture", "Hopper"),
    ("Display Active", "Disabled"),
    ("Persistence Mode", "Enabled"),
    ("MIG Mode/Current", "Disabled"),
    ("MIG Mode/Pending", "Disabled"),
    ("Accounting Mode", "Disabled"),
    ("MultiGPU Board", "No"),
    ("GPU C2C Mode", "Disabled"),
    ("GPU Virtualization Mode/Virtualization Mode", "None"),
    ("GPU Reset Status/Reset Required", "No"),
    ("GPU Reset Status/Drain and Reset Recommended", "No"),
    ("GSP Firmware Version", "550.163.01"),
    ("PCI/Device", "0x00"),
    ("PCI/Domain", "0x0000"),
    ("PCI/Base Classcode", "0x3"),
    ("PCI/Sub Classcode", "0x2"),
    ("PCI/GPU Link Info/PCIe Generation/Max", "5"),
    ("PCI/GPU Link Info/PCIe Generation/Current", "5"),
    ("PCI/GPU Link Info/PCIe Generation/Device Current", "5"),
    ("PCI/GPU Link Info/PCIe Generation/Device Max", "5"),
    ("PCI/GPU Link Info/PCIe Generation/Host Max", "5"),
    ("PCI/GPU Link Info/Link Width/Max", "16x"),
    ("PCI/GPU Link Info/Link Width/Current", "16x"),
    ("PCI/Replays Since Reset", "0"),
    ("PCI/Replay Number Rollovers", "0"),
    ("Fan Speed", "N/A"),
    ("Performance State", "P0"),
    ("Clocks Event Reasons/Idle", "Active"),
    ("Clocks Event Reasons/SW Power Cap", "Not Active"),
    ("Clocks Event Reasons/HW Slowdown", "Not Active"),
    ("Clocks Event Reasons/HW Slowdown/HW Thermal Slowdown", "Not Active"),
    ("FB Memory Usage/Used", "0 MiB"),
    ("Compute Mode", "Default"),
    ("Utilization/Gpu", "0 %"),
    ("Utilization/Memory", "0 %"),
    ("ECC Mode/Current", "Enabled"),
    ("ECC Mode/Pending", "Enabled"),
    ("ECC Errors/Volatile/SRAM Correctable", "0"),
    ("ECC Errors/Volatile/SRAM Uncorrectable Parity", "0"),
    ("ECC Errors/Volatile/SRAM Uncorrectable SEC-DED", "0"),
    ("ECC Errors/Volatile/DRAM Correctable", "0"),
    ("ECC Errors/Volatile/DRAM Uncorrectable", "0"),
    ("ECC Errors/Aggregate/SRAM Correctable", "0"),
    ("ECC Errors/Aggregate/SRAM Uncorrectable Parity", "0"),
    ("ECC Errors/Aggregate/SRAM Uncorrectable SEC-DED", "0"),
    ("ECC Errors/Aggregate/DRAM Correctable", "0"),
    ("ECC Errors/Aggregate/DRAM Uncorrectable", "0"),
    ("ECC Errors/Aggregate/SRAM Threshold Exceeded", "No"),
    ("Remapped Rows/Correctable Error", "0"),
    ("Remapped Rows/Uncorrectable Error", "0"),
    ("Remapped Rows/Pending", "No"),
    ("Remapped Rows/Remapping Failure Occurred", "No"),
    ("Clocks/Graphics", "345 MHz"),
    ("Clocks/SM", "345 MHz"),
    ("Processes", "None"),
];

/// Fields whose values nobody has published, and the form that they have.
const FORMS: &[(&str, &str)] = &[
    ("Serial Number", "9999999999999"),
    ("GPU UUID", "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
    ("VBIOS Version", "99.99.XX.99.99"),
    ("Inforom Version/OEM Object", "9.9"),
    ("Inforom Version/ECC Object", "9.99"),
    ("Temperature/GPU Current Temp", "99 C"),
    ("Temperature/GPU Shutdown Temp", "99 C"),
    ("Temperature/GPU Slowdown Temp", "99 C"),
    ("Temperature/GPU Max Operating Temp", "99 C"),
    ("Temperature/Memory Current Temp", "99 C"),
    ("Temperature/Memory Max Operating Temp", "99 C"),
    ("GPU Power Readings/Instantaneous Power Draw", "99.99 W"),
];

/// Whether a text has a form: 9 is a digit, x and X are hexadecimal digits, all else is itself.
fn has_form(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.chars().zip(form.chars()).all(|(found, wanted)| match wanted {
            '9' => found.is_ascii_digit(),
            'x' => found.is_ascii_digit() || ('a'..='f').contains(&found),
            'X' => found.is_ascii_digit() || ('A'..='F').contains(&found),
            other => found == other,
        })
}

/// What one GPU must print, by field.
fn expected(board: &Published, bus: u8, index: usize) -> Fields {
    let mut fields: Fields =
        HOPPER.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut print = |name: &str, value: String| fields.insert(name.to_owned(), value);
    print("Product Name", board.name.into());
    print("PCI/Device Id", board.device.into());
    print("PCI/Sub System Id", board.subsystem.into());
    print("PCI/Bus", format!("0x{bus:02X}"));
    print("PCI/Bus Id", format!("00000000:{bus:02X}:00.0"));
    print("Minor Number", index.to_string());
    print("Module ID", if board.sxm { (index + 1).to_string() } else { "N/A".into() });
    print("FB Memory Usage/Total", format!("{} MiB", board.memory_mib));
    if let Some(reserved) = board.reserved_mib {
        print("FB Memory Usage/Reserved", format!("{reserved} MiB"));
        print("FB Memory Usage/Free", format!("{} MiB", board.memory_mib - reserved));
    }
    print("BAR1 Memory Usage/Total", format!("{} MiB", board.bar1_mib));
    for limit in ["Current", "Requested", "Default", "Max"] {
        print(&format!("GPU Power Readings/{limit} Power Limit"), format!("{}.00 W", board.watts));
    }
    if let Some(watts) = board.min_watts {
        print("GPU Power Readings/Min Power Limit", format!("{watts}.00 W"));
    }
    let (sm, memory, video) = board.max_mhz;
    if let Some(mhz) = sm {
        for clock in ["Max Clocks/Graphics", "Max Clocks/SM", "Applications Clocks/Graphics"] {
            print(clock, format!("{mhz} MHz"));
        }
    }
    if let Some(mhz) = memory {
        // HBM does not clock down.
        for clock in ["Max Clocks/Memory", "Clocks/Memory", "Applications Clocks/Memory"] {
            print(clock, format!("{mhz} MHz"));
        }
    }
    if let Some(mhz) = video {
        print("Max Clocks/Video", format!("{mhz} MHz"));
        print("Clocks/Video", "765 MHz".into());
    }
    print("Fabric/State", if board.sxm { "Completed" } else { "N/A" }.into());
    print("Fabric/Status", if board.sxm { "Success" } else { "N/A" }.into());
    if board.sxm {
        print("Fabric/CliqueId", "0".into());
        print("Fabric/ClusterUUID", "00000000-0000-0000-0000-000000000000".into());
    }
    fields
}

/// How a node differs from published figures.
fn differences(node: &TestNode, board: &Published, buses: &[u8]) -> Vec<String> {
    let (general, gpus) = log::read(&smi_text(node, &["-q"]));
    let mut found = Vec::new();
    let mut compare = |place: &str, name: &str, printed: Option<&String>, expected: &str| {
        if printed.map(String::as_str) != Some(expected) {
            found.push(format!("{place}: {name} is {printed:?}, not {expected}"));
        }
    };
    compare("node", "Driver Version", general.get("Driver Version"), "550.163.01");
    compare("node", "CUDA Version", general.get("CUDA Version"), "12.4");
    compare("node", "Attached GPUs", general.get("Attached GPUs"), &buses.len().to_string());
    for (index, (gpu, bus)) in gpus.iter().zip(buses).enumerate() {
        let place = format!("GPU {index}");
        for (name, value) in &expected(board, *bus, index) {
            compare(&place, name, gpu.get(name), value);
        }
        for (name, form) in FORMS {
            let printed = gpu.get(*name);
            if !printed.is_some_and(|printed| has_form(printed, form)) {
                compare(&place, name, printed, form);
            }
        }
    }
    assert_eq!(gpus.len(), buses.len());
    found
}

/// Buses of a DGX H100 and of HGX H200 servers: published output. The others' are made up, as their descriptions say.
const DGX_BUSES: [u8; 8] = [0x1b, 0x43, 0x52, 0x61, 0x9d, 0xc3, 0xd1, 0xdf];
const HGX_BUSES: [u8; 8] = [0x19, 0x3b, 0x4c, 0x5d, 0x9b, 0xbb, 0xcb, 0xdb];

#[test]
fn nvidia_smi_prints_the_published_figures() {
    let nodes: [(&str, Published, &[u8]); 5] = [
        ("hgx-h100-8", H100_SXM, &DGX_BUSES),
        ("hgx-h200-8", H200_SXM, &HGX_BUSES),
        ("h100-pcie-4", H100_PCIE, &[0x17, 0x65, 0xca, 0xe3]),
        ("h100-nvl-2", H100_NVL, &[0x17, 0x65]),
        ("h200-nvl-8", H200_NVL, &[0x18, 0x19, 0x3a, 0x3b, 0x9a, 0x9b, 0xba, 0xbb]),
    ];
    for (description, board, buses) in nodes {
        let found = differences(&TestNode::new(description), &board, buses);
        assert!(found.is_empty(), "{description}:\n{}", found.join("\n"));
    }
}

/// The test above can fail: each figure of the description, wrong by one, is noticed.
#[test]
fn a_wrong_figure_is_noticed() {
    type Change = fn(&mut Board);
    let changes: [(&str, Change); 15] = [
        ("name", |board| board.name.push('X')),
        ("pci_device", |board| board.pci_device += 1),
        ("pci_subsystem", |board| board.pci_subsystem -= 1),
        ("memory_mib", |board| board.memory_mib -= 1),
        ("reserved_mib", |board| board.reserved_mib += 1),
        ("bar1_mib", |board| board.bar1_mib *= 2),
        ("power.default_w", |board| board.power.default_w -= 1),
        ("power.min_w", |board| board.power.min_w += 1),
        ("power.max_w", |board| board.power.max_w += 1),
        ("clocks.sm_max", |board| board.clocks.sm_max -= 15),
        ("clocks.memory_max", |board| board.clocks.memory_max += 1),
        ("clocks.video_max", |board| board.clocks.video_max += 1),
        ("clocks.sm_idle", |board| board.clocks.sm_idle += 1),
        ("pcie_generation", |board| board.pcie_generation -= 1),
        ("pcie_width", |board| board.pcie_width /= 2),
    ];
    for (figure, change) in changes {
        let node = node_of(|state| change(&mut state.gpus[5].board));
        let found = differences(&node, &H100_SXM, &DGX_BUSES);
        assert!(!found.is_empty(), "a wrong {figure} was not noticed");
        assert!(found.iter().all(|difference| difference.starts_with("GPU 5: ")), "{figure}: {found:?}");
    }
    let node = node_of(|state| state.gpus[5].pci.bus += 1);
    assert!(!differences(&node, &H100_SXM, &DGX_BUSES).is_empty(), "a wrong PCI address was not noticed");
}

fn node_of(change: impl FnOnce(&mut NodeState)) -> TestNode {
    let node = TestNode::create(&Description::builtin("hgx-h100-8").unwrap());
    node.update(change).unwrap();
    node
}
