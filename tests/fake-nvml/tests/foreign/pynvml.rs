//! NVIDIA's Python binding.

use std::path::Path;
use std::process::Command;

use fake_node::calls::Call;
use fake_node::inject::{GpuSelector, Injection};
use serde_json::{Value, json};

use crate::support::{TestNode, finish, run, start};
use crate::{foreign, on_node};

/// A script of `tests/data` that imports the binding.
pub(crate) fn python(node: &TestNode, script: &str) -> Command {
    let mut command = on_node(foreign("FOREIGN_PYTHON"), node);
    command.env("PYTHONPATH", foreign("FOREIGN_PYNVML"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(script));
    command
}

fn facts(node: &TestNode) -> Value {
    let output = run(&mut python(node, "facts.py"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Published figures; see the module `boards` for their sources. CUDA cores: 128 for each of 132 or 114
/// multiprocessors. Links: NVIDIA's data sheets. Brand 14 is "NVIDIA", architecture 9 Hopper, fabric state 3
/// "completed", P2P status 0 "OK", in nvml.h.
#[test]
fn python_learns_the_published_figures() {
    let h100 = json!({
        "name": "NVIDIA H100 80GB HBM3", "device id": "0x233010de", "subsystem id": "0x16c110de",
        "cores": 16896, "total MiB": 81559.0, "reserved MiB": 516.0, "used and reserved MiB": 516.0, "bar1 MiB": 131_072.0,
        "sm MHz": 1980, "memory MHz": 2619, "power limits mW": [200_000, 700_000], "power limit mW": 700_000,
        "active links": 18, "fabric state": 3,
    });
    let h200 = json!({
        "name": "NVIDIA H200", "device id": "0x233510de", "subsystem id": "0x18be10de",
        "cores": 16896, "total MiB": 143_771.0, "bar1 MiB": 262_144.0,
        "sm MHz": 1980, "memory MHz": 3201, "power limit mW": 700_000,
        "active links": 18, "fabric state": 3,
    });
    let h100_pcie = json!({
        "name": "NVIDIA H100 PCIe", "device id": "0x233110de", "subsystem id": "0x162610de",
        "cores": 14592, "total MiB": 81559.0, "reserved MiB": 516.0, "bar1 MiB": 131_072.0,
        "sm MHz": 1755, "memory MHz": 1593, "power limits mW": [200_000, 350_000], "power limit mW": 350_000,
        "module": "NVMLError_NotSupported", "active links": 0, "fabric state": "NVMLError_NotSupported",
    });
    let h100_nvl = json!({
        "name": "NVIDIA H100 NVL", "device id": "0x232110de", "subsystem id": "0x183910de",
        "cores": 16896, "total MiB": 95830.0, "reserved MiB": 594.0, "bar1 MiB": 131_072.0,
        "power limit mW": 400_000, "active links": 12, "fabric state": "NVMLError_NotSupported",
    });
    let h200_nvl = json!({
        "name": "NVIDIA H200 NVL", "device id": "0x233b10de", "subsystem id": "0x199610de",
        "cores": 16896, "total MiB": 143_771.0, "bar1 MiB": 262_144.0, "power limit mW": 600_000,
        "active links": 18, "fabric state": "NVMLError_NotSupported",
    });
    // GPUs of one socket meet at its interconnect (40), those below one switch at the switch (10).
    for (description, board, gpus, ancestor, nvlink) in [
        ("hgx-h100-8", h100, 8, 40, 0),
        ("hgx-h200-8", h200, 8, 40, 0),
        ("h100-pcie-4", h100_pcie, 4, 40, 5),
        ("h100-nvl-2", h100_nvl, 2, 40, 0),
        ("h200-nvl-8", h200_nvl, 8, 10, 0),
    ] {
        let node = TestNode::new(description);
        let facts = facts(&node);
        assert_eq!(facts["driver"], "550.163.01");
        assert_eq!(facts["nvml"], "12.550.163.01");
        assert_eq!(facts["cuda"], 12040);
        assert_eq!(
            facts["first and second"],
            json!({"ancestor": ancestor, "nvlink": nvlink}),
            "{description}"
        );
        let found = facts["gpus"].as_array().unwrap();
        assert_eq!(found.len(), gpus, "{description}");
        for (index, gpu) in found.iter().enumerate() {
            let of_all = json!({
                "index by uuid": index, "minor": index, "brand": 14, "architecture": 9,
                "compute capability": [9, 0], "used MiB": 0.0, "ecc": [1, 1], "remapped rows": [0, 0, 0, 0],
                "compute mode": 0, "persistence mode": 1, "mig": [0, 0], "most mig devices": 7,
                "utilization": 0, "processes": 0, "event types": 0x1f, "fan": "NVMLError_NotSupported",
            });
            for (field, expected) in of_all.as_object().unwrap().iter().chain(board.as_object().unwrap()) {
                assert_eq!(gpu[field], *expected, "{description} GPU {index}: {field}");
            }
        }
    }
}

/// The published places of a DGX H100, and CPUs 56 to 111 and 168 to 223 as a mask of four words.
#[test]
fn python_learns_the_places_of_a_dgx() {
    let facts = facts(&TestNode::new("hgx-h100-8"));
    let of_each = |field: &str| -> Vec<Value> {
        facts["gpus"].as_array().unwrap().iter().map(|gpu| gpu[field].clone()).collect()
    };
    let buses = ["1B", "43", "52", "61", "9D", "C3", "D1", "DF"];
    assert_eq!(of_each("bus id"), buses.map(|bus| json!(format!("00000000:{bus}:00.0"))));
    assert_eq!(of_each("module"), [1, 2, 3, 4, 5, 6, 7, 8].map(|module| json!(module)));
    let mask = json!([
        0xFF00_0000_0000_0000_u64,
        0x0000_FFFF_FFFF_FFFF_u64,
        0xFFFF_FF00_0000_0000_u64,
        0xFFFF_FFFF_u64
    ]);
    assert_eq!(facts["cpus of the last"], mask);
}

/// Two processes that hear all, one that hears only of clocks; the node tells them from a fourth.
#[test]
fn events_reach_every_process_that_listens() {
    const XID: u64 = 0x8;
    const CLOCK: u64 = 0x10;
    let node = TestNode::new("hgx-h100-8");
    let all_of = |mask: u64, gpus: &[&str]| {
        start(python(&node, "events.py").args([&mask.to_string(), "4294967295"]).args(gpus))
    };
    let listeners =
        [all_of(XID | CLOCK, &["0", "5"]), all_of(XID | CLOCK, &["5", "0"]), all_of(CLOCK, &["0", "5"])];
    for listener in &listeners {
        node.wait_for_call("a listener", |call: &Call| {
            call.pid == listener.id() && call.function == "nvmlEventSetWait_v2"
        });
        let registered = |call: &&Call| {
            call.pid == listener.id()
                && call.function == "nvmlDeviceRegisterEvents"
                && call.returned == Some(0)
        };
        assert_eq!(node.calls().iter().filter(registered).count(), 2);
    }

    let gpu = GpuSelector::Slot;
    node.inject(&Injection::Xid { gpu: gpu(5), xid: 94, instances: None }).unwrap();
    node.inject(&Injection::Xid { gpu: gpu(3), xid: 13, instances: None }).unwrap();
    node.inject(&Injection::ClockChange { gpu: gpu(0), reasons: 0x40 }).unwrap();
    node.inject(&Injection::Xid { gpu: gpu(0), xid: 43, instances: Some((9, 0)) }).unwrap();
    node.inject(&Injection::Lost(gpu(5))).unwrap();

    const NONE: u32 = 0xFFFF_FFFF;
    let xid_94 = json!([5, XID, 94, [NONE, NONE]]);
    let clock = json!([0, CLOCK, 0, [NONE, NONE]]);
    let xid_43 = json!([0, XID, 43, [9, 0]]);
    // XID 79: "GPU has fallen off the bus".
    let xid_79 = json!([5, XID, 79, [NONE, NONE]]);
    let lost = json!("NVMLError_GpuIsLost");
    let everything = vec![xid_94, clock.clone(), xid_43, xid_79, lost.clone()];
    let expected = [everything.clone(), everything, vec![clock, lost]];
    for (listener, expected) in listeners.into_iter().zip(expected) {
        let output = finish(listener);
        let heard: Vec<Value> = serde_json::Deserializer::from_slice(&output.stdout)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(heard, expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_wait_for_nothing_times_out() {
    let node = TestNode::new("h100-nvl-2");
    let output = run(python(&node, "events.py").args(["0x8", "50", "0", "1"]));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "\"NVMLError_Timeout\"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
