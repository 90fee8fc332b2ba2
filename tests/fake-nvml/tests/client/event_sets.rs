//! Event sets: who hears of what, and when.

use std::ffi::c_void;

use fake_node::inject::{GpuSelector, Injection};
use fake_node::node::Node;
use nvml_wrapper_sys::bindings::{NvmlLib, nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t};

use crate::support::{TestNode, finish, load, play, role, said, start, this_program};
use crate::{code, handle, raw_session};

// Bits of nvmlEventType*, as nvml.h numbers them.
const SINGLE_BIT: u64 = 0x1;
const DOUBLE_BIT: u64 = 0x2;
const XID: u64 = 0x8;
const CLOCK: u64 = 0x10;
const RECOVERY_ACTION: u64 = 0x8000;

const NO_INSTANCE: u32 = 0xFFFF_FFFF;

/// What a set heard: device, type, data, GPU instance, compute instance.
type Heard = (nvmlDevice_t, u64, u64, u32, u32);

/// A set that listens to some GPUs.
struct Set<'a> {
    library: &'a NvmlLib,
    set: nvmlEventSet_t,
}

impl<'a> Set<'a> {
    fn new(library: &'a NvmlLib) -> Self {
        let mut set = std::ptr::null_mut();
        assert_eq!(nvml!(library, nvmlEventSetCreate(&raw mut set)), code::SUCCESS);
        Self { library, set }
    }

    fn register(&self, device: nvmlDevice_t, mask: u64) -> u32 {
        nvml!(self.library, nvmlDeviceRegisterEvents(device, mask, self.set))
    }

    fn listening(library: &'a NvmlLib, device: nvmlDevice_t, mask: u64) -> Self {
        let set = Self::new(library);
        assert_eq!(set.register(device, mask), code::SUCCESS);
        set
    }

    fn wait(&self, timeout_ms: u32) -> Result<Heard, u32> {
        let mut data = nvmlEventData_t {
            device: std::ptr::null_mut(),
            eventType: 0,
            eventData: 0,
            gpuInstanceId: 0,
            computeInstanceId: 0,
        };
        match nvml!(self.library, nvmlEventSetWait_v2(self.set, &raw mut data, timeout_ms)) {
            code::SUCCESS => {
                Ok((data.device, data.eventType, data.eventData, data.gpuInstanceId, data.computeInstanceId))
            }
            code => Err(code),
        }
    }

    /// All that is there to hear, as type and data.
    fn drain(&self) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| self.wait(0).ok()).map(|(_, kind, data, ..)| (kind, data)).collect()
    }
}

fn gpu(slot: usize) -> GpuSelector {
    GpuSelector::Slot(slot)
}

fn xid(slot: usize, xid: u64) -> Injection {
    Injection::Xid { gpu: gpu(slot), xid, instances: None }
}

#[test]
fn an_xid_reaches_every_set_once_with_its_gpu() {
    let node = TestNode::new("hgx-h100-8");
    let (library, first) = raw_session(&node);
    let second = handle(&library, 1).unwrap();
    let both = Set::listening(&library, first, XID);
    assert_eq!(both.register(second, XID), code::SUCCESS);
    let only_second = Set::listening(&library, second, XID);

    node.inject(&xid(0, 94)).unwrap();
    node.inject(&xid(1, 48)).unwrap();
    assert_eq!(both.wait(0), Ok((first, XID, 94, NO_INSTANCE, NO_INSTANCE)));
    assert_eq!(both.wait(0), Ok((second, XID, 48, NO_INSTANCE, NO_INSTANCE)));
    assert_eq!(both.wait(0), Err(code::TIMEOUT));
    assert_eq!(only_second.wait(0), Ok((second, XID, 48, NO_INSTANCE, NO_INSTANCE)));
    assert_eq!(only_second.wait(0), Err(code::TIMEOUT));
}

#[test]
fn an_xid_of_an_instance_names_the_instance() {
    let node = TestNode::new("hgx-h100-8");
    let (library, device) = raw_session(&node);
    let set = Set::listening(&library, device, XID);
    node.inject(&Injection::Xid { gpu: gpu(0), xid: 13, instances: Some((9, 2)) }).unwrap();
    node.inject(&Injection::Xid { gpu: gpu(0), xid: 31, instances: Some((11, 0)) }).unwrap();
    assert_eq!(set.wait(0), Ok((device, XID, 13, 9, 2)));

    // The first version of the call knows no instances: its struct has 24 bytes.
    let mut data = [0_u64, 0, 0, 0x5555_5555_5555_5555];
    let returned = nvml!(library, nvmlEventSetWait(set.set, data.as_mut_ptr().cast(), 0));
    assert_eq!(returned, code::SUCCESS);
    assert_eq!(data, [device.addr() as u64, XID, 31, 0x5555_5555_5555_5555]);
}

#[test]
fn a_set_hears_only_what_its_mask_names() {
    let node = TestNode::new("hgx-h100-8");
    let (library, device) = raw_session(&node);
    let masks = [XID, SINGLE_BIT, DOUBLE_BIT, CLOCK, SINGLE_BIT | CLOCK];
    let sets = masks.map(|mask| Set::listening(&library, device, mask));
    node.inject(&Injection::ClockChange { gpu: gpu(0), reasons: 0x40 }).unwrap();
    node.inject(&Injection::Ecc { gpu: gpu(0), corrected: 3, uncorrected: 0 }).unwrap();
    node.inject(&Injection::Ecc { gpu: gpu(0), corrected: 0, uncorrected: 1 }).unwrap();
    // NVIDIA's driver reports an uncorrected error as XID 48 too.
    let heard = sets.map(|set| set.drain());
    assert_eq!(
        heard,
        [
            vec![(XID, 48)],
            vec![(SINGLE_BIT, 0)],
            vec![(DOUBLE_BIT, 0)],
            vec![(CLOCK, 0)],
            vec![(CLOCK, 0), (SINGLE_BIT, 0)],
        ]
    );
}

#[test]
fn what_happened_before_the_registration_is_not_heard() {
    let node = TestNode::new("hgx-h100-8");
    let (library, first) = raw_session(&node);
    let second = handle(&library, 1).unwrap();
    node.inject(&xid(0, 1)).unwrap();
    let set = Set::listening(&library, first, XID);
    node.inject(&xid(1, 2)).unwrap();
    node.inject(&xid(0, 3)).unwrap();
    assert_eq!(set.register(second, XID), code::SUCCESS);
    node.inject(&xid(1, 4)).unwrap();
    assert_eq!(set.drain(), [(XID, 3), (XID, 4)]);
}

#[test]
fn only_supported_events_can_be_registered() {
    // The recovery action is an event since driver branch 575.
    for (version, supported) in [("550.163.01", 0x1f), ("580.95.05", 0x801f)] {
        let node = TestNode::with_driver("hgx-h100-8", version);
        let (library, device) = raw_session(&node);
        let mut types = 0;
        assert_eq!(nvml!(library, nvmlDeviceGetSupportedEventTypes(device, &raw mut types)), code::SUCCESS);
        assert_eq!(types, supported, "{version}");
        let set = Set::new(&library);
        assert_eq!(set.register(device, supported), code::SUCCESS, "{version}");
        // 0x100 is the change of a MIG configuration.
        assert_eq!(set.register(device, XID | 0x100), code::NOT_SUPPORTED, "{version}");
    }
}

#[test]
fn a_changed_recovery_action_is_an_event_on_newer_drivers() {
    // NVIDIA's driver says it as XID 154 too.
    for (version, mask, expected) in [
        ("550.163.01", XID, vec![(XID, 154)]),
        ("580.95.05", XID | RECOVERY_ACTION, vec![(XID, 154), (RECOVERY_ACTION, 4)]),
    ] {
        let node = TestNode::with_driver("hgx-h100-8", version);
        let (library, device) = raw_session(&node);
        let set = Set::listening(&library, device, mask);
        node.inject(&Injection::RecoveryAction { gpu: gpu(0), action: 4 }).unwrap();
        assert_eq!(set.drain(), expected, "{version}");
    }
}

#[test]
fn a_wait_ends_with_its_time_or_with_an_event() {
    let node = TestNode::new("hgx-h100-8");
    let (library, device) = raw_session(&node);
    let set = Set::listening(&library, device, XID);
    let started = std::time::Instant::now();
    assert_eq!(set.wait(120), Err(code::TIMEOUT));
    assert!(started.elapsed().as_millis() >= 120, "a wait does not end before its time");

    let heard = heard_while(&node, || {
        node.inject(&xid(0, 62)).unwrap();
    });
    assert_eq!(heard, Ok((XID, 62)));
}

#[test]
fn a_wait_ends_with_the_driver() {
    let node = TestNode::new("hgx-h100-8");
    assert_eq!(heard_while(&node, || node.unload_driver().unwrap()), Err(code::DRIVER_NOT_LOADED));
}

/// What a set of another thread hears that waits, longer than any test may take, while something is done.
fn heard_while(node: &TestNode, done: impl FnOnce()) -> Result<(u64, u64), u32> {
    let before = node.state_file().next_call();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let library = load(&node.library());
            assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
            let device = handle(&library, 0).unwrap();
            let set = Set::listening(&library, device, XID);
            set.wait(u32::MAX).map(|(_, kind, data, ..)| (kind, data))
        });
        node.wait_for_call("a wait", |call| call.number >= before && call.function == "nvmlEventSetWait_v2");
        done();
        waiting.join().unwrap()
    })
}

#[test]
fn a_set_ends_when_it_is_freed_or_its_session_ends() {
    let node = TestNode::new("hgx-h100-8");
    let (library, device) = raw_session(&node);
    let set = Set::listening(&library, device, XID);
    let other = Set::listening(&library, device, XID);
    assert_eq!(nvml!(library, nvmlEventSetFree(set.set)), code::SUCCESS);
    assert_eq!(set.wait(0), Err(code::INVALID_ARGUMENT));
    assert_eq!(nvml!(library, nvmlEventSetFree(set.set)), code::INVALID_ARGUMENT);
    node.inject(&xid(0, 79)).unwrap();
    assert_eq!(other.drain(), [(XID, 79)]);

    assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
    assert_eq!(other.wait(0), Err(code::UNINITIALIZED));
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    assert_eq!(other.wait(0), Err(code::INVALID_ARGUMENT));
    let null: *mut c_void = std::ptr::null_mut();
    assert_eq!(nvml!(library, nvmlEventSetFree(null.cast())), code::INVALID_ARGUMENT);
}

/// Plays a process that listens to the first two GPUs and says what it hears until XID 1000.
fn listen(dir: &std::path::Path) {
    let library = load(&Node::open(dir).unwrap().library());
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    let set = Set::new(&library);
    for index in [0, 1] {
        let device = handle(&library, index).unwrap();
        assert_eq!(set.register(device, XID | SINGLE_BIT | CLOCK | RECOVERY_ACTION), code::SUCCESS);
    }
    loop {
        let (device, kind, data, ..) = set.wait(u32::MAX).unwrap();
        println!("heard {} {kind:#x} {data}", crate::minor(&library, device).unwrap());
        if (kind, data) == (XID, 1000) {
            return;
        }
    }
}

#[test]
fn all_processes_hear_all_events() {
    if let Some((_, dir)) = role() {
        return listen(&dir);
    }
    let node = TestNode::with_driver("hgx-h100-8", "580.95.05");
    let children = [(); 3].map(|()| start(&mut play(&this_program(), this_test!(), "listen", &node)));
    for child in &children {
        let of_child =
            |call: &fake_node::calls::Call| call.function == "nvmlEventSetWait_v2" && call.pid == child.id();
        node.wait_for_call("a listener", of_child);
    }
    node.inject(&xid(1, 95)).unwrap();
    node.inject(&Injection::Ecc { gpu: gpu(0), corrected: 1, uncorrected: 0 }).unwrap();
    node.inject(&xid(2, 63)).unwrap();
    node.inject(&Injection::ClockChange { gpu: gpu(1), reasons: 0x8 }).unwrap();
    node.inject(&Injection::RecoveryAction { gpu: gpu(0), action: 1 }).unwrap();
    node.inject(&xid(0, 1000)).unwrap();
    for child in children {
        let output = finish(child);
        let said_all = String::from_utf8(output.stdout).unwrap();
        let expected = ["1 0x8 95", "0 0x1 0", "1 0x10 0", "0 0x8 154", "0 0x8000 1", "0 0x8 1000"];
        assert_eq!(said(&said_all, "heard "), expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
}
