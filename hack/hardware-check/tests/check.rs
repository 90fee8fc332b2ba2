//! The program as its users run it. A fake node stands for the real machine: what it answers is known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fake_node::inject::GpuSelector;
use fake_node::model::Effect;
use fake_node::node::LibraryFile;
use fake_node::{CreateOptions, Description, Injection, Node};
use serde_json::Value;

/// A machine in a folder.
struct Machine {
    folder: tempfile::TempDir,
    node: Node,
}

impl Machine {
    fn new(description: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let description = Description::builtin(description).unwrap();
        let node =
            Node::create(&description, &folder.path().join("node"), &CreateOptions::default()).unwrap();
        Self { folder, node }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the program on the machine.
    fn check(&self, arguments: &[&str]) -> Run {
        let mut command = program();
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .arg("--library")
            .arg(self.node.library())
            .arg("--procfs")
            .arg(self.node.procfs())
            .arg("--sysfs")
            .arg(self.node.sysfs());
        run(&mut command)
    }

    /// Records the machine, and reads the recording.
    fn record(&self, arguments: &[&str]) -> (Run, Value) {
        let out = self.file("recorded.json");
        let run = self.check(&[&["record", "--out", out.to_str().unwrap()], arguments].concat());
        let text = std::fs::read_to_string(&out).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
        (run, serde_json::from_str(&text).unwrap())
    }

    /// Compares the recording with a fake node that the program makes.
    fn compare(&self) -> Run {
        run(program().arg("compare").arg(self.file("recorded.json")))
    }
}

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    /// The table's rows: call, GPUs, real and fake value.
    fn rows(&self) -> Vec<Vec<&str>> {
        let lines = self.stdout.lines().skip_while(|line| !line.starts_with("CALL")).skip(1);
        lines
            .take_while(|line| !line.is_empty())
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect()
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hardware-check"))
}

fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Run {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn entries(recording: &Value) -> &Vec<Value> {
    recording["entries"].as_array().unwrap()
}

/// A GPU's answer to a call.
fn answer<'a>(recording: &'a Value, gpu: u64, call: &str) -> &'a Value {
    let found = entries(recording).iter().find(|entry| entry["gpu"] == gpu && entry["call"] == call);
    found.unwrap_or_else(|| panic!("no {call} of GPU {gpu}"))
}

#[test]
fn every_kind_of_node_equals_itself() {
    for name in Description::builtin_names() {
        let machine = Machine::new(name);
        let (recorded, recording) = machine.record(&[]);
        assert_eq!(recorded.code, Some(0), "{name}: {}", recorded.stderr);
        assert_eq!(recording["incomplete"], Value::Null, "{name}");
        let compared = machine.compare();
        assert_eq!(compared.rows(), Vec::<Vec<&str>>::new(), "{name}");
        assert_eq!(compared.code, Some(0), "{name}: {}", compared.stderr);
        assert!(
            compared.stdout.contains(&format!("with the fake: {name} with driver")),
            "{}",
            compared.stdout
        );
    }
}

#[test]
fn what_a_real_board_answers_stands_in_the_recording() {
    let machine = Machine::new("hgx-h200-8");
    let (_, recording) = machine.record(&[]);
    // Published figures of the H200 SXM: 143771 MiB, 132 SMs of 128 cores, 700 W, PCI 10de:2335, compute 9.0.
    for (call, field, wanted) in [
        ("nvmlDeviceGetName", "value", Value::from("NVIDIA H200")),
        ("nvmlDeviceGetMemoryInfo_v2", "total", (143_771_u64 << 20).into()),
        ("nvmlDeviceGetNumGpuCores", "value", (132 * 128).into()),
        ("nvmlDeviceGetPowerManagementDefaultLimit", "value", 700_000.into()),
        ("nvmlDeviceGetPciInfo_v3", "deviceId", 0x2335_10DE_u32.into()),
        ("nvmlDeviceGetCudaComputeCapability", "major", 9.into()),
        ("nvmlDeviceGetNvLinkState(0-17)", "links", vec![1; 18].into()),
        ("event set: XIDs", "wait 100 ms", "10 TIMEOUT".into()),
    ] {
        assert_eq!(answer(&recording, 7, call)["fact"][field], wanted, "{call}");
    }
}

#[test]
fn differences_are_named_and_nothing_else_is() {
    let machine = Machine::new("hgx-h100-8");
    machine
        .node
        .update(|state| {
            for gpu in &mut state.gpus {
                gpu.board.reserved_mib = 450;
            }
            for gpu in &mut state.gpus[..4] {
                gpu.board.power.default_w = 650;
            }
            state.gpus[5].board.name = "NVIDIA H100".to_owned();
            // Not facts: the settings and the load of a machine.
            state.gpus[1].live.temperature = 71;
            state.gpus[1].live.compute_mode = 3;
            state.gpus[2].numa = 1;
        })
        .unwrap();
    machine.record(&[]);
    let compared = machine.compare();
    assert_eq!(compared.code, Some(1), "{}", compared.stderr);
    let wanted: Vec<Vec<&str>> = vec![
        vec!["nvmlDeviceGetMemoryInfo_v2: reserved", "0-7", "471859200", "541065216"],
        vec!["nvmlDeviceGetPowerManagementDefaultLimit", "0-3", "650000", "700000"],
        vec!["nvmlDeviceGetFieldValues(NVML_FI_DEV_POWER_DEFAULT_LIMIT)", "0-3", "650000", "700000"],
        vec!["nvmlDeviceGetName", "5", "NVIDIA H100", "NVIDIA H100 80GB HBM3"],
    ];
    assert_eq!(compared.rows(), wanted);
}

#[test]
fn a_machine_with_fewer_gpus_is_compared_with_as_many() {
    let machine = Machine::new("hgx-h100-8");
    machine.node.update(|state| state.gpus.truncate(2)).unwrap();
    machine.record(&[]);
    let compared = machine.compare();
    assert_eq!(compared.rows(), Vec::<Vec<&str>>::new());
    assert!(
        compared.stdout.contains("hgx-h100-8 with driver 550.163.01, 2 of its 8 GPUs"),
        "{}",
        compared.stdout
    );
}

#[test]
fn recordings_do_not_tell_whose_they_are() {
    let machine = Machine::new("h100-pcie-4");
    let state = machine.node.state().unwrap();
    let (_, recording) = machine.record(&[]);
    let text = recording.to_string();
    for gpu in &state.gpus {
        assert!(!text.contains(&gpu.uuid), "{}", gpu.uuid);
        assert!(!text.contains(&gpu.serial), "{}", gpu.serial);
    }
    let uuid = "GPU-00000000-0000-0000-0000-000000000003";
    assert_eq!(answer(&recording, 2, "nvmlDeviceGetUUID")["identity"]["value"], uuid);
    let information = answer(&recording, 2, "/proc/driver/nvidia/gpus/<address>/information");
    assert_eq!(information["identity"]["GPU UUID"], uuid);

    let (_, open) = machine.record(&["--anonymise", "false"]);
    assert_eq!(answer(&open, 2, "nvmlDeviceGetUUID")["identity"]["value"], state.gpus[2].uuid.as_str());
}

#[test]
fn two_recordings_of_one_machine_differ_in_times_only() {
    let machine = Machine::new("h100-nvl-2");
    let plain = |mut recording: Value| {
        for entry in recording["entries"].as_array_mut().unwrap() {
            let entry = entry.as_object_mut().unwrap();
            entry.remove("us");
            entry.remove("volatile");
        }
        recording.to_string()
    };
    let first = plain(machine.record(&[]).1);
    assert_eq!(first, plain(machine.record(&[]).1));
}

#[test]
fn a_call_that_hangs_costs_one_answer() {
    let machine = Machine::new("h100-pcie-4");
    let hang = Injection::Fault {
        call: "nvmlDeviceGetVbiosVersion".to_owned(),
        gpu: Some(GpuSelector::Slot(1)),
        after: 0,
        times: Some(1),
        effect: Effect::Hang,
    };
    machine.node.inject(&hang).unwrap();
    let begin = Instant::now();
    let (run, recording) = machine.record(&["--call-timeout", "1"]);
    assert!(begin.elapsed() < Duration::from_secs(60), "the tool must not wait for the driver");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("nvmlDeviceGetVbiosVersion (GPU 1): no answer within 1 s"), "{}", run.stderr);

    assert_eq!(recording["incomplete"], Value::Null);
    let silent: Vec<_> = entries(&recording)
        .iter()
        .filter(|entry| entry["none"].as_str().is_some_and(|reason| reason.starts_with("no answer")))
        .map(|entry| (entry["gpu"].as_u64().unwrap(), entry["call"].as_str().unwrap()))
        .collect();
    assert_eq!(silent, [(1, "nvmlDeviceGetVbiosVersion")]);
    // Everything behind it was asked, once.
    let calls = |gpu: u64| entries(&recording).iter().filter(move |entry| entry["gpu"] == gpu).count();
    assert_eq!(calls(1), calls(0) - 7, "GPU 1 has one pair less than GPU 0, of seven calls");
    assert_eq!(answer(&recording, 3, "nvmlDeviceGetName")["code"], 0);

    let compared = machine.compare();
    assert_eq!(compared.rows(), [["nvmlDeviceGetVbiosVersion", "1", "no answer within 1 s", "0 SUCCESS"]]);
}

#[test]
fn a_gpu_that_hangs_at_every_call_is_given_up_and_the_others_are_not() {
    let machine = Machine::new("h100-pcie-4");
    let hang = Injection::Fault {
        call: "*".to_owned(),
        gpu: Some(GpuSelector::Slot(0)),
        after: 0,
        times: None,
        effect: Effect::Hang,
    };
    machine.node.inject(&hang).unwrap();
    let begin = Instant::now();
    let (run, recording) = machine.record(&["--call-timeout", "1"]);
    assert!(begin.elapsed() < Duration::from_secs(60), "the tool must not wait for the driver");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(recording["incomplete"].as_str().unwrap().starts_with("GPU 0 was asked no further"));
    assert_eq!(answer(&recording, 1, "nvmlDeviceGetName")["fact"]["value"], "NVIDIA H100 PCIe");
}

#[test]
fn a_file_that_never_ends_costs_one_answer() {
    let machine = Machine::new("h100-nvl-2");
    let file = machine.node.procfs().join("driver/nvidia/params");
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let (run, recording) = machine.record(&["--call-timeout", "1"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let of = |call: &str| entries(&recording).iter().find(|entry| entry["call"] == call).unwrap();
    assert_eq!(of("/proc/driver/nvidia/params")["none"], "no answer within 1 s");
    assert_eq!(of("/proc/driver/nvidia/version")["fact"]["driver"], "550.163.01");
    assert_eq!(answer(&recording, 1, "/sys/bus/pci/devices/<address>")["fact"]["device"], "0x2321");
}

#[test]
fn a_library_that_crashes_costs_one_answer() {
    let machine = Machine::new("h100-nvl-2");
    let kill = Injection::Fault {
        call: "nvmlDeviceGetSerial".to_owned(),
        gpu: Some(GpuSelector::Slot(0)),
        after: 0,
        times: Some(1),
        effect: Effect::KillBefore,
    };
    machine.node.inject(&kill).unwrap();
    let (run, recording) = machine.record(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let reason = "the library ended the process with signal 9";
    assert_eq!(answer(&recording, 0, "nvmlDeviceGetSerial")["none"], reason);
    assert_eq!(answer(&recording, 0, "nvmlDeviceGetVbiosVersion")["code"], 0);
}

#[test]
fn the_time_limit_holds_while_the_driver_hangs() {
    let machine = Machine::new("h100-nvl-2");
    let hang = Injection::Fault {
        call: "nvmlInit_v2".to_owned(),
        gpu: None,
        after: 0,
        times: None,
        effect: Effect::Hang,
    };
    machine.node.inject(&hang).unwrap();
    let begin = Instant::now();
    let (run, recording) = machine.record(&["--time-limit", "2"]);
    assert!(begin.elapsed() < Duration::from_secs(60), "the limit is two seconds");
    assert_eq!(recording["incomplete"], "the time limit was reached at nvmlInit_v2");
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}

#[test]
fn a_lost_gpu_is_recorded_as_what_it_is() {
    let machine = Machine::new("h100-pcie-4");
    machine.node.inject(&Injection::Lost(GpuSelector::Slot(2))).unwrap();
    machine.record(&[]);
    let compared = machine.compare();
    assert_eq!(compared.code, Some(1));
    let first = ["nvmlDeviceGetHandleByIndex_v2", "2", "15 GPU_IS_LOST", "0 SUCCESS"];
    assert!(compared.rows().contains(&first.to_vec()), "{}", compared.stdout);
}

#[test]
fn without_a_driver_the_reason_is_said() {
    let machine = Machine::new("h100-nvl-2");
    machine.node.unload_driver().unwrap();
    let (run, recording) = machine.record(&[]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("nvmlInit_v2 answered 9 DRIVER_NOT_LOADED"), "{}", run.stderr);
    // What the library says without the driver is of use all the same.
    assert!(entries(&recording).iter().any(|entry| entry["call"] == "nvmlErrorString(15)"));
    let compared = machine.compare();
    assert_eq!(compared.rows(), Vec::<Vec<&str>>::new(), "{}", compared.stdout);

    for (name, library) in [("broken", LibraryFile::Broken), ("missing", LibraryFile::Missing)] {
        machine.node.set_library(library).unwrap();
        let run = machine.check(&[]);
        assert_eq!(run.code, Some(2), "{name}: {}", run.stderr);
        // The dynamic loader refuses a library that was cut off, or dies of it.
        let said = ["cannot load", "ended the process that loaded it"];
        assert!(said.iter().any(|said| run.stderr.contains(said)), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("libnvidia-ml.so.1"), "{name}: {}", run.stderr);
        assert!(!machine.file("hardware-fixtures").exists(), "{name}: nothing was recorded");
    }
}

#[test]
fn a_node_without_gpus_is_no_gpu() {
    let machine = Machine::new("h100-nvl-2");
    machine.node.update(|state| state.gpus.clear()).unwrap();
    let run = machine.check(&[]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("lists no GPU"), "{}", run.stderr);
}

#[test]
fn one_command_records_and_compares() {
    let machine = Machine::new("h100-nvl-2");
    let run = machine.check(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(machine.file("hardware-fixtures/nvidia-h100-nvl-550.163.01.json").exists(), "{}", run.stdout);
    assert!(run.stdout.contains("Facts that differ: 0."), "{}", run.stdout);
}

#[test]
fn nothing_is_changed_on_the_machine() {
    let machine = Machine::new("h100-pcie-4");
    let before = machine.node.state().unwrap();
    machine.record(&[]);
    assert_eq!(machine.node.state().unwrap(), before);
    assert_eq!(machine.check(&["--allow-mig"]).code, Some(3), "switching MIG is refused");

    let listed = run(program().arg("list")).stdout;
    let listed: Vec<&str> = listed.lines().collect();
    let writing =
        ["Set", "Clear", "Reset", "Create", "Destroy", "Modify", "Remove", "Freeze", "Discover", "Update"];
    let writers: Vec<&&str> =
        listed.iter().filter(|name| writing.iter().any(|verb| name.contains(verb))).collect();
    // An event set is the process's own; the last one reads a set of GPUs.
    let harmless =
        ["nvmlEventSetCreate", "nvmlEventSetFree", "nvmlEventSetWait_v2", "nvmlSystemGetTopologyGpuSet"];
    assert_eq!(writers, harmless.iter().collect::<Vec<_>>());
    // Every call that the library saw is in the list.
    for call in machine.node.calls() {
        assert!(listed.contains(&call.function), "{}", call.function);
    }
}

#[test]
fn the_documentation_names_every_function() {
    let documentation = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/hardware-check.md");
    let documentation = std::fs::read_to_string(documentation).unwrap();
    let block = documentation.split("<!-- hardware-check list -->").nth(1).expect("the list's beginning");
    let documented: Vec<&str> = block.split("```").nth(1).unwrap().split_whitespace().skip(1).collect();
    let listed = run(program().arg("list")).stdout;
    assert_eq!(documented, listed.lines().collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_no_recording_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, wanted) in [
        ("empty", "", "is no recording"),
        ("other JSON", "{}", "is no recording"),
        ("another format", r#"{"format":9,"anonymised":true,"incomplete":null,"entries":[]}"#, "format 9"),
    ] {
        let file = folder.path().join("file.json");
        std::fs::write(&file, text).unwrap();
        let run = run(program().arg("compare").arg(&file));
        assert_eq!(run.code, Some(3), "{name}");
        assert!(run.stderr.contains(wanted) && run.stderr.contains("file.json"), "{name}: {}", run.stderr);
    }
}
