//! NVIDIA's own programs believe that a fake node is a real one.
//!
//! These tests need NVIDIA's nvidia-smi, NVML library and Python binding, which `cargo xtask test` fetches. A plain
//! `cargo test` leaves them out: they are built with the feature `foreign-clients` only. To run them alone:
//!
//! ```sh
//! eval "$(cargo xtask clients)" && cargo test -p fake-nvml --features foreign-clients --test foreign
//! ```

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper that fails is a failed test; NVIDIA's library is loaded and asked"
)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod boards;
mod library;
mod log;
mod nvidia_smi;
mod pynvml;
mod stubs;
mod topology;

use std::path::PathBuf;
use std::process::{Command, Output};

use support::{TestNode, run};

/// What one of the variables that `cargo xtask clients` prints names.
fn foreign(name: &str) -> PathBuf {
    std::env::var_os(name).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{name} is not set: run 'cargo xtask test', or first eval \"$(cargo xtask clients)\"")
    })
}

/// A program that finds the node's library as `libnvidia-ml.so.1`.
fn on_node(program: PathBuf, node: &TestNode) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", node.library().parent().unwrap());
    command
}

/// Runs nvidia-smi.
fn smi(node: &TestNode, arguments: &[&str]) -> Output {
    run(on_node(foreign("FOREIGN_NVIDIA_SMI"), node).args(arguments))
}

/// What nvidia-smi prints when all is well.
fn smi_text(node: &TestNode, arguments: &[&str]) -> String {
    let output = smi(node, arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "nvidia-smi {arguments:?}: {}\n{text}", output.status);
    text
}

/// Rows of `nvidia-smi --query-gpu`.
fn smi_query(node: &TestNode, fields: &str) -> Vec<String> {
    let query = format!("--query-gpu={fields}");
    smi_text(node, &[&query, "--format=csv,noheader"]).lines().map(str::to_owned).collect()
}
