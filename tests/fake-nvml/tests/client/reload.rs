//! The driver and its library, exchanged and damaged while programs run.

use nvml_wrapper::Nvml;

use fake_node::node::{LibraryFile, Node};

use crate::support::{TestNode, finish, load, play, role, run, said, start, this_program, until};
use crate::{code, count, handle, minor, raw_session, session, uuids};

#[test]
fn a_driver_that_is_unloaded_answers_nobody() {
    let mut node = TestNode::new("h100-nvl-2");
    let (library, device) = raw_session(&node);
    node.unload_driver().unwrap();
    assert_eq!(minor(&library, device), Err(code::DRIVER_NOT_LOADED));
    assert_eq!(count(&library), Err(code::DRIVER_NOT_LOADED));
    assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
    assert_eq!(nvml!(library, nvmlInit_v2()), code::DRIVER_NOT_LOADED);

    node.load_driver(None).unwrap();
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    assert_eq!(minor(&library, device), Err(code::INVALID_ARGUMENT), "a handle of a session that has ended");
    assert_eq!(minor(&library, handle(&library, 0).unwrap()), Ok(0));
}

#[test]
fn a_session_does_not_survive_its_driver() {
    let mut node = TestNode::new("h100-nvl-2");
    let (library, device) = raw_session(&node);
    node.unload_driver().unwrap();
    node.load_driver(None).unwrap();
    // The driver is back, but not the one of this session.
    assert_eq!(minor(&library, device), Err(code::DRIVER_NOT_LOADED));
    assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    assert_eq!(minor(&library, handle(&library, 0).unwrap()), Ok(0));
}

#[test]
fn another_driver_needs_its_own_library() {
    let mut node = TestNode::new("hgx-h100-8");
    let (old, device) = raw_session(&node);
    let before = uuids(&session(&node));
    node.unload_driver().unwrap();
    node.load_driver(Some("580.95.05")).unwrap();

    assert_eq!(minor(&old, device), Err(code::DRIVER_NOT_LOADED));
    assert_eq!(nvml!(old, nvmlShutdown()), code::SUCCESS);
    assert_eq!(nvml!(old, nvmlInit_v2()), code::LIB_RM_VERSION_MISMATCH, "the old library");
    // The loader would give the old library again for the name that it was loaded by.
    let path = node.library().canonicalize().unwrap();
    let nvml = Nvml::builder().lib_path(path.as_os_str()).init().unwrap();
    assert_eq!(nvml.sys_driver_version().unwrap(), "580.95.05");
    assert_eq!(nvml.sys_nvml_version().unwrap(), "13.580.95.05");
    assert_eq!(uuids(&nvml), before);
    drop(nvml);

    // And back again: what was the old library is now right, also for who kept it.
    node.load_driver(Some("550.163.01")).unwrap();
    assert_eq!(nvml!(old, nvmlInit_v2()), code::SUCCESS);
    assert_eq!(nvml!(old, nvmlShutdown()), code::SUCCESS);
}

#[test]
fn a_driver_forgets_what_was_set() {
    let mut node = TestNode::new("h100-nvl-2");
    node.update(|state| {
        for gpu in &mut state.gpus {
            gpu.live.compute_mode = 3;
            gpu.live.time_slice = 2;
            gpu.live.persistence = true;
            gpu.live.ecc.volatile_corrected = 7;
            gpu.live.ecc.aggregate_corrected = 9;
        }
    })
    .unwrap();
    node.unload_driver().unwrap();
    node.load_driver(None).unwrap();
    for gpu in &node.state().unwrap().gpus {
        let live = &gpu.live;
        assert_eq!((live.compute_mode, live.time_slice, live.persistence), (0, 0, false));
        assert_eq!((live.ecc.volatile_corrected, live.ecc.aggregate_corrected), (0, 9));
    }
}

#[test]
fn a_library_is_broken_missing_and_restored() {
    if let Some((_, dir)) = role() {
        let library = Node::open(&dir).unwrap().library();
        println!("begins {:?}", Nvml::builder().lib_path(library.as_os_str()).init().map(drop));
        return;
    }
    let node = TestNode::new("h100-nvl-2");
    // In processes of their own: of a file that is cut off the loader dies, as it does of the real one.
    let begins = || run(&mut play(&this_program(), this_test!(), "begin", &node));
    for (wanted, reason) in [(LibraryFile::Broken, None), (LibraryFile::Missing, Some("No such file"))] {
        node.set_library(wanted).unwrap();
        let output = begins();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("begins Ok"), "{wanted:?}: {text}");
        assert!(text.contains(reason.unwrap_or_default()), "{wanted:?}: {text}");
        assert_eq!(output.status.success(), reason.is_some(), "{wanted:?}: {text}");
    }
    node.set_library(LibraryFile::Restored).unwrap();
    let output = begins();
    assert_eq!(said(&String::from_utf8_lossy(&output.stdout), "begins "), ["Ok(())"]);
}

#[test]
fn a_program_keeps_the_library_that_it_has_open() {
    let node = TestNode::new("h100-nvl-2");
    let (library, device) = raw_session(&node);
    for wanted in [LibraryFile::Broken, LibraryFile::Missing, LibraryFile::Restored] {
        node.set_library(wanted).unwrap();
        assert_eq!(minor(&library, device), Ok(0), "{wanted:?}");
        // Code and data that were not touched yet are still those of the whole file.
        assert_eq!(nvml!(library, nvmlDeviceValidateInforom(device)), code::SUCCESS, "{wanted:?}");
    }
}

#[test]
fn a_reload_is_seen_by_other_processes() {
    if let Some((_, dir)) = role() {
        let node = Node::open(&dir).unwrap();
        let library = load(&node.library());
        assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
        let device = handle(&library, 0).unwrap();
        println!("ready {}", minor(&library, device).unwrap());
        until("the driver is gone", || minor(&library, device) == Err(code::DRIVER_NOT_LOADED));
        assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
        println!("then {}", nvml!(library, nvmlInit_v2()));
        return;
    }
    let mut node = TestNode::new("h100-nvl-2");
    let child = start(&mut play(&this_program(), this_test!(), "client", &node));
    node.wait_for_call("a call", |call| call.function == "nvmlDeviceGetMinorNumber");
    node.load_driver(Some("570.172.08")).unwrap();
    let output = String::from_utf8(finish(child).stdout).unwrap();
    assert_eq!(said(&output, "then "), ["18"], "LIB_RM_VERSION_MISMATCH: {output}");
}
