//! Which GPUs a session lists, and the ways to them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Instant;

use fake_node::node::Node;
use nvml_wrapper::error::NvmlError;

use crate::support::{HANGING, TestNode, is_root, play, role, run, said, this_program};
use crate::{session, try_session, uuids};

const DESCRIPTIONS: [(&str, u32); 7] = [
    ("hgx-h100-8", 8),
    ("hgx-h200-8", 8),
    ("h100-pcie-4", 4),
    ("h100-nvl-2", 2),
    ("h200-nvl-8", 8),
    ("mixed", 4),
    ("h100-16", 16),
];

#[test]
fn every_gpu_is_found_by_index_uuid_serial_and_pci_address() {
    for (description, gpus) in DESCRIPTIONS {
        let node = TestNode::new(description);
        let nvml = session(&node);
        assert_eq!(nvml.device_count().unwrap(), gpus, "{description}");
        let state = node.state().unwrap();
        for (index, gpu) in (0..).zip(&state.gpus) {
            let pci = &gpu.pci;
            let address = format!("{:02x}:{:02x}.{:x}", pci.bus, pci.device, pci.function);
            let long = format!("{:08X}:{}", pci.domain, address.to_uppercase());
            let short = format!("{:04x}:{address}", pci.domain);
            #[expect(deprecated, reason = "it is there to be called")]
            let by_serial = nvml.device_by_serial(gpu.serial.as_str());
            // Without a domain an address is one of domain 0.
            let without_domain = if pci.domain == 0 { &address } else { &short };
            for (way, device) in [
                ("index", nvml.device_by_index(index)),
                ("UUID", nvml.device_by_uuid(gpu.uuid.as_str())),
                ("serial", by_serial),
                ("PCI address as NVML writes it", nvml.device_by_pci_bus_id(long.as_str())),
                ("PCI address as the kernel writes it", nvml.device_by_pci_bus_id(short.as_str())),
                ("PCI address without domain", nvml.device_by_pci_bus_id(without_domain.as_str())),
            ] {
                let device = device.unwrap_or_else(|error| panic!("{description} {index} by {way}: {error}"));
                assert_eq!(device.uuid().unwrap(), gpu.uuid, "{description} {index} by {way}");
                assert_eq!(device.index().unwrap(), index, "{description} {index} by {way}");
                assert_eq!(device.serial().unwrap(), gpu.serial);
                assert_eq!(device.minor_number().unwrap(), gpu.minor);
                assert_eq!(device.pci_info().unwrap().bus_id, long);
            }
        }
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let node = TestNode::new("h100-nvl-2");
    let nvml = session(&node);
    #[expect(deprecated, reason = "it is there to be called")]
    let by_serial = nvml.device_by_serial("1650000000000");
    for (way, found, expected) in [
        ("index", nvml.device_by_index(2), NvmlError::InvalidArg),
        ("UUID", nvml.device_by_uuid("GPU-00000000-0000-0000-0000-000000000000"), NvmlError::NotFound),
        ("serial", by_serial, NvmlError::NotFound),
        ("PCI address", nvml.device_by_pci_bus_id("0000:18:00.0"), NvmlError::NotFound),
        ("no PCI address", nvml.device_by_pci_bus_id("the third one"), NvmlError::InvalidArg),
    ] {
        let error = found.map(|device| device.uuid().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), expected.to_string(), "{way}");
    }
}

#[test]
fn several_nodes_live_in_one_process() {
    let (h100, h200, other_h100) =
        (TestNode::new("hgx-h100-8"), TestNode::new("hgx-h200-8"), TestNode::new("hgx-h100-8"));
    let (first, second, third) = (session(&h100), session(&h200), session(&other_h100));
    assert_eq!(first.device_by_index(0).unwrap().name().unwrap(), "NVIDIA H100 80GB HBM3");
    assert_eq!(second.device_by_index(0).unwrap().name().unwrap(), "NVIDIA H200");

    // Two nodes of one description are still two: what happens on one does not on the other.
    let pci = h100.state().unwrap().gpus[0].pci;
    h100.update(|state| state.gpus[0].live.temperature = 71).unwrap();
    let sensor = nvml_wrapper::enum_wrappers::device::TemperatureSensor::Gpu;
    let temperature = |nvml: &nvml_wrapper::Nvml| {
        nvml.device_by_pci_bus_id(pci.to_string()).unwrap().temperature(sensor).unwrap()
    };
    assert_eq!(temperature(&first), 71);
    assert_ne!(temperature(&third), 71);

    drop(first);
    assert_eq!(second.device_count().unwrap(), 8, "the end of one session does not end another node's");
}

/// In a container the library is mounted under two names, which are one file, and /usr/lib holds the firmware too.
#[test]
fn a_node_is_found_as_a_container_has_its_files() {
    let node = TestNode::new("h100-nvl-2");
    let library = node.library();
    let whole_name = fs::canonicalize(&library).unwrap();
    fs::remove_file(&library).unwrap();
    fs::hard_link(whole_name, &library).unwrap();
    let firmware = node.driver_root().join("lib/firmware/nvidia/550.163.01/gsp_ga10x.bin");
    let under_usr = node.driver_root().join("usr/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin");
    fs::create_dir_all(under_usr.parent().unwrap()).unwrap();
    fs::hard_link(firmware, under_usr).unwrap();
    assert_eq!(session(&node).device_count().unwrap(), 2);
}

#[test]
fn only_gpus_whose_device_nodes_are_there_are_listed() {
    let node = TestNode::new("h100-pcie-4");
    let all = uuids(&session(&node));
    fs::remove_file(node.dev("nvidia1")).unwrap();
    let nvml = session(&node);
    assert_eq!(uuids(&nvml), [all[0].clone(), all[2].clone(), all[3].clone()]);
    // Index counts what is listed, the minor number names the device node.
    let second = nvml.device_by_index(1).unwrap();
    assert_eq!((second.index().unwrap(), second.minor_number().unwrap()), (1, 2));
    assert!(matches!(nvml.device_by_uuid(all[1].as_str()), Err(NvmlError::NotFound)));
}

#[test]
fn only_gpus_whose_device_nodes_can_be_opened_are_listed() {
    if let Some((_, dir)) = role() {
        let node = Node::open(&dir).unwrap();
        let nvml = nvml_wrapper::Nvml::builder().lib_path(node.library().as_os_str()).init().unwrap();
        for uuid in uuids(&nvml) {
            println!("sees {uuid}");
        }
        return;
    }
    let node = TestNode::new("h100-pcie-4");
    fs::set_permissions(node.dev("nvidia2"), Permissions::from_mode(0o000)).unwrap();
    // Where the test program lies, another user may have no business.
    let program = node.beside("program");
    fs::copy(this_program(), &program).unwrap();
    let mut command = play(&program, this_test!(), "look", &node);
    if is_root() {
        command.uid(65534).gid(65534);
    }
    let output = String::from_utf8(run(&mut command).stdout).unwrap();
    let seen = said(&output, "sees ");
    let state = node.state().unwrap();
    let expected: Vec<&str> = [0, 1, 3].map(|slot: usize| state.gpus[slot].uuid.as_str()).to_vec();
    assert_eq!(seen, expected, "{output}");
}

#[test]
fn without_the_control_device_no_driver_is_loaded() {
    let node = TestNode::new("h100-nvl-2");
    fs::remove_file(node.dev("nvidiactl")).unwrap();
    assert!(matches!(try_session(&node), Err(NvmlError::DriverNotLoaded)));
}

#[test]
fn a_node_without_gpus_is_no_error() {
    let node = TestNode::new("h100-nvl-2");
    node.update(|state| state.gpus.clear()).unwrap();
    assert_eq!(session(&node).device_count().unwrap(), 0);
}

/// The figure is printed; asserted is only that nothing waits.
#[test]
fn loading_and_enumerating_takes_no_time() {
    let node = TestNode::new("hgx-h100-8");
    let started = Instant::now();
    let found = uuids(&session(&node));
    let took = started.elapsed();
    println!("loaded the library and enumerated {} GPUs in {:.1} ms", found.len(), took.as_secs_f64() * 1e3);
    assert_eq!(found.len(), 8);
    assert!(took < HANGING);
}
