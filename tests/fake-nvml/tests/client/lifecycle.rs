//! Sessions: their begin, their end, and what is between.

use nvml_wrapper::enum_wrappers::device::ComputeMode;
use nvml_wrapper::error::NvmlError;

use crate::support::{TestNode, is_root};
use crate::{code, count, handle, minor, raw_session, session};

#[test]
fn nothing_answers_before_the_session_and_after_it() {
    let node = TestNode::new("h100-nvl-2");
    let library = node.raw();
    assert_eq!(count(&library), Err(code::UNINITIALIZED));
    assert_eq!(nvml!(library, nvmlShutdown()), code::UNINITIALIZED);

    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    let device = handle(&library, 0).unwrap();
    assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
    assert_eq!(count(&library), Err(code::UNINITIALIZED));
    assert_eq!(minor(&library, device), Err(code::UNINITIALIZED));
}

#[test]
fn each_init_needs_its_shutdown() {
    let node = TestNode::new("h100-nvl-2");
    let library = node.raw();
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    let device = handle(&library, 0).unwrap();
    // All ways to begin count the same.
    assert_eq!(nvml!(library, nvmlInit()), code::SUCCESS);
    assert_eq!(nvml!(library, nvmlInitWithFlags(1)), code::SUCCESS);
    for _ in 0..2 {
        assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
        assert_eq!(minor(&library, device), Ok(0), "one of the others is still in its session");
    }
    assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
    assert_eq!(minor(&library, device), Err(code::UNINITIALIZED));
    assert_eq!(nvml!(library, nvmlShutdown()), code::UNINITIALIZED);
}

#[test]
fn a_handle_belongs_to_its_session() {
    let node = TestNode::new("h100-nvl-2");
    let (library, old) = raw_session(&node);
    assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    assert_eq!(minor(&library, old), Err(code::INVALID_ARGUMENT));
    let new = handle(&library, 0).unwrap();
    assert_eq!(minor(&library, new), Ok(0));
}

#[test]
fn what_root_sets_is_set_for_everyone() {
    let node = TestNode::new("h100-pcie-4");
    let nvml = session(&node);
    let mut device = nvml.device_by_index(2).unwrap();
    assert_eq!(device.compute_mode().unwrap(), ComputeMode::Default);
    let set = device.set_compute_mode(ComputeMode::ExclusiveProcess);
    if is_root() {
        set.unwrap();
        device.set_persistent(false).unwrap();
        device.set_power_management_limit(300_000).unwrap();
        // Below the lowest limit of 200 W.
        assert!(matches!(device.set_power_management_limit(199_999), Err(NvmlError::InvalidArg)));
        let live = &node.state().unwrap().gpus[2].live;
        assert_eq!((live.compute_mode, live.persistence, live.power_limit_w), (3, false, 300));
        assert_eq!(device.power_management_limit().unwrap(), 300_000);
        // And for this GPU alone.
        assert_eq!(nvml.device_by_index(1).unwrap().compute_mode().unwrap(), ComputeMode::Default);
    } else {
        assert!(matches!(set, Err(NvmlError::NoPermission)));
        assert!(matches!(device.set_persistent(false), Err(NvmlError::NoPermission)));
        assert_eq!(device.compute_mode().unwrap(), ComputeMode::Default);
    }
}

#[test]
fn every_call_is_written_down() {
    let node = TestNode::new("h100-nvl-2");
    let nvml = session(&node);
    let first = node.state_file().next_call();
    nvml.device_count().unwrap();
    let device = nvml.device_by_index(1).unwrap();
    device.uuid().unwrap();
    device.fan_speed(0).unwrap_err();
    nvml.device_by_index(2).unwrap_err();
    let calls = node.calls_since(first);
    let written: Vec<_> =
        calls.iter().map(|call| (call.function, call.slot, call.returned, call.stub)).collect();
    assert_eq!(
        written,
        [
            ("nvmlDeviceGetCount_v2", None, Some(code::SUCCESS), false),
            ("nvmlDeviceGetHandleByIndex_v2", Some(1), Some(code::SUCCESS), false),
            ("nvmlDeviceGetUUID", Some(1), Some(code::SUCCESS), false),
            ("nvmlDeviceGetFanSpeed_v2", None, Some(code::NOT_SUPPORTED), true),
            ("nvmlDeviceGetHandleByIndex_v2", None, Some(code::INVALID_ARGUMENT), false),
        ]
    );
    assert!(calls.iter().all(|call| call.pid == std::process::id()));
    assert!(calls.is_sorted_by_key(|call| (call.number, call.began)));
}
