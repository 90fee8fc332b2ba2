//! Descriptions: what the built-in ones hold, and what can be written in one's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper that fails is a failed test"
)]

use std::collections::HashSet;

use fake_node::description::{Description, cuda_of_driver};
use fake_node::model::{NodeState, Presence};

mod mistakes;

/// A node of two bridged GPUs, every line of which the table below breaks.
const GOOD: &str = r#"driver: "550.163.01"
numa_nodes: ["0-31", "32-63"]
nvswitches: ["0000:05:00.0"]
gpus:
  - board: h100-nvl-94gb
    pci: "0000:17:00.0"
    uuid: GPU-3e66eced-62ae-4d6a-92c8-9d123d01a014
    serial: "1652962807614"
    numa: 0
    pcie_root: "pci0000:16"
    bridges: ["0000:16:01.0"]
    module_id: 1
    bridged_to: [{ pci: "0000:65:00.0", links: 12 }]
  - board: h100-nvl-94gb
    pci: "0000:65:00.0"
    uuid: GPU-8c4668b2-214a-46ec-8f63-1548993f5c7e
    serial: "1652813152564"
    numa: 1
    pcie_root: "pci0000:64"
    bridges: ["0000:64:01.0"]
    module_id: 2
    bridged_to: [{ pci: "0000:17:00.0", links: 12 }]
"#;

fn builtin(name: &str) -> NodeState {
    Description::builtin(name).unwrap().state()
}

#[test]
fn builtin_nodes_have_the_published_figures() {
    // Name, PCI device and subsystem: NVIDIA's open kernel modules. Memory: nvidia-smi on real boards.
    // Power, multiprocessors: NVIDIA's data sheets.
    type Figures<'a> = (&'a str, u16, u16, u64, u32, u32, u32);
    const H100_SXM: Figures = ("NVIDIA H100 80GB HBM3", 0x2330, 0x16c1, 81559, 700, 132, 18);
    const H200_SXM: Figures = ("NVIDIA H200", 0x2335, 0x18be, 143_771, 700, 132, 18);
    const H100_PCIE: Figures = ("NVIDIA H100 PCIe", 0x2331, 0x1626, 81559, 350, 114, 12);
    const H100_NVL: Figures = ("NVIDIA H100 NVL", 0x2321, 0x1839, 95830, 400, 132, 12);
    const H200_NVL: Figures = ("NVIDIA H200 NVL", 0x233b, 0x1996, 143_771, 600, 132, 18);
    let nodes: [(&str, Vec<Figures>, usize); 7] = [
        ("hgx-h100-8", vec![H100_SXM; 8], 4),
        ("hgx-h200-8", vec![H200_SXM; 8], 4),
        ("h100-pcie-4", vec![H100_PCIE; 4], 0),
        ("h100-nvl-2", vec![H100_NVL; 2], 0),
        ("h200-nvl-8", vec![H200_NVL; 8], 0),
        ("mixed", vec![H100_PCIE, H100_PCIE, H200_NVL, H200_NVL], 0),
        ("h100-16", vec![H100_PCIE; 16], 0),
    ];
    assert_eq!(Description::builtin_names().collect::<Vec<_>>(), nodes.each_ref().map(|(name, ..)| *name));
    for (name, figures, nvswitches) in nodes {
        let state = builtin(name);
        assert_eq!(state.gpus.len(), figures.len(), "{name}");
        for (gpu, figures) in state.gpus.iter().zip(figures) {
            let board = &gpu.board;
            let found: Figures = (
                &board.name,
                board.pci_device,
                board.pci_subsystem,
                board.memory_mib,
                board.power.default_w,
                board.multiprocessors,
                board.nvlinks,
            );
            assert_eq!(found, figures, "{name}");
        }
        assert_eq!(state.nvswitches.len(), nvswitches, "{name}");
        assert_eq!(state.driver.version, "550.163.01", "{name}");
        assert_eq!((state.driver.cuda.major, state.driver.cuda.minor), (12, 4), "{name}");
    }
}

#[test]
fn a_dgx_h100_sits_where_a_real_one_does() {
    let state = builtin("hgx-h100-8");
    let addresses: Vec<String> = state.gpus.iter().map(|gpu| gpu.pci.to_string()).collect();
    let expected = ["1b", "43", "52", "61", "9d", "c3", "d1", "df"].map(|bus| format!("0000:{bus}:00.0"));
    assert_eq!(addresses, expected);
    assert_eq!(state.numa_cpus, ["0-55,112-167", "56-111,168-223"]);
    assert!(state.gpus.iter().map(|gpu| gpu.numa).eq([0, 0, 0, 0, 1, 1, 1, 1]));
    assert!(state.gpus.iter().map(|gpu| gpu.minor).eq(0..8));
    assert!(state.gpus.iter().map(|gpu| gpu.module_id).eq((1..=8).map(Some)));
    let roots: HashSet<&String> = state.gpus.iter().map(|gpu| &gpu.pcie_root).collect();
    assert_eq!(roots.len(), 8, "each GPU has a host bridge of its own");
}

#[test]
fn a_bridge_uses_all_links_of_a_board() {
    // Boards with a bridge, their peers in it, and the links to each: 12 links on H100 NVL, 18 on H200 NVL.
    for (name, bridged, peers, links) in [
        ("h100-nvl-2", 2, 1, 12),
        ("h200-nvl-8", 8, 3, 6),
        ("mixed", 2, 1, 18),
        ("h100-pcie-4", 0, 0, 0),
        ("hgx-h100-8", 0, 0, 0),
    ] {
        let state = builtin(name);
        let with_bridge: Vec<_> = state.gpus.iter().filter(|gpu| !gpu.bridged_to.is_empty()).collect();
        assert_eq!(with_bridge.len(), bridged, "{name}");
        for gpu in with_bridge {
            assert_eq!(gpu.bridged_to.len(), peers, "{name}");
            assert!(gpu.bridged_to.iter().all(|(_, count)| *count == links), "{name}");
        }
    }
}

#[test]
fn no_two_gpus_of_all_nodes_are_the_same() {
    let gpus: Vec<_> = Description::builtin_names().flat_map(|name| builtin(name).gpus).collect();
    let uuids: HashSet<_> = gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    let serials: HashSet<_> = gpus.iter().map(|gpu| gpu.serial.clone()).collect();
    assert_eq!(gpus.len(), 50);
    assert_eq!((uuids.len(), serials.len()), (50, 50));
}

#[test]
fn a_new_node_is_idle() {
    for gpu in builtin("hgx-h200-8").gpus {
        let live = gpu.live;
        assert_eq!(live.presence, Presence::Present);
        assert!(live.persistence && live.ecc_enabled && live.ecc_pending);
        assert_eq!((live.compute_mode, live.utilization_gpu), (0, 0));
        assert_eq!(live.power_limit_w, 700);
        assert!((60_000..90_000).contains(&live.power_mw), "{} mW", live.power_mw);
        assert!((20..45).contains(&live.temperature));
        assert!(live.processes.is_empty());
    }
}

#[test]
fn the_driver_brings_its_cuda() {
    // NVIDIA's release notes.
    for (driver, cuda) in [
        ("535.261.03", (12, 2)),
        ("545.23", (12, 3)),
        ("550.163.01", (12, 4)),
        ("555.58.02", (12, 5)),
        ("560.35.03", (12, 6)),
        ("565.57.01", (12, 7)),
        ("570.170.01", (12, 8)),
        ("575.57.08", (12, 9)),
        ("580.126.20", (13, 0)),
        ("590.48.01", (13, 1)),
        ("595.45.04", (13, 2)),
    ] {
        let found = cuda_of_driver(driver).unwrap();
        assert_eq!((found.major, found.minor), cuda, "{driver}");
        let node = Description::builtin("mixed").unwrap();
        let node = node.with_driver_version(driver).unwrap().state();
        assert_eq!((node.driver.version.as_str(), node.driver.cuda), (driver, found));
    }
    for (driver, says) in [
        ("", "not a driver version"),
        ("550", "not a driver version"),
        ("550.", "not a driver version"),
        ("550.163.01.1", "not a driver version"),
        ("v550.163.01", "not a driver version"),
        ("55０.163", "not a driver version"),
        ("999.10.01", "580"),
    ] {
        let error = cuda_of_driver(driver).unwrap_err().to_string();
        assert!(error.contains(says), "{driver}: {error}");
    }
}

#[test]
fn overrides_change_one_gpu() {
    let text = GOOD.replacen("    module_id: 1", "    overrides: { memory_mib: 1000, name: Odd }", 1);
    let state = Description::parse(&text, "x.yaml").unwrap().state();
    assert_eq!((state.gpus[0].board.memory_mib, state.gpus[0].board.name.as_str()), (1000, "Odd"));
    assert_eq!(state.gpus[1].board.memory_mib, 95830);
}

#[test]
fn gpus_stand_in_pci_order() {
    let (head, gpus) = GOOD.split_at(GOOD.find("  - board").unwrap());
    let second = gpus.rfind("  - board").unwrap();
    let swapped = format!("{head}{}{}", &gpus[second..], &gpus[..second]);
    let given = Description::parse(GOOD, "a.yaml").unwrap();
    assert_eq!(Description::parse(&swapped, "b.yaml").unwrap(), given);
}

#[test]
fn names_and_paths_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.yaml");
    std::fs::write(&path, GOOD).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(Description::load(path).unwrap().state().gpus.len(), 2);
    assert_eq!(Description::load("h100-16").unwrap().state().gpus.len(), 16);

    let unknown = Description::load("dgx").unwrap_err().to_string();
    assert!(unknown.contains("'dgx'") && unknown.contains("hgx-h100-8"), "{unknown}");
    let absent = Description::load("./dgx.yaml").unwrap_err().to_string();
    assert!(absent.contains("./dgx.yaml"), "{absent}");
}
