//! What calls meet: delays, hanging, error codes, the death of the caller.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::Effect;
use fake_node::node::Node;

use crate::support::{TestNode, finish, load, play, role, run, start, this_program};
use crate::{code, count, handle, minor, raw_session};

const SIGKILL: i32 = 9;

/// A fault for all calls of a function.
fn fault(call: &str, effect: Effect) -> Injection {
    Injection::Fault { call: call.into(), gpu: None, after: 0, times: None, effect }
}

#[test]
fn the_nth_call_fails_and_the_next_does_not() {
    let node = TestNode::new("h100-nvl-2");
    let (library, device) = raw_session(&node);
    let injection = Injection::Fault {
        call: "nvmlDeviceGetMinorNumber".into(),
        gpu: None,
        after: 2,
        times: Some(2),
        effect: Effect::Fail(19),
    };
    for round in 0..2 {
        let number = node.inject(&injection).unwrap().unwrap();
        let met: Vec<_> = (0..6).map(|_| minor(&library, device)).collect();
        assert_eq!(met, [Ok(0), Ok(0), Err(19), Err(19), Ok(0), Ok(0)], "round {round}");
        node.inject(&Injection::Clear(Some(number))).unwrap();
    }
}

#[test]
fn a_fault_meets_the_calls_that_it_names() {
    let node = TestNode::new("h100-nvl-2");
    let (library, first) = raw_session(&node);
    let second = handle(&library, 1).unwrap();

    let one_gpu = Injection::Fault {
        call: "*".into(),
        gpu: Some(GpuSelector::Slot(1)),
        after: 0,
        times: None,
        effect: Effect::Fail(code::UNKNOWN),
    };
    node.inject(&one_gpu).unwrap();
    assert_eq!((minor(&library, first), minor(&library, second)), (Ok(0), Err(code::UNKNOWN)));
    assert_eq!(count(&library), Ok(2), "a call without a GPU");
    node.inject(&Injection::Clear(None)).unwrap();

    node.inject(&fault("nvmlDeviceGetCount_v2", Effect::Fail(20))).unwrap();
    assert_eq!((count(&library), minor(&library, second)), (Err(20), Ok(1)));
    node.inject(&Injection::Clear(None)).unwrap();

    node.inject(&fault("*", Effect::Fail(16))).unwrap();
    assert_eq!((count(&library), minor(&library, first)), (Err(16), Err(16)));
    assert_eq!(nvml!(library, nvmlShutdown()), 16);
    node.inject(&Injection::Clear(None)).unwrap();
    assert_eq!(count(&library), Ok(2));
}

#[test]
fn a_slow_call_answers_in_the_end() {
    let node = TestNode::new("h100-nvl-2");
    let (library, device) = raw_session(&node);
    node.inject(&fault("nvmlDeviceGetMinorNumber", Effect::Delay(80))).unwrap();
    let started = Instant::now();
    assert_eq!(minor(&library, device), Ok(0));
    assert!(started.elapsed() >= Duration::from_millis(80));
}

#[test]
fn a_hanging_call_returns_when_its_fault_is_cleared() {
    let node = TestNode::new("h100-nvl-2");
    let (library, device) = raw_session(&node);
    let hang = fault("nvmlDeviceGetMinorNumber", Effect::Hang);
    let mut number = node.inject(&hang).unwrap().unwrap();
    for round in 0..20 {
        let first = node.state_file().next_call();
        let hangs = |call: &fake_node::calls::Call| call.number >= first && call.returned.is_none();
        // A pointer does not go to another thread; its number does.
        let address = device.addr();
        let call_it = || minor(&load(&node.library()), std::ptr::without_provenance_mut(address));
        std::thread::scope(|scope| {
            let call = scope.spawn(call_it);
            let hanging = node.wait_for_call("a hanging call", hangs);
            assert_eq!(hanging.function, "nvmlDeviceGetMinorNumber");
            assert!(!call.is_finished());
            assert_eq!(count(&library), Ok(2), "other calls go on");
            node.inject(&Injection::Clear(Some(number))).unwrap();
            // The next fault comes at once: it must not hold the call of the one before.
            number = node.inject(&hang).unwrap().unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while !call.is_finished() {
                if Instant::now() > deadline {
                    node.inject(&Injection::Clear(None)).unwrap();
                    panic!("round {round}: the call hangs in a fault that was set after it began");
                }
                std::thread::yield_now();
            }
            assert_eq!(call.join().unwrap(), Ok(0));
        });
    }
}

/// Plays a process that switches ECC off, if it may.
fn set_and_live(dir: &Path) {
    let library = load(&Node::open(dir).unwrap().library());
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    let device = handle(&library, 0).unwrap();
    let returned = nvml!(library, nvmlDeviceSetEccMode(device, 0));
    assert!([code::SUCCESS, code::NO_PERMISSION].contains(&returned));
}

#[test]
fn a_caller_is_killed_before_or_after_its_call_had_its_effect() {
    if let Some((_, dir)) = role() {
        return set_and_live(&dir);
    }
    // Only root may change anything: for others no call has an effect that could be looked for.
    let changes = crate::support::is_root();
    for (effect, pending, returned) in [
        (Effect::KillBefore, true, None),
        (Effect::KillAfter, !changes, None),
        (Effect::Delay(1), !changes, Some(0)),
    ] {
        let node = TestNode::new("h100-nvl-2");
        node.inject(&fault("nvmlDeviceSetEccMode", effect)).unwrap();
        let output = run(&mut play(&this_program(), this_test!(), "caller", &node));
        let signal = output.status.signal();
        if returned.is_none() {
            assert_eq!(signal, Some(SIGKILL), "{effect:?}");
        }
        assert_eq!(node.state().unwrap().gpus[0].live.ecc_pending, pending, "{effect:?}");
        let call = node.wait_for_call("the call", |call| call.function == "nvmlDeviceSetEccMode");
        if changes {
            assert_eq!(call.returned, returned, "{effect:?}");
        }
        // The state is whole and the lock free.
        node.inject(&Injection::Clear(None)).unwrap();
    }
}

#[test]
fn a_process_that_is_killed_while_it_hangs_leaves_the_node_as_it_was() {
    if let Some((_, dir)) = role() {
        return set_and_live(&dir);
    }
    let node = TestNode::new("h100-nvl-2");
    node.inject(&fault("nvmlDeviceSetEccMode", Effect::Hang)).unwrap();
    let mut child = start(&mut play(&this_program(), this_test!(), "caller", &node));
    node.wait_for_call("the hanging call", |call| call.function == "nvmlDeviceSetEccMode");
    child.kill().unwrap();
    assert_eq!(finish(child).status.signal(), Some(SIGKILL));
    node.inject(&Injection::Clear(None)).unwrap();
    let (library, device) = raw_session(&node);
    assert_eq!(minor(&library, device), Ok(0));
    assert!(node.state().unwrap().gpus[0].live.ecc_pending);
    let calls = node.calls();
    let unfinished: Vec<_> = calls.iter().filter(|call| call.returned.is_none()).collect();
    assert_eq!(unfinished.len(), 1, "the killed call alone: {unfinished:?}");
}

/// Registration with the fabric takes its time: state 2 is IN_PROGRESS, 3 COMPLETED.
#[test]
fn the_fabric_is_in_progress_for_a_while() {
    let node = TestNode::new("hgx-h100-8");
    let (library, device) = raw_session(&node);
    let state = || {
        // SAFETY: plain C data.
        let mut info: nvml_wrapper_sys::bindings::nvmlGpuFabricInfo_t = unsafe { std::mem::zeroed() };
        assert_eq!(nvml!(library, nvmlDeviceGetGpuFabricInfo(device, &raw mut info)), code::SUCCESS);
        info.state
    };
    assert_eq!(state(), 3);
    node.inject(&Injection::FabricInProgress { seconds: 3600 }).unwrap();
    assert_eq!(state(), 2);
    node.inject(&Injection::FabricInProgress { seconds: 0 }).unwrap();
    assert_eq!(state(), 3);
}
