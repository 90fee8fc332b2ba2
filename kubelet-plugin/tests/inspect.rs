//! `dra-kubelet-plugin inspect` as a process, on fake nodes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

use std::path::Path;
use std::process::{Command, Output};

use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::Effect;
use fake_node::{CreateOptions, Description, Node};
use serde_json::Value;

struct Fake {
    node: Node,
    _folder: tempfile::TempDir,
}

impl Fake {
    fn new(description: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let description = Description::builtin(description).unwrap();
        let node =
            Node::create(&description, &folder.path().join("node"), &CreateOptions::default()).unwrap();
        Self { node, _folder: folder }
    }

    fn inspect(&self, arguments: &[&str]) -> Output {
        inspect(&self.node.driver_root(), &self.node.sysfs(), &self.node.procfs(), arguments)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&stdout(&self.inspect(&["-o", "json"]))).unwrap()
    }
}

/// Runs `inspect` in an environment of its own.
fn inspect(driver: &Path, sysfs: &Path, procfs: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dra-kubelet-plugin"))
        .env_clear()
        .arg("inspect")
        .args([Path::new("--driver-root"), driver, Path::new("--sysfs"), sysfs])
        .args([Path::new("--procfs"), procfs])
        .args(arguments)
        .output()
        .unwrap()
}

fn nowhere(arguments: &[&str]) -> Output {
    let empty = tempfile::tempdir().unwrap();
    inspect(empty.path(), &empty.path().join("sys"), &empty.path().join("proc"), arguments)
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_table_fits_80_columns_and_names_every_gpu() {
    for (description, product, memory) in
        [("hgx-h100-8", "NVIDIA H100 80GB HBM3", "81559 MiB"), ("hgx-h200-8", "NVIDIA H200", "143771 MiB")]
    {
        let fake = Fake::new(description);
        let output = fake.inspect(&[]);
        let table = stdout(&output);
        for line in table.lines() {
            let one_word = line.split_whitespace().count() == 1;
            assert!(one_word || line.chars().count() <= 80, "{line}");
        }
        assert!(table.starts_with("Driver 550.163.01   CUDA 12.4   NVML 12.550.163.01\n"), "{table}");
        assert_eq!(table.lines().filter(|line| line.contains(product) && line.contains(memory)).count(), 8);
        for gpu in &fake.node.state().unwrap().gpus {
            assert!(table.contains(&gpu.uuid), "{table}");
        }
        assert!(!table.contains("PROBLEMS"), "{table}");
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn a_wide_terminal_gets_one_table() {
    let fake = Fake::new("h100-nvl-2");
    let output = Command::new(env!("CARGO_BIN_EXE_dra-kubelet-plugin"))
        .env_clear()
        .env("COLUMNS", "200")
        .env("DRIVER_ROOT", fake.node.driver_root())
        .env("SYSFS_ROOT", fake.node.sysfs())
        .env("PROCFS_ROOT", fake.node.procfs())
        .arg("inspect")
        .output()
        .unwrap();
    let table = stdout(&output);
    assert_eq!(table.lines().filter(|line| line.starts_with("NAME")).count(), 1, "{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with("gpu-")).count(), 2, "{table}");
}

#[test]
fn json_and_yaml_say_the_same() {
    let fake = Fake::new("hgx-h100-8");
    let json = fake.json();
    let gpus = json["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), 8);
    assert_eq!(gpus[0]["name"], "gpu-0000-1b-00-0");
    assert_eq!(gpus[0]["pci"]["address"], "0000:1b:00.0");
    assert_eq!(gpus[0]["pci"]["root"], "pci0000:15");
    assert_eq!(gpus[0]["numaNode"], 0);
    assert_eq!(gpus[0]["cudaComputeCapability"]["semantic"], "9.0.0");
    assert_eq!(gpus[0]["memory"]["totalBytes"], 81559_u64 << 20);
    assert_eq!(gpus[0]["nvlink"]["remotes"][0]["kind"], "switch");
    assert_eq!(json["versions"]["driver"]["semantic"], "550.163.1");
    assert_eq!(json["problems"], Value::Array(vec![]));

    let yaml = stdout(&fake.inspect(&["-o", "yaml"]));
    let read: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(read, json);
}

#[test]
fn without_a_driver_it_says_where_it_looked_and_succeeds() {
    let table = stdout(&nowhere(&[]));
    assert!(table.contains("No NVIDIA driver found under"), "{table}");
    assert!(table.contains("/usr/lib64/libnvidia-ml.so.1: missing"), "{table}");
    assert!(table.contains("/run/opengl-driver/lib/libnvidia-ml.so.1: missing"), "{table}");

    let json: Value = serde_json::from_str(&stdout(&nowhere(&["-o", "json"]))).unwrap();
    assert_eq!(json["gpus"], Value::Array(vec![]));
    assert_eq!(json["library"]["found"], Value::Null);
    assert!(json["library"]["looked"].as_array().unwrap().len() > 5);
}

#[test]
fn with_require_gpus_it_fails_where_none_is_usable() {
    let none = nowhere(&["--require-gpus"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("no usable GPU, and --require-gpus was given"), "{}", stderr(&none));

    let fake = Fake::new("h100-nvl-2");
    stdout(&fake.inspect(&["--require-gpus"]));
    fake.node.inject(&Injection::Lost(GpuSelector::Slot(0))).unwrap();
    stdout(&fake.inspect(&["--require-gpus"]));
    fake.node.inject(&Injection::Lost(GpuSelector::Slot(1))).unwrap();
    assert_eq!(fake.inspect(&["--require-gpus"]).status.code(), Some(1));
}

#[test]
fn a_gpu_that_never_answers_does_not_keep_the_program() {
    let fake = Fake::new("h100-nvl-2");
    let fault = Injection::Fault {
        call: "nvmlDeviceGetSerial".into(),
        gpu: Some(GpuSelector::Slot(1)),
        after: 0,
        times: None,
        effect: Effect::Hang,
    };
    fake.node.inject(&fault).unwrap();
    // The program ends while one of its threads is still inside the library.
    let table = stdout(&fake.inspect(&["--timeout", "1s"]));
    assert_eq!(table.lines().filter(|line| line.ends_with("  ok")).count(), 1, "{table}");
    assert_eq!(table.lines().filter(|line| line.ends_with("  unusable")).count(), 1, "{table}");
    assert!(table.contains("does not answer (reading serial)"), "{table}");
}

#[test]
fn the_log_is_json_where_no_terminal_is_and_text_when_asked() {
    let fake = Fake::new("h100-nvl-2");
    let json = fake.inspect(&["--log-level", "debug"]);
    let first: Value = serde_json::from_str(stderr(&json).lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "DEBUG");
    assert_eq!(first["message"], "NVML session opened");
    assert_eq!(first["gpus"], 2);

    let text = stderr(&fake.inspect(&["--log-level", "debug", "--log-format", "text"]));
    assert!(text.contains("DEBUG dra_driver::nvml::session: NVML session opened"), "{text}");
}

#[test]
fn wrong_arguments_are_named() {
    let cases: [(&[&str], &str); 3] = [
        (&["--timeout", "10"], "'10' is not a positive whole number with ms, s, m, h or d"),
        (&["--log-level", "loud=very"], "--log-level 'loud=very' is no level"),
        (&["-o", "xml"], "possible values: table, json, yaml"),
    ];
    for (arguments, wanted) in cases {
        let output = nowhere(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    let fake = Fake::new("h100-nvl-2");
    let mut child = Command::new(env!("CARGO_BIN_EXE_dra-kubelet-plugin"))
        .env_clear()
        .arg("inspect")
        .arg("--driver-root")
        .arg(fake.node.driver_root())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
