//! GPUs that stop answering, fall off the bus, and come back.

use fake_node::inject::{GpuSelector, Injection};
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;

use crate::support::TestNode;
use crate::{code, count, handle, minor, raw_session, session, uuids};

fn gpu(slot: usize) -> GpuSelector {
    GpuSelector::Slot(slot)
}

#[test]
fn a_lost_gpu_is_listed_but_answers_nothing() {
    let node = TestNode::new("h100-pcie-4");
    let (library, first) = raw_session(&node);
    let lost = handle(&library, 1).unwrap();
    node.inject(&Injection::Lost(gpu(1))).unwrap();
    assert_eq!(minor(&library, lost), Err(code::GPU_IS_LOST));
    assert_eq!(handle(&library, 1), Err(code::GPU_IS_LOST));
    assert_eq!(minor(&library, first), Ok(0), "the others answer");
    assert_eq!(count(&library), Ok(4));
    assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
    // The same in a session that begins now.
    let later = session(&node);
    assert_eq!(later.device_count().unwrap(), 4);
    assert!(matches!(later.device_by_index(1), Err(NvmlError::GpuLost)));
    let uuid = node.state().unwrap().gpus[1].uuid.clone();
    assert!(matches!(later.device_by_uuid(uuid), Err(NvmlError::GpuLost)));
    later.device_by_index(2).unwrap().uuid().unwrap();
}

#[test]
fn a_gpu_off_the_bus_is_gone_from_new_sessions() {
    let node = TestNode::new("h100-pcie-4");
    let before = uuids(&session(&node));
    let (library, _) = raw_session(&node);
    let gone = handle(&library, 1).unwrap();
    node.inject(&Injection::OffTheBus(gpu(1))).unwrap();
    assert_eq!(minor(&library, gone), Err(code::GPU_IS_LOST));
    assert_eq!(count(&library), Ok(4), "a session lists what it listed at its start");
    assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);

    let later = session(&node);
    assert_eq!(uuids(&later), [before[0].clone(), before[2].clone(), before[3].clone()]);
    assert!(!node.dev("nvidia1").exists());
}

#[test]
fn a_gpu_that_returned_is_another_one_for_old_handles() {
    const NEW: &str = "GPU-11111111-2222-4333-8444-555555555555";
    let node = TestNode::new("h100-pcie-4");
    let before = uuids(&session(&node));
    for (what, uuid, expected) in [("the same", None, before[1].as_str()), ("another", Some(NEW), NEW)] {
        let (library, other) = raw_session(&node);
        let old = handle(&library, 1).unwrap();
        node.inject(&Injection::OffTheBus(gpu(1))).unwrap();
        node.inject(&Injection::Returned { gpu: gpu(1), uuid: uuid.map(str::to_owned) }).unwrap();
        assert_eq!(minor(&library, old), Err(code::GPU_IS_LOST), "{what}");
        assert_eq!(minor(&library, other), Ok(0), "{what}");
        assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);

        assert!(node.dev("nvidia1").exists(), "{what}");
        let nvml = session(&node);
        let found = uuids(&nvml);
        assert_eq!(found, [&before[0], expected, &before[2], &before[3]], "{what}");
    }
}

#[test]
fn a_wait_hears_of_the_loss_first_and_then_only_that_the_gpu_is_lost() {
    let node = TestNode::new("hgx-h100-8");
    let nvml = session(&node);
    let set = nvml.create_event_set().unwrap();
    let mut set =
        nvml.device_by_index(0).unwrap().register_events(EventTypes::CRITICAL_XID_ERROR, set).unwrap();
    set = nvml.device_by_index(3).unwrap().register_events(EventTypes::CRITICAL_XID_ERROR, set).unwrap();

    node.inject(&Injection::Lost(gpu(3))).unwrap();
    let heard = set.wait(0).unwrap();
    // XID 79: "GPU has fallen off the bus".
    assert_eq!(heard.event_data, Some(XidError::Value(79)));
    for _ in 0..3 {
        assert!(matches!(set.wait(5000), Err(NvmlError::GpuLost)), "at once and every time");
    }
    // Events of the other GPUs are still heard.
    node.inject(&Injection::Xid { gpu: gpu(0), xid: 94, instances: None }).unwrap();
    assert_eq!(set.wait(0).unwrap().event_data, Some(XidError::Value(94)));
    assert!(matches!(set.wait(0), Err(NvmlError::GpuLost)));
}

#[test]
fn a_reset_forgets_what_a_reset_forgets() {
    let node = TestNode::new("hgx-h100-8");
    node.inject(&Injection::Ecc { gpu: gpu(0), corrected: 5, uncorrected: 2 }).unwrap();
    node.inject(&Injection::RecoveryAction { gpu: gpu(0), action: 1 }).unwrap();
    let rows = Injection::RemappedRows { gpu: gpu(0), uncorrected: 1, pending: true, failure: false };
    node.inject(&rows).unwrap();
    let (library, device) = raw_session(&node);
    let read = |device, severity, lifetime| {
        let mut errors = u64::MAX;
        let returned =
            nvml!(library, nvmlDeviceGetTotalEccErrors(device, severity, lifetime, &raw mut errors));
        assert_eq!(returned, code::SUCCESS);
        errors
    };
    let rows = |library: &nvml_wrapper_sys::bindings::NvmlLib, device| {
        let (mut corrected, mut uncorrected, mut pending, mut failed) = (9, 9, 9, 9);
        let [corrected_out, uncorrected_out, pending_out, failed_out] =
            [&raw mut corrected, &raw mut uncorrected, &raw mut pending, &raw mut failed];
        let returned = nvml!(
            library,
            nvmlDeviceGetRemappedRows(device, corrected_out, uncorrected_out, pending_out, failed_out)
        );
        assert_eq!(returned, code::SUCCESS);
        [corrected, uncorrected, pending, failed]
    };
    // Severity 0 is corrected; life time 0 is since the last load, 1 the board's.
    assert_eq!(
        [read(device, 0, 0), read(device, 1, 0), read(device, 0, 1), read(device, 1, 1)],
        [5, 2, 5, 2]
    );
    assert_eq!(rows(&library, device), [0, 1, 1, 0]);

    node.inject(&Injection::Lost(gpu(0))).unwrap();
    node.inject(&Injection::Returned { gpu: gpu(0), uuid: None }).unwrap();
    let device = handle(&library, 0).unwrap();
    assert_eq!(
        [read(device, 0, 0), read(device, 1, 0), read(device, 0, 1), read(device, 1, 1)],
        [0, 0, 5, 2]
    );
    assert_eq!(rows(&library, device), [0, 1, 0, 0]);
    assert_eq!(node.state().unwrap().gpus[0].live.recovery_action, 0);
}
