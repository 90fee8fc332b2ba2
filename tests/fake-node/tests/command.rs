//! The program `fake-node`, as people and scripts run it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper that fails is a failed test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fake_node::Node;
use fake_node::model::{Effect, NodeState, Presence};
use fake_node::symbols::Function;
use tempfile::TempDir;

/// The exit status and what was printed on standard output and on standard error.
fn fake_node(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fake-node")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A node made by the program, with any file in place of the library.
struct Made {
    folder: TempDir,
}

impl Made {
    fn new(description: &str) -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(made.library(), "the fake library").unwrap();
        let (code, out, errors) = fake_node(&made.create(description, &[]));
        assert_eq!((code, errors.as_str()), (0, ""), "{out}");
        made
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("library.so")
    }

    fn dir(&self) -> &'static str {
        leak(&self.folder.path().join("node"))
    }

    fn create(&self, description: &str, more: &[&'static str]) -> Vec<&'static str> {
        let mut arguments = vec!["create", leak(Path::new(description)), "--dir", self.dir()];
        arguments.extend(["--library", leak(&self.library()), "--device-nodes", "record"]);
        arguments.extend(more);
        arguments
    }

    /// Injects what must succeed, and gives what was printed.
    fn inject(&self, what: &[&str]) -> String {
        let (code, out, errors) = fake_node(&[&["inject", self.dir()], what].concat());
        assert_eq!((code, errors.as_str()), (0, ""), "{what:?}");
        out
    }

    fn state(&self) -> NodeState {
        let (code, out, _) = fake_node(&["status", self.dir()]);
        assert_eq!(code, 0);
        serde_json::from_str(&out).unwrap()
    }
}

/// Paths among arguments that are otherwise constants; a few of them in a short program.
fn leak(path: &Path) -> &'static str {
    String::leak(path.to_str().unwrap().to_owned())
}

#[test]
fn the_list_names_what_can_be_created() {
    let (code, out, errors) = fake_node(&["list"]);
    let names: Vec<&str> = out.lines().collect();
    let expected =
        ["hgx-h100-8", "hgx-h200-8", "h100-pcie-4", "h100-nvl-2", "h200-nvl-8", "mixed", "h100-16"];
    assert_eq!((code, names.as_slice(), errors.as_str()), (0, expected.as_slice(), ""));
}

#[test]
fn a_node_is_created_and_says_how_to_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("library.so");
    fs::write(&library, "the fake library").unwrap();
    let dir = folder.path().join("node");
    let mut arguments = vec!["create", "h100-nvl-2", "--dir", leak(&dir), "--library", leak(&library)];
    arguments.extend(["--device-nodes", "record", "--driver-version", "580.95.05"]);
    let (code, out, errors) = fake_node(&arguments);
    let dir = dir.canonicalize().unwrap().display().to_string();
    assert_eq!((code, errors.as_str()), (0, ""));
    let expected = format!(
        "created h100-nvl-2: 2 GPUs, driver 580.95.05, device nodes are recorded in plain files\n\
         driver root: {dir}/driver\nfor other programs: . {dir}/env\n"
    );
    assert_eq!(out, expected);

    // The shell file leads to the library, also in a shell that has such a path already.
    let script = format!(
        "LD_LIBRARY_PATH=/before; . '{dir}/env'; echo \"$LD_LIBRARY_PATH\"; ls \"${{LD_LIBRARY_PATH%%:*}}\""
    );
    let shell = Command::new("sh").args(["-euc", &script]).output().unwrap();
    let printed = String::from_utf8(shell.stdout).unwrap();
    let (path, files) = printed.split_once('\n').unwrap();
    assert!(path.starts_with(&dir) && path.ends_with(":/before"), "{path}");
    assert!(files.lines().any(|file| file == "libnvidia-ml.so.1"), "{files}");
}

#[test]
fn what_cannot_be_created_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let full = folder.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("file"), "").unwrap();
    let wrong = folder.path().join("wrong.yaml");
    fs::write(&wrong, "driver: \"550.163.01\"\nnuma_nodes: []\ngpu: []\n").unwrap();
    let fresh = leak(&folder.path().join("fresh"));
    let absent = leak(&folder.path().join("absent.yaml"));
    let hgx = "hgx-h100-8";
    let cases: [(&[&str], &[&str]); 7] = [
        (
            &["hgx-h100", "--dir", fresh],
            &["'hgx-h100'", "built in are hgx-h100-8, hgx-h200-8", "./hgx-h100.yaml"],
        ),
        (&[absent, "--dir", fresh], &["absent.yaml", "No such file", "check that the file exists"]),
        (&[leak(&wrong), "--dir", fresh], &["wrong.yaml:3", "gpu"]),
        (&[hgx, "--dir", leak(&full)], &["/full", "the folder is not empty; remove it or choose another"]),
        (
            &[hgx, "--dir", fresh, "--driver-version", "new"],
            &["'new' is not a driver version", "like 550.163.01"],
        ),
        (
            &[hgx, "--dir", fresh, "--driver-version", "999.1"],
            &["driver 999.1 is of branch 999, whose CUDA version is unknown", "550, 555"],
        ),
        (
            &[hgx, "--dir", fresh, "--library", "/absent/library.so"],
            &["/absent/library.so", "No such file", "build it with 'cargo build -p fake-nvml'"],
        ),
    ];
    for (arguments, expected) in cases {
        let (code, out, errors) = fake_node(&[&["create"], arguments].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
        assert!(errors.starts_with("fake-node: "), "{errors}");
        assert!(expected.iter().all(|part| errors.contains(part)), "{arguments:?}: {errors}");
        assert_eq!(
            errors.matches("No such file").count(),
            usize::from(errors.contains("No such file")),
            "{errors}"
        );
    }
}

#[test]
fn where_no_node_is_there_is_none_to_use() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, absent) = (leak(folder.path()), leak(&folder.path().join("absent")));
    for dir in [empty, absent] {
        for arguments in [&["status", dir][..], &["calls", dir], &["inject", dir, "lost", "0"]] {
            let (code, out, errors) = fake_node(arguments);
            assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
            assert!(errors.contains(&format!("{dir} holds no fake node")), "{errors}");
        }
    }
}

#[test]
fn a_damaged_state_is_named() {
    let made = Made::new("h100-nvl-2");
    let path = Node::open(Path::new(made.dir())).unwrap().state_file().path().to_owned();
    fs::write(&path, "damaged").unwrap();
    for arguments in
        [&["status", made.dir()][..], &["calls", made.dir()], &["inject", made.dir(), "lost", "0"]]
    {
        let (code, out, errors) = fake_node(arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
        assert!(
            errors.contains(path.to_str().unwrap()) && errors.contains("create the node anew"),
            "{errors}"
        );
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused_by_name() {
    let made = Made::new("h100-nvl-2");
    let before = made.state();
    // What the shape of the command line forbids ends with 2, what the node forbids with 1.
    let cases: [(&[&str], i32, &str); 20] = [
        (&["lost", "2"], 1, "the node has no GPU 2; it has 0 (0000:17:00.0, GPU-3e66eced-"),
        (&["lost", "GPU-x"], 1, "the node has no GPU GPU-x"),
        (&["lost", "first"], 2, "'first' is no GPU: give its position (0), its UUID (GPU-…) or PCI address"),
        (&["lost"], 2, "<GPU>"),
        (&["xid", "0", "many"], 2, "invalid value 'many' for '<XID>'"),
        (&["xid", "0", "13", "--gpu-instance", "1"], 2, "--compute-instance"),
        (&["ecc", "0"], 2, "--corrected"),
        (&["returned", "0", "--uuid", "new"], 1, "'new' is not the UUID of a GPU"),
        (&["fault", "nvmlDeviceGetNam", "--hang"], 1, "there is no NVML function nvmlDeviceGetNam"),
        (&["fault", "nvmlDeviceGetName"], 2, "--delay-ms"),
        (&["fault", "nvmlDeviceGetName", "--hang", "--fail", "3"], 2, "cannot be used with"),
        (&["fault", "nvmlDeviceGetName", "--hang", "--nth", "0"], 2, "--nth"),
        (&["fault", "nvmlDeviceGetName", "--hang", "--gpu", "5"], 1, "the node has no GPU 5"),
        (&["clear", "0"], 1, "no fault 0 is set"),
        (&["process-ends", "0", "77"], 1, "no process 77 uses the GPU 0"),
        (&["strict", "perhaps"], 2, "[possible values: true, false]"),
        (&["library", "old"], 2, "[possible values: broken, missing, restored]"),
        (&["driver", "load", "--version", "1"], 1, "'1' is not a driver version"),
        (&["explode"], 2, "unexpected argument 'explode'"),
        (&[], 2, "Usage: fake-node inject"),
    ];
    for (what, expected, message) in cases {
        let (code, out, errors) = fake_node(&[&["inject", made.dir()], what].concat());
        assert_eq!((code, out.as_str()), (expected, ""), "{what:?}: {errors}");
        assert!(errors.contains(message), "{what:?}: {errors}");
    }
    assert_eq!(made.state(), before);
}

#[test]
fn what_is_injected_is_in_the_state() {
    let made = Made::new("h100-nvl-2");
    assert_eq!(made.inject(&["xid", "0", "94", "--gpu-instance", "9", "--compute-instance", "1"]), "");
    made.inject(&["ecc", "0000:65:00.0", "--corrected", "3", "--uncorrected", "1"]);
    made.inject(&["remapped-rows", "1", "--uncorrected", "2", "--pending"]);
    made.inject(&["recovery-action", "1", "4"]);
    made.inject(&["clock-change", "GPU-3e66eced-62ae-4d6a-92c8-9d123d01a014", "64"]);
    made.inject(&["process-starts", "0", "4711", "--memory-mib", "100", "--name", "/opt/train"]);
    made.inject(&["process-starts", "0", "4712"]);
    made.inject(&["process-ends", "0", "4712"]);
    made.inject(&["name", "1", "NVIDIA \\xff\\x00 \\xzz"]);
    made.inject(&["strict", "true"]);

    let state = made.state();
    let events: Vec<_> =
        state.events.recent.iter().map(|event| (event.slot, event.kind, event.data)).collect();
    assert_eq!(events, [(0, 8, 94), (1, 1, 0), (1, 2, 0), (1, 8, 48), (1, 8, 154), (0, 16, 0)]);
    let xid = state.events.recent[0];
    assert_eq!((xid.gpu_instance, xid.compute_instance), (9, 1));
    let (first, second) = (&state.gpus[0].live, &state.gpus[1].live);
    assert_eq!((second.ecc.volatile_corrected, second.ecc.aggregate_uncorrected), (3, 1));
    assert_eq!(
        (second.remapped.uncorrected, second.remapped.pending, second.remapped.failure),
        (2, true, false)
    );
    assert_eq!((second.recovery_action, first.clock_event_reasons), (4, 64));
    let processes: Vec<_> = first
        .processes
        .iter()
        .map(|process| (process.pid, process.name.as_str(), process.memory_mib))
        .collect();
    assert_eq!(processes, [(4711, "/opt/train", 100)]);
    assert_eq!(second.name_bytes.as_deref(), Some(&b"NVIDIA \xff\x00 \\xzz"[..]));
    assert!(state.strict);
}

#[test]
fn gpus_go_and_return_with_their_files() {
    let made = Made::new("h100-nvl-2");
    let device = Path::new(made.dir()).join("driver/dev/nvidia1");
    made.inject(&["lost", "1"]);
    assert_eq!((made.state().gpus[1].live.presence, device.exists()), (Presence::Lost, true));
    made.inject(&["off-the-bus", "1"]);
    assert_eq!((made.state().gpus[1].live.presence, device.exists()), (Presence::Removed, false));
    let new = "GPU-11111111-2222-4333-8444-555555555555";
    made.inject(&["returned", "1", "--uuid", new]);
    let gpu = &made.state().gpus[1];
    assert_eq!((gpu.live.presence, gpu.uuid.as_str(), device.exists()), (Presence::Present, new, true));
}

#[test]
fn faults_are_numbered_and_cleared_by_number() {
    let made = Made::new("h100-nvl-2");
    let effects: [(&[&str], Effect); 5] = [
        (&["--delay-ms", "250"], Effect::Delay(250)),
        (&["--hang"], Effect::Hang),
        (&["--fail", "19"], Effect::Fail(19)),
        (&["--kill-before"], Effect::KillBefore),
        (&["--kill-after"], Effect::KillAfter),
    ];
    let mut numbers = Vec::new();
    for (arguments, effect) in effects {
        let call = ["fault", "nvmlDeviceGetName", "--gpu", "1", "--nth", "3", "--times", "2"];
        let printed = made.inject(&[&call, arguments].concat());
        let number: u16 = printed.trim_end().parse().unwrap();
        let state = made.state();
        let fault = state.faults.last().unwrap();
        assert_eq!((fault.id, fault.call.as_str(), fault.slot), (number, "nvmlDeviceGetName", Some(1)));
        assert_eq!((fault.after, fault.times, fault.effect), (2, Some(2), effect));
        numbers.push(number);
    }
    made.inject(&["clear", &numbers[1].to_string()]);
    let left: Vec<u16> = made.state().faults.iter().map(|fault| fault.id).collect();
    assert_eq!(left, [numbers[0], numbers[2], numbers[3], numbers[4]]);
    made.inject(&["clear"]);
    assert_eq!(made.state().faults, []);
}

#[test]
fn the_driver_and_its_library_are_exchanged() {
    let made = Made::new("h100-nvl-2");
    let root =
        Path::new(made.dir()).join("driver/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let library = root.join("libnvidia-ml.so.550.163.01");
    made.inject(&["library", "missing"]);
    assert!(!library.exists());
    made.inject(&["library", "restored"]);
    assert_eq!(fs::read_to_string(&library).unwrap(), "the fake library");

    made.inject(&["driver", "unload"]);
    assert!(!made.state().driver.loaded);
    made.inject(&["driver", "load", "--version", "580.95.05"]);
    let driver = made.state().driver;
    assert_eq!((driver.version.as_str(), driver.cuda.major, driver.loaded), ("580.95.05", 13, true));
    assert_eq!((library.exists(), root.join("libnvidia-ml.so.580.95.05").exists()), (false, true));
}

#[test]
fn calls_are_printed_for_people_and_for_programs() {
    let made = Made::new("h100-nvl-2");
    let node = Node::open(Path::new(made.dir())).unwrap();
    let file = node.state_file();
    let done = file.call_begins(Function::named("nvmlDeviceGetName"), Some(1), false);
    file.call_ends(done, 0);
    let stub = file.call_begins(Function::named("nvmlDeviceGetFanSpeed"), None, true);
    file.call_ends(stub, 3);
    file.call_begins(Function::named("nvmlEventSetWait_v2"), None, false);

    let pid = std::process::id();
    let (_, out, _) = fake_node(&["calls", made.dir()]);
    let rows: Vec<String> =
        out.lines().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        rows,
        [
            format!("0 pid {pid} gpu 1 nvmlDeviceGetName = 0"),
            format!("1 pid {pid} - nvmlDeviceGetFanSpeed = 3 (stub)"),
            format!("2 pid {pid} - nvmlEventSetWait_v2 = unfinished"),
        ]
    );
    let (_, out, _) = fake_node(&["calls", made.dir(), "--since", "2", "--json"]);
    let call: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(call["function"], "nvmlEventSetWait_v2");
    assert_eq!((&call["number"], &call["pid"], &call["returned"]), (&2.into(), &pid.into(), &().into()));
}

/// `fake-node status DIR | head -1` is no error.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let made = Made::new("hgx-h100-8");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-node"));
    let output = command.args(["status", made.dir()]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
