//! The state file survives writers that die, files that are damaged, and many writers at once.

#![allow(clippy::unwrap_used, reason = "in a test a failure is a failure")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_node::Description;
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::NodeState;
use fake_node::state_file::{StateError, StateFile};
use proptest::prelude::*;

/// A writer that was killed must not keep the others waiting; this only ends a test that would hang for ever.
const HANG_GUARD: Duration = Duration::from_secs(60);

/// Names the state file for the child processes of these tests.
const CHILD_FILE: &str = "STATE_FILE_OF_CHILD";

fn state() -> NodeState {
    Description::builtin("hgx-h100-8").unwrap().state()
}

fn corrected(file: &StateFile) -> u64 {
    file.read().unwrap().gpus[0].live.ecc.aggregate_corrected
}

fn add_one(file: &StateFile) {
    let ecc = Injection::Ecc { gpu: GpuSelector::Slot(0), corrected: 1, uncorrected: 0 };
    file.update(|state| state.apply(&ecc, 0)).unwrap().unwrap();
}

/// Starts this test program again as a process of its own, where [`file_of_child`] is the file.
fn child(test: &str, file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD_FILE, file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The file, if this process is the child of a test.
fn file_of_child() -> Option<StateFile> {
    std::env::var_os(CHILD_FILE).map(|path| StateFile::open(&PathBuf::from(path)).unwrap())
}

#[test]
fn updates_of_many_processes_and_threads_are_all_kept() {
    if let Some(file) = file_of_child() {
        return (0..100).for_each(|_| add_one(&file));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let file = Arc::new(StateFile::create(&path, &state()).unwrap());
    let children: Vec<Child> =
        (0..4).map(|_| child("updates_of_many_processes_and_threads_are_all_kept", &path)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let file = Arc::clone(&file);
            scope.spawn(move || (0..100).for_each(|_| add_one(&file)));
        }
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(corrected(&file), 800);
    assert_eq!(file.read().unwrap().events.next, 800, "one event for each");
}

/// Each round kills a writer at another moment of its loop. Whatever it was doing, the file is whole, nothing
/// that was written is lost again, and the next writer gets the lock.
#[test]
fn a_killed_writer_leaves_a_whole_state_and_a_free_lock() {
    if let Some(file) = file_of_child() {
        let began = Instant::now();
        while began.elapsed() < HANG_GUARD {
            add_one(&file);
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let file = StateFile::create(&path, &state()).unwrap();
    let mut last = 0;
    for round in 0..40u64 {
        let before = file.sequence();
        let mut child = child("a_killed_writer_leaves_a_whole_state_and_a_free_lock", &path);
        let deadline = Instant::now() + HANG_GUARD;
        // The writer works: only now does the kill hit it at work.
        while file.sequence() < before + 3 && Instant::now() < deadline {
            file.wait_for_change(file.sequence(), Duration::from_millis(20));
        }
        // Another point of its loop in each round: one turn of it takes some hundred microseconds.
        let (works, point) = (Instant::now(), Duration::from_micros(round * 377 % 1009));
        while works.elapsed() < point {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let fresh = StateFile::open(&path).unwrap();
        let now = corrected(&fresh);
        assert!(now >= last + 3, "round {round}: {now} after {last}");
        assert_eq!(fresh.read().unwrap().events.next, now, "counter and event are written together");
        add_one(&fresh);
        last = now + 1;
        assert_eq!(corrected(&file), last, "the file that was open all the time sees it too");
    }
}

#[test]
fn damaged_files_are_refused_with_their_name_and_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    drop(StateFile::create(&whole, &state()).unwrap());
    let bytes = std::fs::read(&whole).unwrap();
    let changed = |at: usize, with: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("empty", Vec::new(), "shorter than a header"),
        ("no mark", changed(0, b"ELF"), "does not begin with the mark"),
        ("other version", changed(8, &[9]), "another version of fake-node"),
        ("cut off", bytes[..bytes.len() / 2].to_vec(), "bytes instead of"),
        (
            "a byte of the state changed",
            changed(4096 + 24 + 100, b"\xff"),
            "the checksum of state 0 is wrong",
        ),
        ("an absurd length", changed(4096, &[0xff; 8]), "does not fit its slot"),
        ("a sequence from nowhere", changed(16, &[7]), "state 7"),
    ];
    for (name, bytes, expected) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = StateFile::open(&path).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StateError::Damaged { .. }), "{name}: {text}");
        assert!(text.contains(expected) && text.contains(name), "{name}: {text}");
        assert!(text.contains("create the node anew"), "{name}: {text}");
    }
    let absent = StateFile::open(&dir.path().join("absent")).unwrap_err().to_string();
    assert!(absent.contains("absent") && absent.contains("No such file"), "{absent}");
}

#[test]
fn a_refused_change_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = StateFile::create(&dir.path().join("state"), &state()).unwrap();
    let before = file.sequence();
    let refused = file.update(|state| {
        state.gpus.clear();
        Err::<(), _>("no")
    });
    assert_eq!(refused.unwrap(), Err("no"));
    assert_eq!(file.sequence(), before);
    assert_eq!(file.read().unwrap().gpus.len(), 8);
}

#[test]
fn a_state_that_outgrows_its_slot_is_refused_and_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = StateFile::create(&dir.path().join("state"), &state()).unwrap();
    let error = file
        .update(|state| {
            state.driver.version = "5".repeat(600 << 10);
            Ok::<_, ()>(())
        })
        .unwrap_err();
    assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
    assert_eq!(file.read().unwrap().driver.version, "550.163.01");
}

fn any_injection() -> impl Strategy<Value = Injection> {
    let gpu = || (0usize..10).prop_map(GpuSelector::Slot);
    prop_oneof![
        (gpu(), any::<u64>()).prop_map(|(gpu, xid)| Injection::Xid { gpu, xid, instances: Some((1, 0)) }),
        gpu().prop_map(Injection::Lost),
        gpu().prop_map(Injection::OffTheBus),
        (gpu(), any::<Option<String>>()).prop_map(|(gpu, uuid)| Injection::Returned { gpu, uuid }),
        (gpu(), 0u64..1000, 0u64..1000).prop_map(|(gpu, corrected, uncorrected)| Injection::Ecc {
            gpu,
            corrected,
            uncorrected
        }),
        (gpu(), any::<u32>()).prop_map(|(gpu, action)| Injection::RecoveryAction { gpu, action }),
        (gpu(), any::<Vec<u8>>()).prop_map(|(gpu, bytes)| Injection::Name { gpu, bytes }),
        (0u64..1000).prop_map(|seconds| Injection::FabricInProgress { seconds }),
        any::<Option<u16>>().prop_map(Injection::Clear),
        ("nvml[A-Za-z]{1,9}|\\*|nvmlDeviceGetName", gpu(), any::<u64>()).prop_map(|(call, gpu, after)| {
            Injection::Fault {
                call,
                gpu: Some(gpu),
                after,
                times: None,
                effect: fake_node::model::Effect::Hang,
            }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to a node, refused or not, the next process reads back just that.
    #[test]
    fn any_sequence_of_injections_is_read_back_as_it_was(
        injections in proptest::collection::vec(any_injection(), 0..40)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let file = StateFile::create(&path, &state()).unwrap();
        let mut expected = state();
        for injection in &injections {
            let in_memory = expected.clone().apply(injection, 7).is_ok();
            let answered = file.update(|state| state.apply(injection, 7)).unwrap();
            prop_assert_eq!(in_memory, answered.is_ok());
            if in_memory {
                expected.apply(injection, 7).unwrap();
            }
        }
        let fresh = StateFile::open(&path).unwrap();
        prop_assert_eq!(&*fresh.read().unwrap(), &expected);
    }
}
