//! Whole nodes without faults. The expected figures are those that NVIDIA and users of real boards published
//! (product names, sizes, PCI ids, limits), not those of the descriptions.

use std::collections::BTreeSet;

use dra_driver::inventory::{
    Cause, Ecc, FabricState, Inventory, NvLinkRemoteKind, Roots, Severity, Via, discover_node,
};

use super::{Fake, LATE, gpu, messages};

const MIB: u64 = 1 << 20;

/// What is published of a board.
struct Board {
    product: &'static str,
    device: &'static str,
    subsystems: [&'static str; 2],
    memory_mib: u64,
    bar1_mib: u64,
    multiprocessors: u32,
    power_watts: u32,
}

const H100_SXM: Board = Board {
    product: "NVIDIA H100 80GB HBM3",
    device: "2330:10de",
    subsystems: ["16c0:10de", "16c1:10de"],
    memory_mib: 81559,
    bar1_mib: 131_072,
    multiprocessors: 132,
    power_watts: 700,
};

const H200_SXM: Board = Board {
    product: "NVIDIA H200",
    device: "2335:10de",
    subsystems: ["18be:10de", "18bf:10de"],
    memory_mib: 143_771,
    bar1_mib: 262_144,
    multiprocessors: 132,
    power_watts: 700,
};

const H100_PCIE: Board = Board {
    product: "NVIDIA H100 PCIe",
    device: "2331:10de",
    subsystems: ["1626:10de", "1626:10de"],
    memory_mib: 81559,
    bar1_mib: 131_072,
    multiprocessors: 114,
    power_watts: 350,
};

const H200_NVL: Board = Board {
    product: "NVIDIA H200 NVL",
    device: "233b:10de",
    subsystems: ["1996:10de", "1996:10de"],
    memory_mib: 143_771,
    bar1_mib: 262_144,
    multiprocessors: 132,
    power_watts: 600,
};

fn check_board(inventory: &Inventory, name: &str, board: &Board) {
    let gpu = gpu(inventory, name);
    assert!(gpu.usable, "{name}");
    assert_eq!(gpu.product_name.as_deref(), Some(board.product), "{name}");
    assert_eq!(gpu.pci.device_id.as_deref(), Some(board.device), "{name}");
    let subsystem = gpu.pci.subsystem_id.as_deref().unwrap();
    assert!(board.subsystems.contains(&subsystem), "{name}: {subsystem}");
    let memory = gpu.memory.unwrap();
    assert_eq!(memory.total_bytes, board.memory_mib * MIB, "{name}");
    // Seen: 328 to 594 MiB on H100, by driver.
    assert!((300 * MIB..700 * MIB).contains(&memory.reserved_bytes), "{name}: {}", memory.reserved_bytes);
    assert_eq!(gpu.bar1_bytes, Some(board.bar1_mib * MIB), "{name}");
    assert_eq!(gpu.multiprocessors, Some(board.multiprocessors), "{name}");
    assert_eq!(gpu.cores, Some(board.multiprocessors * 128), "{name}");
    assert_eq!(gpu.power.limit_milliwatts, Some(board.power_watts * 1000), "{name}");
    assert_eq!(gpu.power.default_milliwatts, Some(board.power_watts * 1000), "{name}");
    assert_eq!(gpu.power.max_milliwatts, Some(board.power_watts * 1000), "{name}");
    assert_eq!(gpu.power.min_milliwatts, Some(200_000), "{name}");

    assert_eq!(gpu.architecture.as_deref(), Some("Hopper"), "{name}");
    assert_eq!(gpu.brand.as_deref(), Some("Nvidia"), "{name}");
    let capability = gpu.cuda_compute_capability.as_ref().unwrap();
    assert_eq!(capability.semantic.to_string(), "9.0.0", "{name}");
    assert_eq!((gpu.pci.max_generation, gpu.pci.max_width), (Some(5), Some(16)), "{name}");
    assert_eq!(gpu.ecc, Some(Ecc { enabled: true, pending: true }), "{name}");
    let uuid = gpu.uuid.as_deref().unwrap();
    assert!(uuid.starts_with("GPU-") && uuid.len() == 40, "{name}: {uuid}");
    assert_eq!(gpu.serial.as_ref().unwrap().len(), 13, "{name}");
    assert!(gpu.vbios_version.as_ref().unwrap().starts_with("96.00."), "{name}");
    assert_eq!(gpu.gsp_firmware_version.as_deref(), Some("550.163.01"), "{name}");
    // What is absent is absent because such boards have no such thing.
    let gaps: Vec<_> = gpu.unread.iter().filter(|unread| unread.cause != Cause::NotSupported).collect();
    assert!(gaps.is_empty(), "{name}: {gaps:?}");
}

fn names(inventory: &Inventory) -> Vec<&str> {
    inventory.gpus.iter().map(|gpu| gpu.name.as_deref().unwrap()).collect()
}

#[test]
fn a_dgx_h100() {
    let inventory = Fake::new("hgx-h100-8").inventory();
    assert_eq!(inventory.problems, []);
    let versions = &inventory.versions;
    assert_eq!(versions.driver.as_ref().unwrap().raw, "550.163.01");
    assert_eq!(versions.driver.as_ref().unwrap().semantic.to_string(), "550.163.1");
    assert_eq!(versions.nvml.as_ref().unwrap().raw, "12.550.163.01");
    assert_eq!(versions.cuda.as_ref().unwrap().semantic.to_string(), "12.4.0");

    // Addresses, NUMA nodes and CPUs of a DGX H100; host bridges one for each GPU.
    let placed = [
        ("gpu-0000-1b-00-0", 0, "pci0000:15"),
        ("gpu-0000-43-00-0", 0, "pci0000:37"),
        ("gpu-0000-52-00-0", 0, "pci0000:48"),
        ("gpu-0000-61-00-0", 0, "pci0000:59"),
        ("gpu-0000-9d-00-0", 1, "pci0000:97"),
        ("gpu-0000-c3-00-0", 1, "pci0000:b7"),
        ("gpu-0000-d1-00-0", 1, "pci0000:c7"),
        ("gpu-0000-df-00-0", 1, "pci0000:d7"),
    ];
    assert_eq!(names(&inventory), placed.map(|(name, _, _)| name));
    let cpus = ["0-55,112-167", "56-111,168-223"];
    for (name, numa, root) in placed {
        check_board(&inventory, name, &H100_SXM);
        let gpu = gpu(&inventory, name);
        assert_eq!(gpu.numa_node, Some(numa), "{name}");
        assert_eq!(gpu.local_cpus.as_deref(), Some(cpus[usize::try_from(numa).unwrap()]), "{name}");
        assert_eq!(gpu.pci.root.as_deref(), Some(root), "{name}");
        assert_eq!(gpu.clocks.sm_max_megahertz, Some(1980), "{name}");
        assert_eq!(gpu.clocks.memory_max_megahertz, Some(2619), "{name}");

        let nvlink = gpu.nvlink.as_ref().unwrap();
        assert_eq!((nvlink.links, nvlink.active, nvlink.generation), (18, 18, Some(4)), "{name}");
        assert!(nvlink.remotes.iter().all(|remote| remote.kind == NvLinkRemoteKind::Switch), "{name}");
        assert_eq!(nvlink.remotes.len(), 4, "{name}: four NVSwitches");
        assert_eq!(nvlink.remotes.iter().map(|remote| remote.links).sum::<u32>(), 18, "{name}");

        let fabric = gpu.fabric.as_ref().unwrap();
        assert_eq!(fabric.state, FabricState::Completed, "{name}");
        assert_eq!((fabric.clique_id, fabric.cluster_uuid.as_deref()), (0, None), "{name}");

        let near = gpu.topology.iter().filter(|neighbour| neighbour.via == Via::NumaNode).count();
        let far = gpu.topology.iter().filter(|neighbour| neighbour.via == Via::System).count();
        assert_eq!((near, far), (3, 4), "{name}: {:?}", gpu.topology);
    }
    let different = |of: fn(&dra_driver::inventory::Gpu) -> Option<String>| {
        inventory.gpus.iter().filter_map(of).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(different(|gpu| gpu.uuid.clone()), 8);
    assert_eq!(different(|gpu| gpu.serial.clone()), 8);
    assert_eq!(different(|gpu| gpu.minor.map(|minor| minor.to_string())), 8);
    let modules: Vec<_> = inventory.gpus.iter().filter_map(|gpu| gpu.module_id).collect();
    assert_eq!(modules, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn an_hgx_h200() {
    let inventory = Fake::new("hgx-h200-8").inventory();
    assert_eq!(inventory.problems, []);
    assert_eq!(inventory.gpus.len(), 8);
    for name in names(&inventory) {
        check_board(&inventory, name, &H200_SXM);
        assert_eq!(gpu(&inventory, name).nvlink.as_ref().unwrap().active, 18, "{name}");
    }
}

#[test]
fn a_node_with_different_boards() {
    let inventory = Fake::new("mixed").inventory();
    assert_eq!(inventory.problems, []);
    let boards = [
        ("gpu-0000-17-00-0", &H100_PCIE),
        ("gpu-0000-65-00-0", &H100_PCIE),
        ("gpu-0000-ca-00-0", &H200_NVL),
        ("gpu-0000-e3-00-0", &H200_NVL),
    ];
    assert_eq!(names(&inventory), boards.map(|(name, _)| name));
    for (name, board) in boards {
        check_board(&inventory, name, board);
        assert_eq!(gpu(&inventory, name).fabric, None, "{name}: no NVSwitch, no fabric");
        assert_eq!(gpu(&inventory, name).module_id, None, "{name}: no baseboard");
    }

    // The H200 NVL are a pair under a bridge; the H100 PCIe have none.
    let bridged = gpu(&inventory, "gpu-0000-ca-00-0").nvlink.as_ref().unwrap();
    assert_eq!((bridged.active, bridged.remotes.len()), (18, 1));
    assert_eq!(bridged.remotes[0].kind, NvLinkRemoteKind::Gpu);
    assert_eq!(bridged.remotes[0].address.unwrap().to_string(), "0000:e3:00.0");
    assert_eq!(gpu(&inventory, "gpu-0000-17-00-0").nvlink.as_ref().unwrap().active, 0);
}

#[test]
fn every_description_is_read_without_a_problem() {
    let boards = [("h100-pcie-4", 4), ("h100-nvl-2", 2), ("h200-nvl-8", 8), ("h100-16", 16)];
    for (description, count) in boards {
        let inventory = Fake::new(description).inventory();
        assert_eq!(inventory.problems, [], "{description}");
        assert_eq!(inventory.gpus.iter().filter(|gpu| gpu.usable).count(), count, "{description}");
    }
}

#[test]
fn several_nodes_in_one_process_are_not_mixed_up() {
    let nodes = [Fake::new("h100-nvl-2"), Fake::new("h100-pcie-4")];
    let counts = std::thread::scope(|scope| {
        let threads = nodes.each_ref().map(|fake| scope.spawn(|| fake.inventory().gpus.len()));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(counts, [2, 4]);
}

#[test]
fn without_a_driver_the_inventory_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots {
        driver: folder.path().to_owned(),
        sysfs: folder.path().join("sys"),
        procfs: folder.path().join("proc"),
    };
    let inventory = discover_node(&roots, LATE);
    assert_eq!(inventory.gpus, []);
    let looked: Vec<_> = inventory.library.looked.iter().map(|place| place.path.to_str().unwrap()).collect();
    for place in ["/etc/ld.so.cache", "/usr/lib64/libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1"] {
        assert!(looked.contains(&place), "{place} in {looked:?}");
    }
    assert_eq!(inventory.problems.len(), 1, "{:?}", inventory.problems);
    assert_eq!(inventory.problems[0].severity, Severity::Unusable);
    assert!(inventory.problems[0].message.contains("install NVIDIA's driver"));
}

#[test]
fn a_driver_that_is_installed_elsewhere_is_told_from_no_driver() {
    let fake = Fake::new("h100-nvl-2");
    let elsewhere = tempfile::tempdir().unwrap();
    let roots =
        Roots { driver: elsewhere.path().to_owned(), sysfs: fake.node.sysfs(), procfs: fake.node.procfs() };
    let inventory = discover_node(&roots, LATE);
    let [library, bus] = messages(&inventory, "node")[..] else { panic!("{:?}", inventory.problems) };
    assert!(library.contains("the kernel module 550.163.01 is loaded"), "{library}");
    assert!(bus.contains("cannot be used without NVML"), "{bus}");
}
