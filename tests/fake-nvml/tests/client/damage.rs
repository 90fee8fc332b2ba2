//! State files that are damaged, absent or only to be read.

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use fake_node::node::Node;
use nvml_wrapper::error::NvmlError;

use crate::support::{TestNode, is_root, load, play, role, run, said, this_program};
use crate::{code, count, handle, session, try_session};

/// Plays a process that begins a session and says the code.
fn try_to_begin(dir: &Path) {
    let library = dir.join("driver/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let library = load(&library.join("libnvidia-ml.so.1"));
    println!("code {}", nvml!(library, nvmlInit_v2()));
}

#[test]
fn a_damaged_state_is_named_and_harms_no_other_node() {
    if let Some((_, dir)) = role() {
        return try_to_begin(&dir);
    }
    let other = TestNode::new("h100-nvl-2");
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("it is shorter than a header", |path| fs::write(path, "").unwrap()),
        ("it does not begin with the mark of a fake node", |path| fs::write(path, "x".repeat(4096)).unwrap()),
        ("bytes instead of", |path| open(path).set_len(8192).unwrap()),
        ("it was written by another version of fake-node", |path| {
            open(path).write_all_at(&99_u64.to_ne_bytes(), 8).unwrap();
        }),
        // The first slot begins at 4096; its text behind a header of 24 bytes.
        ("checksum", |path| open(path).write_all_at(b"garbage", 4096 + 24 + 100).unwrap()),
    ];
    for (what, damage) in damages {
        let node = TestNode::new("h100-nvl-2");
        let path = node.state_file().path().to_owned();
        damage(&path);
        let output = run(&mut play(&this_program(), this_test!(), "begin", &node));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said(&outcome, "code "), ["999"], "{what}: {outcome}");
        assert!(errors.contains(path.to_str().unwrap()), "{what}: the file is not named: {errors}");
        assert!(errors.contains(what), "{what}: {errors}");
        assert!(errors.contains("create the node anew"), "{what}: {errors}");
        assert_eq!(session(&other).device_count().unwrap(), 2, "{what}: the other node");
    }
}

fn open(path: &Path) -> fs::File {
    fs::OpenOptions::new().write(true).open(path).unwrap()
}

#[test]
fn without_its_state_the_library_has_no_driver() {
    let node = TestNode::new("h100-nvl-2");
    fs::remove_file(node.state_file().path()).unwrap();
    assert!(matches!(try_session(&node), Err(NvmlError::DriverNotLoaded)));
}

#[test]
fn damage_while_a_session_is_open_is_an_error_and_no_crash() {
    let node = TestNode::new("h100-nvl-2");
    let (library, _) = crate::raw_session(&node);
    assert_eq!(count(&library), Ok(2));
    // Both slots, then a change that makes the library look again.
    let file = open(node.state_file().path());
    file.write_all_at(&2_u64.to_ne_bytes(), 16).unwrap();
    file.write_all_at(b"garbage", 4096 + 24 + 100).unwrap();
    assert_eq!(count(&library), Err(code::UNKNOWN));
    assert_eq!(handle(&library, 0), Err(code::UNKNOWN));
}

/// Plays a process that reads and tries to set.
fn read_and_set(dir: &Path) {
    let node = Node::open(dir).unwrap();
    assert!(!node.state_file().writable());
    let library = load(&node.library());
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    let device = handle(&library, 0).unwrap();
    println!("reads {}", crate::minor(&library, device).unwrap());
    for returned in [
        nvml!(library, nvmlDeviceSetPersistenceMode(device, 0)),
        nvml!(library, nvmlDeviceSetComputeMode(device, 3)),
        nvml!(library, nvmlDeviceSetEccMode(device, 0)),
        nvml!(library, nvmlDeviceSetPowerManagementLimit(device, 300_000)),
        nvml!(library, nvmlDeviceClearEccErrorCounts(device, 0)),
    ] {
        println!("sets {returned}");
    }
}

/// A user who may not write the file. A program in a container, where the file is mounted read-only, meets the same.
#[test]
fn who_may_only_read_the_state_reads_and_sets_nothing() {
    if let Some((_, dir)) = role() {
        return read_and_set(&dir);
    }
    use std::os::unix::fs::PermissionsExt;

    let node = TestNode::new("h100-nvl-2");
    let before = node.state().unwrap();
    fs::set_permissions(node.state_file().path(), fs::Permissions::from_mode(0o444)).unwrap();
    let program = node.beside("program");
    fs::copy(this_program(), &program).unwrap();
    let mut command = play(&program, this_test!(), "reader", &node);
    if is_root() {
        command.uid(65534).gid(65534);
    }
    let output = run(&mut command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said(&text, "reads "), ["0"], "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said(&text, "sets "), ["4"; 5], "NO_PERMISSION");
    assert_eq!(*before, *node.state().unwrap());
    assert_eq!(node.calls(), [], "a reader leaves no trace in the call log");
}

/// As root, a file on a file system that is mounted read-only.
#[test]
fn a_state_on_a_read_only_mount_is_only_read() {
    if let Some((_, dir)) = role() {
        return read_and_set(&dir);
    }
    if !is_root() {
        println!("only root can mount: what other users meet is in the test above");
        return;
    }
    let node = TestNode::new("h100-nvl-2");
    let play = play(&this_program(), this_test!(), "reader", &node);
    let mut command = std::process::Command::new("unshare");
    let path = node.state_file().path();
    // The mount is private to this one command.
    command.args(["--mount", "sh", "-ec", "mount --bind -o ro \"$1\" \"$1\"; shift; exec \"$@\"", "sh"]);
    command.arg(path).arg(play.get_program()).args(play.get_args());
    command.envs(play.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = run(&mut command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said(&text, "reads "), ["0"], "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said(&text, "sets "), ["4"; 5], "NO_PERMISSION");
}
