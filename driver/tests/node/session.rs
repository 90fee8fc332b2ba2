//! Sessions: opening, closing, driver reloads, calls that are stuck, event sets.

use std::time::Duration;

use dra_driver::nvml::events::{Event, Waited};
use dra_driver::nvml::lane::LaneError;
use dra_driver::nvml::library::find;
use dra_driver::nvml::session::{CloseError, OpenError, Session};
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::Effect;

use super::{Fake, LATE};

const XID: u64 = 0x8;
/// A deadline that passes at once, for calls that are known to be stuck.
const SOON: Duration = Duration::from_millis(20);
/// A deadline that threads with nothing left to do meet, on a busy machine too.
const AWHILE: Duration = Duration::from_secs(3);

fn open(fake: &Fake) -> Session {
    Session::open(&find(&fake.node.driver_root()).found.unwrap(), LATE).unwrap()
}

fn driver_version(session: &Session) -> String {
    let version = session.node().read("version", LATE, |node| node.nvml().sys_driver_version());
    version.unwrap().unwrap()
}

fn returned(fake: &Fake, function: &str) -> usize {
    let calls = fake.node.calls();
    calls.iter().filter(|call| call.function == function && call.returned.is_some()).count()
}

#[test]
fn closing_shuts_nvml_down_before_it_returns() {
    let fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    assert_eq!(session.gpus().len(), 2);
    assert_eq!(returned(&fake, "nvmlShutdown"), 0);
    session.close(LATE).unwrap();
    assert_eq!(returned(&fake, "nvmlShutdown"), 1);
}

#[test]
fn each_gpu_is_called_by_one_thread_of_its_own() {
    let fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    let threads: Vec<_> = session
        .gpus()
        .iter()
        .map(|lane| {
            let uuid_and_thread = lane.read("uuid", LATE, |gpu| {
                (gpu.device().unwrap().uuid().unwrap(), std::thread::current().id())
            });
            uuid_and_thread.unwrap()
        })
        .collect();
    assert_ne!(threads[0].0, threads[1].0, "different GPUs");
    assert_ne!(threads[0].1, threads[1].1, "different threads");
}

#[test]
fn after_a_driver_reload_a_new_session_sees_the_new_driver() {
    let mut fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    assert_eq!(driver_version(&session), "550.163.01");
    session.close(LATE).unwrap();

    // The same version: the same library, which was never unloaded.
    fake.node.unload_driver().unwrap();
    let path = find(&fake.node.driver_root()).found.unwrap();
    let error = Session::open(&path, LATE).unwrap_err();
    let OpenError::Init { error, .. } = &error else { panic!("{error}") };
    assert_eq!(error.code, Some(9), "driver not loaded");
    fake.node.load_driver(None).unwrap();
    let session = open(&fake);
    assert_eq!(session.gpus().len(), 2);
    session.close(LATE).unwrap();

    // Another version: another library beside the old one in the same process.
    fake.node.load_driver(Some("570.172.08")).unwrap();
    let session = open(&fake);
    assert_eq!(driver_version(&session), "570.172.08");
    session.close(LATE).unwrap();
}

#[test]
fn a_stuck_call_delays_neither_other_gpus_nor_the_close() {
    let fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    fake.fault("nvmlDeviceGetPersistenceMode", 0, Effect::Hang);
    let stuck = session.gpus()[0]
        .submit_read("persistence", SOON, |gpu| gpu.device().unwrap().is_in_persistent_mode().is_ok())
        .unwrap();
    // The call is known to be inside the library before its caller gives up.
    while !fake.node.calls().iter().any(|call| call.function == "nvmlDeviceGetPersistenceMode") {
        std::thread::yield_now();
    }
    assert!(matches!(stuck.wait(), Err(LaneError::Timeout { started: true, .. })));
    assert!(matches!(session.gpus()[0].read("name", LATE, |_| ()), Err(LaneError::Busy { .. })));
    let name = session.gpus()[1].read("name", LATE, |gpu| gpu.device().unwrap().name().unwrap());
    assert_eq!(name.as_deref(), Ok("NVIDIA H100 NVL"));

    // The other GPU's thread has answered, and may need a moment more until it is done.
    let error = session.close(AWHILE).unwrap_err();
    let CloseError::InUse(by) = &error else { panic!("{error}") };
    assert_eq!(by, &["nvml-gpu-0 (persistence)"]);
    assert_eq!(returned(&fake, "nvmlShutdown"), 0, "NVML is not shut down under a call");

    // The call returns late: its thread shuts NVML down.
    fake.inject(&Injection::Clear(None));
    while returned(&fake, "nvmlShutdown") == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_library_that_hangs_at_init_costs_the_deadline() {
    let fake = Fake::new("h100-nvl-2");
    fake.inject(&Injection::Fault {
        call: "nvmlInitWithFlags".into(),
        gpu: None,
        after: 0,
        times: None,
        effect: Effect::Hang,
    });
    let path = find(&fake.node.driver_root()).found.unwrap();
    let error = Session::open(&path, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, OpenError::Lane(LaneError::Timeout { .. })), "{error}");
    // And only once: there is one thread that hangs, however often it is tried.
    for _ in 0..3 {
        let error = Session::open(&path, LATE).unwrap_err();
        assert!(matches!(error, OpenError::Stuck { .. }), "{error}");
    }
    assert_eq!(fake.node.calls().iter().filter(|call| call.function == "nvmlInitWithFlags").count(), 1);

    fake.inject(&Injection::Clear(None));
    let session = loop {
        match Session::open(&path, LATE) {
            Err(OpenError::Stuck { .. }) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(session.gpus().len(), 2);
}

#[test]
fn a_late_write_puts_its_gpu_out_of_step_until_it_was_looked_at() {
    let fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    let lane = &session.gpus()[0];
    // The handle is looked up first, so that the only call of the write is the one that hangs.
    lane.read("wake up", LATE, |gpu| gpu.device().map(drop).unwrap()).unwrap();
    fake.fault("nvmlDeviceSetPersistenceMode", 0, Effect::Hang);
    let late = lane.write("persistence on", Duration::from_secs(2), |gpu| {
        gpu.device().unwrap().set_persistent(true).unwrap();
    });
    assert!(matches!(late, Err(LaneError::Timeout { started: true, .. })), "{late:?}");
    fake.inject(&Injection::Clear(None));
    while lane.running().is_some() {
        std::thread::yield_now();
    }

    let refused = lane.read("name", LATE, |_| ()).unwrap_err();
    assert!(matches!(refused, LaneError::OutOfStep { write: "persistence on", .. }), "{refused}");
    let seen = lane.resync("persistence", LATE, |gpu| gpu.device()?.is_in_persistent_mode());
    assert!(seen.unwrap().unwrap(), "the late write had its effect");
    lane.read("name", LATE, |_| ()).unwrap();
}

#[test]
fn an_event_says_which_gpu_and_which_instances() {
    let fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    let events = session.event_set(LATE).unwrap();
    for (lane, name) in session.gpus().iter().zip(["left", "right"]) {
        let gpu = lane.read("share", LATE, |gpu| gpu.share().unwrap()).unwrap();
        let registered = events.read("register", LATE, move |set| set.register(gpu, name, XID | 1 << 63));
        assert_eq!(registered.unwrap().unwrap(), XID, "kinds that the GPU does not know are left out");
    }
    let wait = |within| events.read("wait", LATE, move |set| set.wait(within)).unwrap();
    assert_eq!(wait(Duration::ZERO), Ok(Waited::Nothing));

    let xid = |slot, xid, instances| Injection::Xid { gpu: GpuSelector::Slot(slot), xid, instances };
    fake.inject(&xid(1, 48, None));
    fake.inject(&xid(0, 94, Some((3, 0))));
    let event = |gpu: &str, data, gpu_instance, compute_instance| {
        Ok(Waited::Event(Event { gpu: Some(gpu.into()), kind: XID, data, gpu_instance, compute_instance }))
    };
    assert_eq!(wait(LATE / 2), event("right", 48, None, None));
    assert_eq!(wait(LATE / 2), event("left", 94, Some(3), Some(0)));
    assert_eq!(wait(Duration::ZERO), Ok(Waited::Nothing));

    fake.inject(&Injection::Lost(GpuSelector::Slot(0)));
    assert_eq!(wait(LATE / 2), event("left", 79, None, None), "fallen off the bus");
    assert_eq!(wait(LATE / 2), Ok(Waited::GpuLost));
    assert_eq!(wait(LATE / 2), Ok(Waited::GpuLost), "again at once");
}

#[test]
fn a_handle_of_another_session_is_refused() {
    let fake = Fake::new("h100-nvl-2");
    let old = open(&fake);
    let gpu = old.gpus()[0].read("share", LATE, |gpu| gpu.share().unwrap()).unwrap();
    old.close(LATE).unwrap();

    let new = open(&fake);
    let events = new.event_set(LATE).unwrap();
    let registered = events.read("register", LATE, move |set| set.register(gpu, "old", XID).is_ok());
    assert_eq!(registered, Ok(false));
    assert_eq!(returned(&fake, "nvmlDeviceRegisterEvents"), 0, "NVML never saw it");
}

#[test]
fn an_event_set_keeps_the_session_open() {
    let fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    let events = session.event_set(LATE).unwrap();
    assert!(session.close(SOON).is_err());
    assert_eq!(returned(&fake, "nvmlShutdown"), 0);
    drop(events);
    while returned(&fake, "nvmlShutdown") == 0 {
        std::thread::yield_now();
    }
    assert_eq!(returned(&fake, "nvmlEventSetFree"), 1);
}
