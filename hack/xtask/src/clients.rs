//! The foreign clients that must believe the fake: NVIDIA's nvidia-smi, NVIDIA's NVML library (whose exports
//! and error strings are the measure), and NVIDIA's Python binding. All are fetched for tests, none is
//! shipped.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::debian::{self, Pinned};
use crate::store;
use crate::wheels::{self, Wheel};

/// The driver version whose user space Debian packages.
const DRIVER: &str = "550.163.01";

/// Debian's release and section that hold it.
const SUITE: &str = "trixie non-free";

const DEBIAN_REVISION: &str = "550.163.01-2";

/// Package names and the pins of their amd64 files.
const DRIVER_PACKAGES: [Pinned; 2] = [
    Pinned {
        package: "nvidia-smi",
        version: DEBIAN_REVISION,
        sha256: "547978bd189284911beace21d83834866026e4d5b2026d8bcb74f6cd147c8be9",
    },
    Pinned {
        package: "libnvidia-ml1",
        version: DEBIAN_REVISION,
        sha256: "01c1b67d511d7f52c6aa60e14ed56a8eb725d5dc85784a08214d6cb0f4fd1f89",
    },
];

const PYNVML: Wheel = Wheel {
    package: "nvidia-ml-py",
    version: "13.615.71",
    file: "nvidia_ml_py-13.615.71-py3-none-any.whl",
    sha256: "959bf4adf6fe1308e4bd739e722236b0d1ec8392e2cefad33ff70c311380b9b6",
};

/// Where the foreign clients are on this machine.
#[derive(Debug)]
pub(crate) struct Clients {
    nvidia_smi: PathBuf,
    nvml: PathBuf,
    pynvml: PathBuf,
    python: PathBuf,
}

impl Clients {
    /// The environment variables by which tests find them.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("FOREIGN_NVIDIA_SMI", &self.nvidia_smi),
            ("FOREIGN_NVML", &self.nvml),
            ("FOREIGN_PYNVML", &self.pynvml),
            ("FOREIGN_PYTHON", &self.python),
        ]
    }

    /// Prints lines for a shell to evaluate.
    pub(crate) fn print_exports(&self) {
        for (name, path) in self.environment() {
            println!("export {name}='{}'", path.display());
        }
    }
}

/// Provides NVIDIA's nvidia-smi, and says where it is; needs what [`ensure()`] needs, but for Python.
pub(crate) fn nvidia_smi() -> Result<PathBuf> {
    Ok(driver()?.join("usr/lib/nvidia/current/nvidia-smi"))
}

fn driver() -> Result<PathBuf> {
    store::folder(&format!("nvidia-driver-{DEBIAN_REVISION}"), |folder| {
        eprintln!(
            "Fetching NVIDIA's nvidia-smi and NVML library {DRIVER} from Debian {SUITE} (1.2 MB, NVIDIA's licence): \
             the tests run them against the fake node."
        );
        debian::unpack(SUITE, &DRIVER_PACKAGES, folder)
    })
}

/// Provides the clients, fetching what this machine lacks; needs [`crate::setup::Need::ForeignClients`].
pub(crate) fn ensure() -> Result<Clients> {
    let driver = driver()?;
    let pynvml = store::folder(&format!("{}-{}", PYNVML.package, PYNVML.version), |folder| {
        eprintln!("Fetching NVIDIA's Python binding of NVML: the tests read the fake node with it.");
        wheels::unpack(&PYNVML, folder)
    })?;
    Ok(Clients {
        nvidia_smi: nvidia_smi()?,
        nvml: driver.join(format!("usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.{DRIVER}")),
        pynvml,
        python: wheels::python_path()?,
    })
}
