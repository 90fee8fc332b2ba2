//! Brings what the other commands need: Debian packages, Rust components, cargo-deny, the foreign clients,
//! Prometheus.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;

use crate::debian::Package;
use crate::{clients, command, debian, prometheus, store, wheels};

/// The version of cargo-deny. It is built from its source: nobody whom we know publishes it ready-made where a
/// package manager checks what it fetches.
const CARGO_DENY: &str = "0.20.2";

/// Something that a step cannot run without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Rustfmt,
    Clippy,
    CargoDeny,
    Shellcheck,
    ForeignClients,
    Prometheus,
    Cluster,
    CppCompiler,
}

impl Need {
    /// Everything there is.
    pub(crate) const ALL: [Self; 8] = [
        Self::Rustfmt,
        Self::Clippy,
        Self::CargoDeny,
        Self::Shellcheck,
        Self::ForeignClients,
        Self::Prometheus,
        Self::Cluster,
        Self::CppCompiler,
    ];
}

/// Provides what is asked for; does and says nothing about what is there already.
pub(crate) fn provide(needs: &[Need]) -> Result<()> {
    debian::install(&missing_packages(needs))?;
    add_rust_components(needs)?;
    if needs.contains(&Need::CargoDeny) {
        cargo_deny()?;
    }
    if needs.contains(&Need::ForeignClients) {
        clients::ensure()?;
    }
    if needs.contains(&Need::Prometheus) {
        prometheus::ensure()?;
    }
    Ok(())
}

fn missing_packages(needs: &[Need]) -> Vec<Package> {
    let mut packages = Vec::new();
    if needs.contains(&Need::Shellcheck) && !command::succeeds(Command::new("shellcheck").arg("--version")) {
        packages.push(Package { name: "shellcheck", why: "checks the shell scripts" });
    }
    if needs.contains(&Need::CppCompiler) && !command::succeeds(Command::new("c++").arg("--version")) {
        packages.push(Package { name: "g++", why: "compiles libFuzzer, which feeds hostile inputs" });
    }
    if needs.contains(&Need::ForeignClients) && wheels::python().is_none() {
        packages.push(Package { name: "python3", why: "runs NVIDIA's Python binding of NVML in tests" });
        packages.push(Package { name: "python3-pip", why: "fetches that binding" });
    }
    if needs.contains(&Need::ForeignClients) || needs.contains(&Need::Prometheus) {
        if !Path::new(debian::KEYRING).exists() {
            let why = "proves what comes from Debian: NVIDIA's nvidia-smi and Prometheus, for tests";
            packages.push(Package { name: "debian-archive-keyring", why });
        }
        if debian::mirror_needs_installer() {
            packages.push(Package { name: "debootstrap", why: "knows where Debian's archive is" });
        }
    }
    if needs.contains(&Need::Cluster) {
        let missing = |(path, ..): &&(&str, &str, &str)| !Path::new(path).exists();
        packages.extend(CLUSTER.iter().filter(missing).map(|(_, name, why)| Package { name, why }));
    }
    packages
}

/// What the test cluster takes from Debian: a file of each package, its name, and its use.
const CLUSTER: [(&str, &str, &str); 9] = [
    ("/usr/sbin/runc", "runc", "runs the containers of the test cluster"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins", "connects its pods"),
    ("/bin/busybox", "busybox-static", "is what its test image is made of"),
    ("/usr/sbin/ip", "iproute2", "makes its network"),
    ("/usr/bin/nsenter", "util-linux", "makes its namespaces and enters them"),
    ("/usr/bin/setpriv", "util-linux", "runs tests as another user"),
    ("/usr/bin/curl", "curl", "downloads official releases, where that is asked for"),
    ("/usr/bin/strace", "strace", "kills programs at chosen moments in tests"),
    ("/usr/bin/openssl", "openssl", "checks the cluster's certificates in tests"),
];

fn add_rust_components(needs: &[Need]) -> Result<()> {
    let mut missing = Vec::new();
    for (need, component, subcommand) in
        [(Need::Rustfmt, "rustfmt", "fmt"), (Need::Clippy, "clippy", "clippy")]
    {
        if needs.contains(&need) && !command::succeeds(Command::new("cargo").args([subcommand, "--version"]))
        {
            missing.push(component);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("The Rust toolchain lacks {}; the checks need them.", missing.join(" and "));
    command::run_aside(Command::new("rustup").args(["component", "add"]).args(missing))
        .context("install these components as you installed Rust, then run this command again")
}

/// The path of cargo-deny at the pinned version.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let folder = store::folder(&format!("cargo-deny-{CARGO_DENY}"), |folder| {
        eprintln!(
            "Building cargo-deny {CARGO_DENY}, once on this machine: it checks licences and sources of \
             dependencies. It takes a few minutes."
        );
        let target = folder.join("target");
        let mut install = Command::new("cargo");
        // An unoptimised build takes a third of the time, and the check itself seconds either way.
        install.args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--debug"]);
        install.arg("--root").arg(folder).arg("--target-dir").arg(&target);
        command::run_aside(&mut install)?;
        Ok(fs::remove_dir_all(target)?)
    })?;
    Ok(folder.join("bin/cargo-deny"))
}
