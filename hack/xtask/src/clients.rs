//! The foreign clients that must believe the fake: NVIDIA's nvidia-smi, NVIDIA's NVML library (whose exports
//! and error strings are the measure), and NVIDIA's Python binding. All are fetched for tests, none is
//! shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::digest::Digest;
use crate::wheels::{self, Wheel};
use crate::{command, debian, store};

/// The driver version whose user space Debian packages.
const DRIVER: &str = "550.163.01";

/// Debian's release and section that hold it.
const SUITE: &str = "trixie non-free";

const DEBIAN_REVISION: &str = "550.163.01-2";

/// Signs Debian's archive; of the package `debian-archive-keyring`.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Package names and the pins of their amd64 files.
const DRIVER_PACKAGES: [(&str, &str); 2] = [
    ("nvidia-smi", "547978bd189284911beace21d83834866026e4d5b2026d8bcb74f6cd147c8be9"),
    ("libnvidia-ml1", "01c1b67d511d7f52c6aa60e14ed56a8eb725d5dc85784a08214d6cb0f4fd1f89"),
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
    store::folder(&format!("nvidia-driver-{DEBIAN_REVISION}"), fetch_driver)
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

/// Downloads the packages with a private apt configuration: nothing of the system's is read or changed but
/// its keyring, and nothing is installed.
fn fetch_driver(folder: &Path) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "NVIDIA's clients are pinned for x86_64 alone: leave the step `tests` out on this machine"
    );
    eprintln!(
        "Fetching NVIDIA's nvidia-smi and NVML library {DRIVER} from Debian {SUITE} (1.2 MB, NVIDIA's licence): \
         the tests run them against the fake node. Unpacked into {}, not installed.",
        folder.parent().unwrap_or(folder).display()
    );
    let work = folder.join("apt");
    for needed in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(work.join(needed))?;
    }
    let sources = work.join("sources.list");
    fs::write(&sources, format!("deb [arch=amd64 signed-by={KEYRING}] {} {SUITE}\n", debian::mirror()?))?;

    command::run_aside(private_apt(&work, &sources).arg("update"))?;
    let wanted = DRIVER_PACKAGES.map(|(package, _)| format!("{package}:amd64={DEBIAN_REVISION}"));
    command::run_aside(private_apt(&work, &sources).arg("download").args(wanted))?;
    for (package, sha256) in DRIVER_PACKAGES {
        let archive = work.join(format!("{package}_{DEBIAN_REVISION}_amd64.deb"));
        Digest::Sha256(sha256).verify(&archive, package)?;
        command::run_aside(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(folder))?;
    }
    fs::remove_dir_all(work)?;
    Ok(())
}

fn private_apt(work: &Path, sources: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    apt.current_dir(work);
    for (option, value) in [
        ("Dir::Etc::sourcelist", sources.display().to_string()),
        ("Dir::Etc::sourceparts", "-".to_owned()),
        ("Dir::State::lists", work.join("lists").display().to_string()),
        ("Dir::Cache", work.join("cache").display().to_string()),
        // The folder may be one that apt's own user cannot enter; the pins guard what comes.
        ("APT::Sandbox::User", "root".to_owned()),
    ] {
        apt.arg("-o").arg(format!("{option}={value}"));
    }
    apt.arg("--quiet=2");
    apt
}
