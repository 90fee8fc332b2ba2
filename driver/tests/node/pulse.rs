//! What changes while a GPU runs.

use dra_driver::nvml::library::find;
use dra_driver::nvml::pulse::{Pulse, RemappedRows};
use dra_driver::nvml::reading::Reading;
use dra_driver::nvml::session::Session;
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::{Effect, Process};

use super::{Fake, LATE};

const GPU: usize = 1;

fn open(fake: &Fake) -> Session {
    Session::open(&find(&fake.node.driver_root()).found.unwrap(), LATE).unwrap()
}

fn pulse(session: &Session) -> Pulse {
    session.gpus()[GPU].read("pulse", LATE, |gpu| gpu.pulse()).unwrap()
}

fn fail(fake: &Fake, code: u32) {
    fake.fault("nvmlDeviceGetTemperature", GPU, Effect::Fail(code));
}

const BEATS: Pulse = Pulse::Beats { recovery_action: None };

#[test]
fn a_pulse_is_told_from_what_nvml_answers() {
    // What happens while the session is open; the pulse.
    type Happens = fn(&Fake);
    type Wanted = fn(&Pulse) -> bool;
    let gpu = || GpuSelector::Slot(GPU);
    let cases: [(&str, Happens, Wanted); 7] = [
        ("nothing", |_| {}, |pulse| *pulse == BEATS),
        ("NVML_ERROR_NOT_SUPPORTED", |fake| fail(fake, 3), |pulse| *pulse == BEATS),
        ("NVML_ERROR_GPU_IS_LOST", |fake| fail(fake, 15), |pulse| *pulse == Pulse::Lost),
        ("NVML_ERROR_RESET_REQUIRED", |fake| fail(fake, 16), |pulse| *pulse == Pulse::NeedsReset),
        (
            "NVML_ERROR_UNKNOWN",
            |fake| fail(fake, 999),
            |pulse| matches!(pulse, Pulse::Failed(error) if error.code == Some(999)),
        ),
        (
            "NVML_ERROR_DRIVER_NOT_LOADED",
            |fake| fake.node.unload_driver().unwrap(),
            |pulse| *pulse == Pulse::NoDriver,
        ),
        ("NVML_ERROR_UNINITIALIZED", |fake| fail(fake, 1), |pulse| *pulse == Pulse::NoDriver),
    ];
    for (what, happens, wanted) in cases {
        let fake = Fake::new("h100-nvl-2");
        let session = open(&fake);
        assert_eq!(pulse(&session), BEATS, "{what}");
        happens(&fake);
        let found = pulse(&session);
        assert!(wanted(&found), "{what}: {found:?}");
    }

    let fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    fake.inject(&Injection::Lost(gpu()));
    assert_eq!(pulse(&session), Pulse::Lost);
    fake.inject(&Injection::Returned { gpu: gpu(), uuid: None });
    assert_eq!(pulse(&session), BEATS, "no handle was had before the loss: there is none to be void");
    fake.inject(&Injection::Lost(gpu()));
    assert_eq!(pulse(&session), Pulse::Lost);
    fake.inject(&Injection::Returned { gpu: gpu(), uuid: None });
    assert_eq!(pulse(&session), Pulse::Returned);
    session.close(LATE).unwrap();
    assert_eq!(pulse(&open(&fake)), BEATS);
}

#[test]
fn drivers_from_565_recommend() {
    for (version, wanted) in [("550.163.01", [None, None]), ("570.172.08", [Some(0), Some(2)])] {
        let mut fake = Fake::new("h100-nvl-2");
        fake.node.load_driver(Some(version)).unwrap();
        let session = open(&fake);
        assert_eq!(pulse(&session), Pulse::Beats { recovery_action: wanted[0] }, "{version}");
        fake.inject(&Injection::RecoveryAction { gpu: GpuSelector::Slot(GPU), action: 2 });
        assert_eq!(pulse(&session), Pulse::Beats { recovery_action: wanted[1] }, "{version}");
    }
}

#[test]
fn the_session_knows_when_its_driver_is_gone() {
    let fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    let in_force = || session.node().read("in force", LATE, |node| node.is_in_force()).unwrap();
    assert_eq!(in_force(), Ok(()));
    fake.node.unload_driver().unwrap();
    assert!(in_force().unwrap_err().is_driver_gone());
}

#[test]
fn processes_are_those_of_compute_and_graphics() {
    let fake = Fake::new("h100-nvl-2");
    let session = open(&fake);
    let processes =
        || session.gpus()[GPU].read("processes", LATE, |gpu| gpu.processes().map_err(drop)).unwrap();
    assert_eq!(processes(), Ok(vec![]));
    let process = |pid, graphics| Process { pid, name: "train".into(), memory_mib: 100, graphics };
    // Both lists have the second one.
    for process in [process(4711, false), process(42, true), process(42, false)] {
        fake.inject(&Injection::ProcessStarts { gpu: GpuSelector::Slot(GPU), process });
    }
    fake.inject(&Injection::ProcessStarts { gpu: GpuSelector::Slot(0), process: process(1, false) });
    assert_eq!(processes(), Ok(vec![42, 4711]));
    // No graphics: no list of them.
    fake.fault("nvmlDeviceGetGraphicsRunningProcesses_v3", GPU, Effect::Fail(3));
    assert_eq!(processes(), Ok(vec![42, 4711]));
    // A list that cannot be had is not an empty one.
    fake.fault("nvmlDeviceGetComputeRunningProcesses_v3", GPU, Effect::Fail(999));
    assert_eq!(processes(), Err(()));
}

#[test]
fn a_figure_that_cannot_be_had_costs_no_other() {
    let fake = Fake::new("h100-nvl-2");
    fake.node
        .update(|state| {
            let live = &mut state.gpus[GPU].live;
            live.power_mw = 312_000;
            live.temperature = 47;
        })
        .unwrap();
    fake.inject(&Injection::Ecc { gpu: GpuSelector::Slot(GPU), corrected: 5, uncorrected: 3 });
    let rows = Injection::RemappedRows {
        gpu: GpuSelector::Slot(GPU),
        uncorrected: 2,
        pending: true,
        failure: false,
    };
    fake.inject(&rows);
    fake.fault("nvmlDeviceGetUtilizationRates", GPU, Effect::Fail(3));
    let session = open(&fake);
    let figures = session.gpus()[GPU].read("figures", LATE, |gpu| gpu.figures().unwrap()).unwrap();
    assert_eq!(figures.utilization, Reading::NotSupported, "as with MIG");
    assert_eq!(figures.power, Reading::Value(312_000));
    assert_eq!(figures.temperature, Reading::Value(47));
    assert_eq!(figures.ecc_corrected, Reading::Value(5));
    assert_eq!(figures.ecc_uncorrected, Reading::Value(3));
    let rows = RemappedRows { corrected: 0, uncorrected: 2, pending: true, failed: false };
    assert_eq!(figures.remapped_rows, Reading::Value(rows));
    // H100 NVL: 95830 MiB.
    assert_eq!(figures.memory.value().map(|(_, size)| size >> 20), Some(95_830));
    assert!(figures.clock_sm.value().is_some());
}
