//! What each injection does to a node, and what it refuses.

#![allow(clippy::unwrap_used, reason = "in a test a failure is a failure")]

use std::collections::BTreeSet;

use fake_node::Description;
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::{Effect, NodeState, Presence, Process, event};
use fake_node::state_file::MAX_FAULTS;

fn hgx(version: &str) -> NodeState {
    Description::builtin("hgx-h100-8").unwrap().with_driver_version(version).unwrap().state()
}

fn gpu(slot: usize) -> GpuSelector {
    GpuSelector::Slot(slot)
}

fn hang(call: &str) -> Injection {
    Injection::Fault { call: call.into(), gpu: None, after: 0, times: None, effect: Effect::Hang }
}

/// Events as slot, type, data.
fn events(state: &NodeState) -> Vec<(usize, u64, u64)> {
    state.events.recent.iter().map(|event| (event.slot, event.kind, event.data)).collect()
}

/// Event types and XIDs are those of nvml.h and of NVIDIA's XID catalogue: 48 is an uncorrected ECC error, 79 a GPU
/// that has fallen off the bus, 154 a changed recovery action.
#[test]
fn what_happens_to_a_gpu_is_told_as_events() {
    type Told = &'static [(usize, u64, u64)];
    let cases: [(&str, &str, Injection, Told); 8] = [
        ("an XID", "550.163.01", Injection::Xid { gpu: gpu(3), xid: 94, instances: None }, &[(3, 0x8, 94)]),
        ("a loss", "550.163.01", Injection::Lost(gpu(2)), &[(2, 0x8, 79)]),
        ("a fall off the bus", "550.163.01", Injection::OffTheBus(gpu(2)), &[(2, 0x8, 79)]),
        (
            "corrected errors",
            "550.163.01",
            Injection::Ecc { gpu: gpu(1), corrected: 9, uncorrected: 0 },
            &[(1, 0x1, 0)],
        ),
        (
            "uncorrected errors",
            "550.163.01",
            Injection::Ecc { gpu: gpu(1), corrected: 0, uncorrected: 1 },
            &[(1, 0x2, 0), (1, 0x8, 48)],
        ),
        (
            "a recovery action before its event existed",
            "570.172.08",
            Injection::RecoveryAction { gpu: gpu(0), action: 1 },
            &[(0, 0x8, 154)],
        ),
        (
            "a recovery action",
            "575.57.08",
            Injection::RecoveryAction { gpu: gpu(0), action: 4 },
            &[(0, 0x8, 154), (0, 0x8000, 4)],
        ),
        ("clocks", "550.163.01", Injection::ClockChange { gpu: gpu(7), reasons: 0x40 }, &[(7, 0x10, 0)]),
    ];
    for (name, version, injection, expected) in cases {
        let mut state = hgx(version);
        state.apply(&injection, 0).unwrap();
        assert_eq!(events(&state), expected, "{name}");
    }
}

#[test]
fn a_gpu_is_named_by_position_uuid_or_pci_address() {
    let state = hgx("550.163.01");
    for (text, slot) in [
        ("4", 4),
        ("GPU-f00470be-f4e6-4f08-8bb5-e33a74eb35ee", 1),
        ("0000:52:00.0", 2),
        ("52:00.0", 2),
        ("00000000:DF:00.0", 7),
    ] {
        assert_eq!(state.slot(&text.parse().unwrap()), Ok(slot), "{text}");
    }
    for text in ["", "GPU", "one", "-1", "52:00", "52:00.9", "52:20.0"] {
        let error = text.parse::<GpuSelector>().unwrap_err();
        assert!(
            error.contains(&format!("'{text}'")) && error.contains("UUID (GPU-…) or PCI address"),
            "{error}"
        );
    }
}

#[test]
fn what_is_not_there_is_refused_by_name_and_nothing_changes() {
    const TAKEN: &str = "GPU-f00470be-f4e6-4f08-8bb5-e33a74eb35ee";
    let cases = [
        (Injection::Lost(gpu(8)), "no GPU 8; it has 0 (0000:1b:00.0, GPU-2aa6e085-"),
        (Injection::Lost("GPU-nobody".parse().unwrap()), "no GPU GPU-nobody; it has 0 "),
        (Injection::Lost("0001:1b:00.0".parse().unwrap()), "no GPU 0001:1b:00.0; it has 0 "),
        (hang("nvmlDeviceGetNam"), "no NVML function nvmlDeviceGetNam; give its full name"),
        (hang(""), "no NVML function "),
        (Injection::Clear(Some(3)), "no fault 3 is set"),
        (Injection::ProcessEnds { gpu: gpu(2), pid: 77 }, "no process 77 uses the GPU 2"),
        (
            Injection::Returned { gpu: gpu(0), uuid: Some("GPU-new".into()) },
            "'GPU-new' is not the UUID of a GPU; write GPU- and a UUID in lower case",
        ),
        (
            Injection::Returned { gpu: gpu(0), uuid: Some(TAKEN.into()) },
            "the GPU at 0000:43:00.0 has the UUID GPU-f00470be",
        ),
    ];
    for (injection, expected) in cases {
        let mut state = hgx("550.163.01");
        let error = state.apply(&injection, 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(state, hgx("550.163.01"), "{injection:?} was refused");
    }
    let mut empty = NodeState { gpus: Vec::new(), ..hgx("550.163.01") };
    let error = empty.apply(&Injection::Lost(gpu(0)), 0).unwrap_err().to_string();
    assert_eq!(error, "the node has no GPU 0; it has none");
}

#[test]
fn a_gpu_goes_and_comes_back() {
    let mut state = hgx("550.163.01");
    let before = state.gpus[4].clone();
    let process = Process { pid: 7, name: "/opt/train".into(), memory_mib: 1, graphics: false };
    state.apply(&Injection::ProcessStarts { gpu: gpu(4), process }, 0).unwrap();
    state.gpus[4].live.compute_mode = 3;
    state.apply(&Injection::OffTheBus(gpu(4)), 0).unwrap();
    assert_eq!((state.gpus[4].live.presence, state.gpus[4].enumerated()), (Presence::Removed, false));

    state.apply(&Injection::Returned { gpu: gpu(4), uuid: None }, 0).unwrap();
    let mut expected = before;
    // A reset ends its programs and its modes; only its count of returns tells that it happened.
    expected.live.generation += 1;
    assert_eq!(state.gpus[4], expected);
}

#[test]
fn a_faults_number_does_not_come_back_soon() {
    let mut state = hgx("550.163.01");
    let numbers: Vec<u16> = (0..200)
        .map(|_| {
            let number = state.apply(&hang("*"), 0).unwrap().unwrap();
            state.apply(&Injection::Clear(Some(number)), 0).unwrap();
            number
        })
        .collect();
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 200);
}

#[test]
fn there_are_as_many_faults_as_counters() {
    let mut state = hgx("550.163.01");
    let counter = |number: u16| number % MAX_FAULTS;
    for _ in 0..MAX_FAULTS {
        state.apply(&hang("nvmlDeviceGetName"), 0).unwrap().unwrap();
    }
    let counters: BTreeSet<u16> = state.faults.iter().map(|fault| counter(fault.id)).collect();
    assert_eq!(counters.len(), usize::from(MAX_FAULTS), "no two share a counter");
    let error = state.apply(&hang("*"), 0).unwrap_err().to_string();
    assert_eq!(error, "64 faults are set already; clear some");

    // Only the counter that is free is given out again.
    let freed = state.faults[10].id;
    state.apply(&Injection::Clear(Some(freed)), 0).unwrap();
    let next = state.apply(&hang("*"), 0).unwrap().unwrap();
    assert_eq!((counter(next), next == freed), (counter(freed), false));
    state.apply(&Injection::Clear(None), 0).unwrap();
    assert_eq!(state.faults, []);
}

#[test]
fn the_node_remembers_the_latest_events() {
    let mut state = hgx("550.163.01");
    for xid in 0..1000 {
        state.apply(&Injection::Xid { gpu: gpu(0), xid, instances: Some((9, 1)) }, 0).unwrap();
    }
    assert_eq!(state.events.next, 1000);
    assert_eq!(state.events.recent.len(), 256);
    let first = state.events.recent.front().unwrap();
    assert_eq!((first.sequence, first.data, first.gpu_instance, first.compute_instance), (744, 744, 9, 1));
    state.apply(&Injection::Xid { gpu: gpu(0), xid: 5, instances: None }, 0).unwrap();
    let last = state.events.recent.back().unwrap();
    assert_eq!((last.gpu_instance, last.compute_instance), (event::NO_INSTANCE, event::NO_INSTANCE));
}

#[test]
fn the_fabric_registers_anew_where_there_is_one() {
    let mut state = hgx("550.163.01");
    state.apply(&Injection::FabricInProgress { seconds: 3 }, 5_000_000_000).unwrap();
    assert!(state.gpus.iter().all(|gpu| gpu.live.fabric_complete_at_ns == 8_000_000_000));
    let mut pcie = Description::builtin("h100-pcie-4").unwrap().state();
    pcie.apply(&Injection::FabricInProgress { seconds: 3 }, 5_000_000_000).unwrap();
    assert!(pcie.gpus.iter().all(|gpu| gpu.live.fabric_complete_at_ns == 0));
}

#[test]
fn no_number_is_too_large() {
    let mut state = hgx("550.163.01");
    for _ in 0..2 {
        for injection in [
            Injection::Ecc { gpu: gpu(0), corrected: u64::MAX, uncorrected: u64::MAX },
            Injection::RemappedRows { gpu: gpu(0), uncorrected: u32::MAX, pending: true, failure: true },
            Injection::FabricInProgress { seconds: u64::MAX },
            Injection::Xid { gpu: gpu(0), xid: u64::MAX, instances: Some((u32::MAX, u32::MAX)) },
            Injection::ProcessStarts {
                gpu: gpu(0),
                process: Process { pid: u32::MAX, name: "x".into(), memory_mib: u64::MAX, graphics: false },
            },
        ] {
            state.apply(&injection, u64::MAX).unwrap();
        }
    }
    assert_eq!(state.gpus[0].live.ecc.aggregate_corrected, u64::MAX);
    assert_eq!(state.gpus[0].live.fabric_complete_at_ns, u64::MAX);
    assert_eq!(state.gpus[0].used_memory(), u64::MAX);
}
