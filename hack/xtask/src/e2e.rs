//! The end-to-end steps of `cargo xtask test`: whole clusters, and the tests that run beside and inside them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::binaries::{self, Containerd, Go, Kubernetes, Level, Source, Wanted};
use crate::steps::ALL_TESTS;
use crate::summary::Count;
use crate::{command, image, prometheus};

/// Tests of the whole workspace, so that cargo takes what the step `build` has built: for `e2e` alone it would
/// build the dependencies again, with fewer features.
const TESTS: [&str; 3] = ["test", "--workspace", ALL_TESTS];
/// The test targets that run inside a cluster.
const INSIDE: [&str; 19] = [
    "--test=pods",
    "--test=gpu_pods",
    "--test=documentation",
    "--test=image",
    "--test=gpu_troubles",
    "--test=at_once",
    "--test=broken_links",
    "--test=kubelet_parity",
    "--test=slices",
    "--test=events",
    "--test=crashes",
    "--test=uninstall",
    "--test=chart",
    "--test=webhook",
    "--test=webhook_pods",
    "--test=observe",
    "--test=translate",
    "--test=explain",
    "--test=kubectl_dra",
];
/// How many of them, the first ones, run on every pairing of releases.
const EVERYWHERE: usize = 4;
/// The environment variable that names the recording plugin to the tests.
const RECORDING_PLUGIN: &str = "DRA_RECORDING_PLUGIN";

/// A pairing of upstream's releases that tests run on.
#[derive(Debug, Clone, Copy)]
struct Pairing {
    control_plane: Kubernetes,
    kubelet: Kubernetes,
    containerd: Containerd,
}

/// What every run uses.
const DEFAULT: Pairing =
    Pairing { control_plane: Kubernetes::V1_36, kubelet: Kubernetes::V1_36, containerd: Containerd::V2 };

/// The others, for the long lane: the oldest release, the newest, a node that is upgraded after its control
/// plane, and the containerd of older nodes.
const MATRIX: [Pairing; 4] = [
    Pairing { control_plane: Kubernetes::V1_34, kubelet: Kubernetes::V1_34, ..DEFAULT },
    Pairing { control_plane: Kubernetes::V1_37, kubelet: Kubernetes::V1_37, ..DEFAULT },
    Pairing { kubelet: Kubernetes::V1_34, ..DEFAULT },
    Pairing { containerd: Containerd::V1_7, ..DEFAULT },
];

impl Pairing {
    fn wanted(self) -> Wanted {
        let Self { control_plane, kubelet, containerd } = self;
        Wanted { level: Level::Node, kubernetes: control_plane, kubelet, containerd }
    }

    fn flags(self) -> [String; 4] {
        [
            format!("--kubernetes={}", self.control_plane.minor()),
            format!("--kubelet={}", self.kubelet.minor()),
            format!("--containerd={}", self.containerd.series()),
            "--fake-node=hgx-h100-8".to_owned(),
        ]
    }
}

/// Provides upstream's programs, the images and the recording plugin; with `long`, of all releases. Looks at what our own
/// programs need, too.
pub(crate) fn programs(long: bool) -> Result<()> {
    binaries::provide(&DEFAULT.wanted(), &Source::CacheOrBuild)?;
    if long {
        for pairing in MATRIX {
            binaries::provide(&pairing.wanted(), &Source::CacheOrBuild)?;
        }
    }
    image::provide()?;
    image::check_oldest_glibc()?;
    let go = Go::find()?;
    let modules = Path::new("hack/cluster");
    let output = recording_plugin()?;
    command::run(
        go.command(modules).args(["build", "-trimpath", "-o"]).arg(output).arg("./recording-plugin"),
    )?;
    // Not main.go: to look at it, vet would compile all of Kubernetes where the cache has the program alone.
    command::run(go.command(modules).args([
        "vet",
        "-trimpath",
        "./allocator-oracle",
        "./cel-oracle",
        "./recording-plugin",
    ]))?;
    let badly_formatted = command::output(Command::new(go.gofmt()).args(["-l", "hack/cluster"]))?;
    ensure!(badly_formatted.is_empty(), "not as gofmt has it:\n{badly_formatted}");
    Ok(())
}

fn recording_plugin() -> Result<PathBuf> {
    Ok(std::path::absolute("target/recording-plugin")?)
}

/// The tests that start and end clusters of their own.
pub(crate) fn lifecycle(long: bool) -> (Result<()>, Count) {
    let mut cargo = Command::new("cargo");
    // Two clusters at a time are what a small machine can carry.
    cargo.args(TESTS).args(["--test=lifecycle", "--", "--test-threads=2"]);
    if long {
        cargo.arg("--include-ignored");
    }
    counted(&mut cargo)
}

/// The tests inside a cluster, on the releases that users have today.
pub(crate) fn inside(long: bool) -> (Result<()>, Count) {
    on(DEFAULT, "test", &INSIDE, long)
}

/// Pods on every other pairing of releases.
pub(crate) fn matrix() -> (Result<()>, Count) {
    let mut all = Count::default();
    let mut failed = Vec::new();
    for pairing in MATRIX {
        let (result, count) = on(pairing, "matrix", &INSIDE[..EVERYWHERE], true);
        all += count;
        if let Err(error) = result {
            failed.push(format!("{}: {error:#}", pairing.flags().join(" ")));
        }
    }
    let result = if failed.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(failed.join("\n"))) };
    (result, all)
}

/// Starts a node of these releases with the product's image on it, runs the test targets inside, and ends it whatever became of them.
fn on(pairing: Pairing, name: &str, targets: &[&str], long: bool) -> (Result<()>, Count) {
    let up = || -> Result<()> {
        cluster(&["down", "--name", name], &[])?;
        cluster(&["up", "--name", name], &pairing.flags())?;
        let image = ["image", "dra-driver", "--debug", "--into", name];
        command::run(Command::new(command::own_path()?).args(image))
    };
    if let Err(error) = up() {
        let down = cluster(&["down", "--name", name], &[]);
        return (down.and(Err(error)), Count::default());
    }
    let tests = command::own_path().and_then(|xtask| {
        let mut exec = Command::new(xtask);
        exec.args(["cluster", "exec", "--name", name, "--"]);
        exec.arg("cargo").args(TESTS).arg("--offline").args(targets);
        if long {
            exec.args(["--", "--include-ignored"]);
        }
        exec.env(RECORDING_PLUGIN, recording_plugin()?);
        exec.envs(prometheus::ensure()?);
        Ok(exec)
    });
    let (result, count) = match tests {
        Ok(mut exec) => counted(&mut exec),
        Err(error) => (Err(error), Count::default()),
    };
    let logs = if result.is_err() { cluster(&["logs", "--name", name], &[]) } else { Ok(()) };
    let down = cluster(&["down", "--name", name], &[]);
    (result.and(logs).and(down), count)
}

/// Runs tests, and counts them by what they print.
fn counted(tests: &mut Command) -> (Result<()>, Count) {
    let mut count = Count::default();
    let result = command::run_watched(tests, |line| {
        if let Some(program) = Count::from_line(line) {
            count += program;
        }
    });
    if result.is_ok() && count.passed == 0 {
        return (Err(anyhow::anyhow!("`{}` ran no test at all", command::line(tests))), count);
    }
    (result, count)
}

fn cluster(arguments: &[&str], flags: &[String]) -> Result<()> {
    command::run(Command::new(command::own_path()?).arg("cluster").args(arguments).args(flags))
}
