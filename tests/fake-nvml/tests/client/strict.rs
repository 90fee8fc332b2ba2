//! Strict mode: what only a defective client does ends the client.

use std::os::unix::process::ExitStatusExt;

use fake_node::inject::Injection;
use fake_node::node::Node;

use crate::support::{TestNode, load, play, role, run, this_program};
use crate::{code, handle, minor};

const SIGABRT: i32 = 6;

/// Does something wrong, or nothing wrong.
fn misbehave(how: &str, dir: &std::path::Path) {
    let library = load(&Node::open(dir).unwrap().library());
    if how == "call before init" {
        minor(&library, std::ptr::null_mut()).unwrap_err();
        return;
    }
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    let device = handle(&library, 0).unwrap();
    match how {
        "call after shutdown" => {
            assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
            minor(&library, device).unwrap_err();
        }
        "unknown handle" => {
            minor(&library, std::ptr::without_provenance_mut(0xdead_beef)).unwrap_err();
        }
        "handle of another session" => {
            assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
            assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
            minor(&library, device).unwrap_err();
        }
        // Errors that a good client meets too.
        _ => {
            handle(&library, 99).unwrap_err();
            minor(&library, device).unwrap();
            assert_eq!(nvml!(library, nvmlShutdown()), code::SUCCESS);
        }
    }
}

#[test]
fn a_defective_client_is_aborted_and_told_why() {
    if let Some((how, dir)) = role() {
        return misbehave(&how, &dir);
    }
    const SESSION: &str = "a call before nvmlInit or after nvmlShutdown";
    const HANDLE: &str = "a device handle that this session never gave out";
    let node = TestNode::new("h100-nvl-2");
    for (how, reason) in [
        ("call before init", Some(SESSION)),
        ("call after shutdown", Some(SESSION)),
        ("unknown handle", Some(HANDLE)),
        ("handle of another session", Some(HANDLE)),
        ("nothing wrong", None),
    ] {
        for strict in [true, false] {
            node.inject(&Injection::Strict(strict)).unwrap();
            let output = run(&mut play(&this_program(), this_test!(), how, &node));
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            match reason.filter(|_| strict) {
                Some(reason) => {
                    assert_eq!(output.status.signal(), Some(SIGABRT), "{how}: {errors}");
                    assert!(errors.contains(&format!("fake-nvml: strict mode: {reason}")), "{how}: {errors}");
                }
                None => assert!(output.status.success(), "{how}, strict {strict}: {errors}"),
            }
        }
    }
}
