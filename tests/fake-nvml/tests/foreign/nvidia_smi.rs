//! What nvidia-smi does beside printing figures: it lists, sets, and tells of what went wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::Process;

use crate::support::{TestNode, is_root, run};
use crate::{foreign, on_node, smi, smi_query, smi_text};

/// `nvidia-smi -L`: index, name, UUID.
#[test]
fn the_list_names_each_gpu() {
    const SXM: &str = "NVIDIA H100 80GB HBM3";
    const PCIE: &str = "NVIDIA H100 PCIe";
    let nodes = [
        ("hgx-h100-8", vec![SXM; 8]),
        ("hgx-h200-8", vec!["NVIDIA H200"; 8]),
        ("h100-pcie-4", vec![PCIE; 4]),
        ("h100-nvl-2", vec!["NVIDIA H100 NVL"; 2]),
        ("h200-nvl-8", vec!["NVIDIA H200 NVL"; 8]),
        ("mixed", vec![PCIE, PCIE, "NVIDIA H200 NVL", "NVIDIA H200 NVL"]),
        ("h100-16", vec![PCIE; 16]),
    ];
    for (description, names) in nodes {
        let node = TestNode::new(description);
        let state = node.state().unwrap();
        let rows = names.iter().zip(&state.gpus).enumerate();
        let expected: Vec<String> =
            rows.map(|(index, (name, gpu))| format!("GPU {index}: {name} (UUID: {})", gpu.uuid)).collect();
        assert_eq!(smi_text(&node, &["-L"]).lines().collect::<Vec<_>>(), expected, "{description}");
    }
}

/// What one process sets another reads. Where the user is not root, the refusal is what is tested.
#[test]
fn modes_that_are_set_are_there_for_the_next_process() {
    let node = TestNode::new("h100-pcie-4");
    let modes = || smi_query(&node, "compute_mode,persistence_mode");
    assert_eq!(modes(), ["Default, Enabled"; 4]);
    if !is_root() {
        return refused(&node);
    }
    let set = smi_text(&node, &["-i", "1", "-c", "EXCLUSIVE_PROCESS"]);
    assert!(set.starts_with("Set compute mode to EXCLUSIVE_PROCESS for GPU 00000000:65:00.0."), "{set}");
    let set = smi_text(&node, &["-i", "2", "-c", "2"]);
    assert!(set.starts_with("Set compute mode to PROHIBITED for GPU 00000000:CA:00.0."), "{set}");
    let set = smi_text(&node, &["-i", "3", "-pm", "0"]);
    assert!(set.starts_with("Disabled persistence mode for GPU 00000000:E3:00.0."), "{set}");
    assert_eq!(
        modes(),
        ["Default, Enabled", "Exclusive_Process, Enabled", "Prohibited, Enabled", "Default, Disabled"]
    );
    // To the whole node, and only where it is not so yet.
    let set = smi_text(&node, &["-c", "DEFAULT"]);
    assert_eq!(set.matches("Set compute mode to DEFAULT for GPU").count(), 2, "{set}");
    assert_eq!(set.matches("Compute mode is already set to DEFAULT for GPU").count(), 2, "{set}");
    let set = smi_text(&node, &["-pm", "1"]);
    assert_eq!(set.matches("Enabled persistence mode for GPU").count(), 1, "{set}");
    assert_eq!(modes(), ["Default, Enabled"; 4]);
}

#[test]
fn time_slices_are_set_and_listed() {
    let node = TestNode::new("h100-nvl-2");
    let listed = || -> Vec<String> {
        let table = smi_text(&node, &["compute-policy", "-l"]);
        let rows = table.lines().filter(|line| line.contains("Timeslice"));
        rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(listed(), ["| 0 Timeslice Default |", "| 1 Timeslice Default |"]);
    if !is_root() {
        return refused(&node);
    }
    for (slice, name) in [("1", "Short"), ("2", "Medium"), ("3", "Long"), ("0", "Default")] {
        let set = smi_text(&node, &["compute-policy", "-i", "1", "--set-timeslice", slice]);
        assert_eq!(set.trim_end(), format!("Successfully set timeslice policy with value {name} for GPU 1"));
        assert_eq!(listed(), ["| 0 Timeslice Default |".to_owned(), format!("| 1 Timeslice {name} |")]);
    }
    let all = smi_text(&node, &["compute-policy", "--set-timeslice", "3"]);
    assert_eq!(all.matches("Successfully set timeslice policy with value Long").count(), 2, "{all}");
    assert_eq!(listed(), ["| 0 Timeslice Long |", "| 1 Timeslice Long |"]);
}

/// Setting needs root.
#[test]
fn other_users_may_not_set() {
    refused(&TestNode::new("h100-nvl-2"));
}

fn refused(node: &TestNode) {
    let before = node.state().unwrap();
    // Where the program lies, another user may have no business.
    let program = node.beside("nvidia-smi");
    fs::copy(foreign("FOREIGN_NVIDIA_SMI"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for arguments in [&["-c", "3"][..], &["-pm", "0"], &["compute-policy", "--set-timeslice", "2"]] {
        let mut command = on_node(program.clone(), node);
        if is_root() {
            command.uid(65534).gid(65534);
        }
        let output = run(command.args(arguments));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("Insufficient Permissions"), "{arguments:?}: {text}");
        // nvidia-smi ends with NVML's code: 4 is NO_PERMISSION.
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {text}");
    }
    assert_eq!(*node.state().unwrap(), *before);
}

#[test]
fn programs_on_a_gpu_are_listed_with_their_memory() {
    let node = TestNode::new("hgx-h100-8");
    let process = Process { pid: 4321, name: "/opt/train".into(), memory_mib: 4096, graphics: false };
    node.inject(&Injection::ProcessStarts { gpu: GpuSelector::Slot(2), process }).unwrap();
    let query = ["--query-compute-apps=gpu_bus_id,pid,name,used_memory", "--format=csv,noheader"];
    assert_eq!(smi_text(&node, &query).trim_end(), "00000000:52:00.0, 4321, /opt/train, 4096 MiB");
    let memory = &smi_query(&node, "memory.used,memory.reserved,memory.free")[2];
    // 81559 less 516 less 4096.
    assert_eq!(memory, "4096 MiB, 516 MiB, 76947 MiB");
}

#[test]
fn errors_of_the_memory_are_counted() {
    let node = TestNode::new("hgx-h100-8");
    node.inject(&Injection::Ecc { gpu: GpuSelector::Slot(4), corrected: 11, uncorrected: 2 }).unwrap();
    let rows =
        Injection::RemappedRows { gpu: GpuSelector::Slot(4), uncorrected: 1, pending: true, failure: false };
    node.inject(&rows).unwrap();
    let (_, gpus) = crate::log::read(&smi_text(&node, &["-q", "-i", "4"]));
    for (field, expected) in [
        ("ECC Errors/Volatile/DRAM Correctable", "11"),
        ("ECC Errors/Volatile/DRAM Uncorrectable", "2"),
        ("ECC Errors/Aggregate/DRAM Correctable", "11"),
        ("ECC Errors/Aggregate/DRAM Uncorrectable", "2"),
        ("Remapped Rows/Uncorrectable Error", "1"),
        ("Remapped Rows/Pending", "Yes"),
    ] {
        assert_eq!(gpus[0][field], expected, "{field}");
    }
}

#[test]
fn a_lost_gpu_is_told_of() {
    let node = TestNode::new("h100-pcie-4");
    node.inject(&Injection::Lost(GpuSelector::Slot(2))).unwrap();
    let output = smi(&node, &["-L"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches("NVIDIA H100 PCIe").count(), 3, "{text}");
    let told = "Unable to determine the device handle for gpu 2: GPU is lost.  Reboot the system to recover this GPU";
    assert!(text.contains(told), "{text}");
    // NVML's code GPU_IS_LOST.
    assert_eq!(output.status.code(), Some(15));

    node.inject(&Injection::Returned { gpu: GpuSelector::Slot(2), uuid: None }).unwrap();
    assert_eq!(smi_text(&node, &["-L"]).lines().count(), 4);
}

#[test]
fn a_driver_that_is_not_there_is_told_of() {
    let mut node = TestNode::new("h100-pcie-4");
    node.unload_driver().unwrap();
    let output = smi(&node, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("couldn't communicate with the NVIDIA driver"), "{text}");
    // NVML's code DRIVER_NOT_LOADED.
    assert_eq!(output.status.code(), Some(9));
    node.load_driver(None).unwrap();
    assert_eq!(smi_text(&node, &["-L"]).lines().count(), 4);
}
