use super::*;
use crate::inventory::Via;
use crate::nvml::reading::CallError;

fn text(text: &str) -> Reading<Text> {
    Reading::Value(Text { text: text.into(), valid: true })
}

/// An H100 SXM5 as NVML describes it, after the published tables.
fn facts() -> GpuFacts {
    GpuFacts {
        uuid: text("GPU-00000000-0000-4000-8000-000000000001"),
        pci: Reading::Value(PciInfo {
            bus_id: Text { text: "00000000:1B:00.0".into(), valid: true },
            device: 0x2330_10de,
            subsystem: 0x16c1_10de,
        }),
        minor: Reading::Value(3),
        name: text("NVIDIA H100 80GB HBM3"),
        brand: Reading::Value(14),
        architecture: Reading::Value(9),
        compute_capability: Reading::Value((9, 0)),
        memory: Reading::Value((81559 << 20, 450 << 20)),
        cores: Reading::Value(16896),
        fabric: Reading::NotSupported,
        mig: Reading::NotSupported,
        nvlinks: Reading::Value(vec![]),
        ..not_supported()
    }
}

/// A board that knows nothing of anything.
fn not_supported() -> GpuFacts {
    GpuFacts {
        uuid: Reading::NotSupported,
        pci: Reading::NotSupported,
        minor: Reading::NotSupported,
        name: Reading::NotSupported,
        serial: Reading::NotSupported,
        brand: Reading::NotSupported,
        architecture: Reading::NotSupported,
        compute_capability: Reading::NotSupported,
        memory: Reading::NotSupported,
        bar1: Reading::NotSupported,
        cores: Reading::NotSupported,
        vbios: Reading::NotSupported,
        gsp_firmware: Reading::NotSupported,
        board_part_number: Reading::NotSupported,
        ecc: Reading::NotSupported,
        persistence: Reading::NotSupported,
        compute_mode: Reading::NotSupported,
        power_limit: Reading::NotSupported,
        power_default: Reading::NotSupported,
        power_range: Reading::NotSupported,
        clock_sm: Reading::NotSupported,
        clock_memory: Reading::NotSupported,
        pcie_generation: Reading::NotSupported,
        pcie_width: Reading::NotSupported,
        mig: Reading::NotSupported,
        mig_most: Reading::NotSupported,
        module_id: Reading::NotSupported,
        fabric: Reading::NotSupported,
        nvlinks: Reading::NotSupported,
    }
}

fn kernel() -> SysfsFacts {
    SysfsFacts { numa_node: Ok(0), local_cpus: Ok("0-55,112-167".into()), pcie_root: Ok("pci0000:15".into()) }
}

fn of(facts: &GpuFacts, sysfs: &SysfsFacts) -> (Gpu, Vec<Problem>) {
    gpu(&Known { index: 0, facts, silence: None, only_place_left: None, sysfs })
}

#[test]
fn a_healthy_gpu_is_usable_and_has_no_problems() {
    let (gpu, problems) = of(&facts(), &kernel());
    assert_eq!(problems, []);
    assert!(gpu.usable);
    assert_eq!(gpu.name.as_deref(), Some("gpu-0000-1b-00-0"));
    assert_eq!(gpu.multiprocessors, Some(132));
    assert_eq!(gpu.cuda_compute_capability.unwrap().semantic.to_string(), "9.0.0");
    assert_eq!(gpu.architecture.as_deref(), Some("Hopper"));
    assert_eq!(gpu.brand.as_deref(), Some("Nvidia"));
    assert_eq!(gpu.pci.device_id.as_deref(), Some("2330:10de"));
    assert_eq!(gpu.pci.subsystem_id.as_deref(), Some("16c1:10de"));
    assert_eq!(gpu.memory.unwrap().total_bytes, 85_520_809_984);
    assert!(!gpu.mig.capable);
    assert!(gpu.unread.iter().all(|unread| unread.cause == Cause::NotSupported));
}

#[test]
fn each_oddity_has_its_consequence_and_no_other() {
    type Change = fn(&mut GpuFacts, &mut SysfsFacts);
    struct Case {
        name: &'static str,
        change: Change,
        usable: bool,
        /// Part of the only problem's message.
        problem: Option<&'static str>,
    }
    let cases = [
        Case {
            name: "the firmware names no NUMA node",
            change: |_, sysfs| sysfs.numa_node = Ok(-1),
            usable: true,
            problem: None,
        },
        Case {
            name: "the kernel has no NUMA file",
            change: |_, sysfs| sysfs.numa_node = Err("no such file".into()),
            usable: true,
            problem: Some("cannot read numaNode: no such file"),
        },
        Case {
            name: "no memory",
            change: |facts, _| facts.memory = Reading::Value((0, 0)),
            usable: false,
            problem: Some("0 bytes of memory"),
        },
        Case {
            name: "a name that is no text",
            change: |facts, _| {
                facts.name = Reading::Value(Text { text: "NVIDIA \u{fffd}".into(), valid: false });
            },
            usable: true,
            problem: Some("productName is not UTF-8"),
        },
        Case {
            name: "a serial number without characters",
            change: |facts, _| facts.serial = text(""),
            usable: true,
            problem: Some("cannot read serial: NVML answered with an empty text"),
        },
        Case {
            name: "a PCI address that is none",
            change: |facts, _| {
                facts.pci = Reading::Value(PciInfo {
                    bus_id: Text { text: "somewhere".into(), valid: true },
                    ..PciInfo::default()
                });
            },
            usable: false,
            problem: Some("'somewhere' is no PCI address"),
        },
        Case {
            name: "no UUID",
            change: |facts, _| facts.uuid = Reading::Failed(CallError::of_code(999)),
            usable: false,
            problem: Some("cannot read uuid: unknown error inside the driver (NVML 999)"),
        },
        Case {
            name: "one call that fails",
            change: |facts, _| facts.power_limit = Reading::Failed(CallError::of_code(4)),
            usable: true,
            problem: Some("cannot read power.limitMilliwatts: insufficient permissions (NVML 4)"),
        },
        Case {
            name: "several calls that fail for one reason",
            change: |facts, _| {
                facts.vbios = Reading::Failed(CallError::of_code(14));
                facts.serial = Reading::Failed(CallError::of_code(14));
            },
            usable: true,
            problem: Some("cannot read serial, vbiosVersion: the GPU's infoROM is corrupted (NVML 14)"),
        },
        Case {
            name: "a driver without the function",
            change: |facts, _| facts.module_id = Reading::NoSymbol,
            usable: true,
            problem: None,
        },
        Case {
            name: "a fabric that is not ready",
            change: |facts, _| {
                facts.fabric =
                    Reading::Value(FabricInfo { state: 2, status: 0, clique_id: 0, cluster_uuid: [0; 16] });
            },
            usable: true,
            problem: Some("registration with the NVLink fabric is in progress"),
        },
        Case {
            name: "a fabric that refused the GPU",
            change: |facts, _| {
                facts.fabric =
                    Reading::Value(FabricInfo { state: 3, status: 999, clique_id: 0, cluster_uuid: [0; 16] });
            },
            usable: true,
            problem: Some("registration with the NVLink fabric failed"),
        },
        Case {
            name: "a compute mode of the future",
            change: |facts, _| facts.compute_mode = Reading::Value(9),
            usable: true,
            problem: Some("cannot read computeMode: NVML's answer 9"),
        },
    ];
    for case in cases {
        let (mut facts, mut sysfs) = (facts(), kernel());
        (case.change)(&mut facts, &mut sysfs);
        let (gpu, problems) = of(&facts, &sysfs);
        assert_eq!(gpu.usable, case.usable, "{}: {problems:?}", case.name);
        match (case.problem, problems.as_slice()) {
            (None, []) => {}
            (Some(part), [problem]) => {
                assert!(problem.message.contains(part), "{}: {}", case.name, problem.message);
                let severity = if case.usable { Severity::Warning } else { Severity::Unusable };
                assert_eq!(problem.severity, severity, "{}", case.name);
            }
            (wanted, found) => panic!("{}: wanted {wanted:?}, found {found:?}", case.name),
        }
    }
}

#[test]
fn no_numa_node_is_a_value_and_not_a_gap() {
    let mut sysfs = kernel();
    sysfs.numa_node = Ok(-1);
    let (gpu, _) = of(&facts(), &sysfs);
    assert_eq!(gpu.numa_node, None);
    assert!(!gpu.unread.iter().any(|unread| unread.field == "numaNode"));
}

#[test]
fn a_lost_gpu_is_shown_with_what_is_known() {
    let lost = || Reading::Failed(CallError::of_code(15));
    let facts =
        GpuFacts { memory: Reading::Failed(CallError::of_code(15)), serial: lost(), name: lost(), ..facts() };
    let (gpu, problems) = of(&facts, &kernel());
    assert!(!gpu.usable);
    assert_eq!(gpu.name.as_deref(), Some("gpu-0000-1b-00-0"));
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "cannot read productName, serial, memory: the GPU is lost: it fell off the bus or stopped answering (NVML 15)"
        ]
    );
}

#[test]
fn a_silent_gpu_is_found_by_elimination() {
    let silence = "NVML does not answer";
    let (gpu, problems) = gpu(&Known {
        index: 5,
        facts: &GpuFacts::default(),
        silence: Some(silence),
        only_place_left: Some("0000:43:00.0".parse().unwrap()),
        sysfs: &kernel(),
    });
    assert!(!gpu.usable);
    assert_eq!(gpu.name.as_deref(), Some("gpu-0000-43-00-0"));
    assert_eq!(gpu.pci.root.as_deref(), Some("pci0000:15"));
    assert_eq!(problems.len(), 1, "one problem, not one for each value: {problems:?}");
    assert_eq!(problems[0].subject, "gpu-0000-43-00-0");
    assert_eq!(problems[0].message, silence);
    let uuid = gpu.unread.iter().find(|unread| unread.field == "uuid").unwrap();
    assert_eq!(uuid.reason, silence);
}

#[test]
fn links_are_counted_by_what_they_end_in() {
    let link = |kind: u32, bus: &str| NvLinkFacts {
        active: true,
        version: Reading::Value(7),
        remote_type: Reading::Value(kind),
        remote: Reading::Value(PciInfo {
            bus_id: Text { text: format!("00000000:{bus}:00.0"), valid: true },
            ..PciInfo::default()
        }),
    };
    let down = NvLinkFacts::default();
    let facts = GpuFacts {
        nvlinks: Reading::Value(vec![link(2, "05"), link(0, "4B"), link(2, "05"), down]),
        ..facts()
    };
    let (gpu, _) = of(&facts, &kernel());
    let remote =
        |kind, address: &str, links| NvLinkRemote { kind, address: Some(address.parse().unwrap()), links };
    assert_eq!(
        gpu.nvlink,
        Some(NvLink {
            links: 4,
            active: 3,
            generation: Some(4),
            version_code: Some(7),
            remotes: vec![
                remote(NvLinkRemoteKind::Gpu, "0000:4b:00.0", 1),
                remote(NvLinkRemoteKind::Switch, "0000:05:00.0", 2),
            ],
        })
    );
}

#[test]
fn a_fabric_of_several_nodes_has_a_cluster() {
    let mut cluster_uuid = [0; 16];
    cluster_uuid[0] = 0x8c;
    cluster_uuid[15] = 0x01;
    let info = FabricInfo { state: 3, status: 0, clique_id: 32766, cluster_uuid };
    assert_eq!(
        fabric(info),
        Some(Fabric {
            state: FabricState::Completed,
            clique_id: 32766,
            cluster_uuid: Some("8c000000-0000-0000-0000-000000000001".into()),
        })
    );
    assert_eq!(fabric(FabricInfo { state: 0, ..info }), None, "a board that joins no fabric");
}

#[test]
fn two_gpus_with_one_identity_are_both_refused() {
    let (one, _) = of(&facts(), &kernel());
    let other = Gpu {
        name: Some("gpu-0000-43-00-0".into()),
        pci: Pci { address: Some("0000:43:00.0".parse().unwrap()), ..Pci::default() },
        ..one.clone()
    };
    let third = Gpu {
        uuid: Some("GPU-another".into()),
        name: Some("gpu-0000-52-00-0".into()),
        pci: Pci { address: Some("0000:52:00.0".parse().unwrap()), ..Pci::default() },
        ..one.clone()
    };
    let mut gpus = [one, other, third];
    let problems = refuse_doubles(&mut gpus);
    assert_eq!(gpus.each_ref().map(|gpu| gpu.usable), [false, false, true]);
    let subjects: Vec<&str> = problems.iter().map(|problem| problem.subject.as_str()).collect();
    assert_eq!(subjects, ["gpu-0000-1b-00-0", "gpu-0000-43-00-0"]);
    assert!(problems[0].message.contains("UUID GPU-00000000-0000-4000-8000-000000000001"));
}

#[test]
fn connections_stand_in_both_gpus() {
    let (one, _) = of(&facts(), &kernel());
    let other =
        Gpu { pci: Pci { address: Some("0000:43:00.0".parse().unwrap()), ..Pci::default() }, ..one.clone() };
    let mut gpus = [one, other];
    let before = gpus[0].unread.len();
    connect(&mut gpus, 0, 1, &Reading::Value(40));
    let neighbour = |address: &str| [Neighbour { address: address.parse().unwrap(), via: Via::NumaNode }];
    assert_eq!(gpus[0].topology, neighbour("0000:43:00.0"));
    assert_eq!(gpus[1].topology, neighbour("0000:1b:00.0"));

    connect(&mut gpus, 0, 1, &Reading::Failed(CallError::of_code(15)));
    let reason = &gpus[0].unread[before].reason;
    assert!(reason.starts_with("to 0000:43:00.0: the GPU is lost"), "{reason}");
}

#[test]
fn a_version_that_is_none_is_a_problem_of_the_node() {
    let facts = NodeFacts {
        driver_version: text("five hundred"),
        nvml_version: text("12.550.163.01"),
        cuda_version: Reading::Value(12040),
    };
    let (versions, problems) = versions(&facts);
    assert_eq!(versions.driver, None);
    assert_eq!(versions.nvml.unwrap().semantic.to_string(), "12.550.163+01");
    assert_eq!(versions.cuda.unwrap().raw, "12.4");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].subject, "node");
    assert!(problems[0].message.contains("'five hundred' is no version"));
}
