//! The driver's user space: libraries, programs, firmware.

use std::path::{Path, PathBuf};

use super::elf;
use super::tree::Tree;

/// Debian's folder for libraries of this machine.
#[cfg(target_arch = "x86_64")]
pub(super) const TRIPLET: &str = "x86_64-linux-gnu";
/// Debian's folder for libraries of this machine.
#[cfg(target_arch = "aarch64")]
pub(super) const TRIPLET: &str = "aarch64-linux-gnu";

/// What a library's SONAME ends in.
#[derive(Clone, Copy)]
enum Soname {
    /// `libX.so.N`, to which a link leads.
    Major(u32),
    /// The file's own name, so no link.
    Full,
}
use Soname::{Full, Major};

/// The driver's libraries, without "lib" and ".so.<version>", and the branch in which each appeared.
const LIBRARIES: &[(&str, Soname, u16)] = &[
    ("cuda", Major(1), 0),
    ("cudadebugger", Major(1), 0),
    ("nvcuvid", Major(1), 0),
    ("nvidia-allocator", Major(1), 0),
    ("nvidia-cfg", Major(1), 0),
    ("nvidia-eglcore", Full, 0),
    ("nvidia-encode", Major(1), 0),
    ("nvidia-fbc", Major(1), 0),
    ("nvidia-glcore", Full, 0),
    ("nvidia-glsi", Full, 0),
    ("nvidia-glvkspirv", Full, 0),
    ("nvidia-gpucomp", Full, 535),
    ("nvidia-ngx", Major(1), 0),
    ("nvidia-nvvm", Major(4), 0),
    ("nvidia-opencl", Major(1), 0),
    ("nvidia-opticalflow", Major(1), 0),
    ("nvidia-pkcs11", Full, 0),
    ("nvidia-pkcs11-openssl3", Full, 0),
    ("nvidia-present", Full, 570),
    ("nvidia-ptxjitcompiler", Major(1), 0),
    ("nvidia-rtcore", Full, 0),
    ("nvidia-sandboxutils", Major(1), 565),
    ("nvidia-tls", Full, 0),
    ("nvidia-vksc-core", Major(1), 0),
    ("nvoptix", Major(1), 0),
    ("EGL_nvidia", Major(0), 0),
    ("GLESv1_CM_nvidia", Major(1), 0),
    ("GLESv2_nvidia", Major(2), 0),
    ("GLX_nvidia", Major(0), 0),
    ("vdpau/libvdpau_nvidia", Major(1), 0),
];

const PROGRAMS: [&str; 5] = [
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
];

/// The folder of a driver root that holds the libraries.
pub fn library_folder(driver_root: &Path) -> PathBuf {
    driver_root.join("usr/lib").join(TRIPLET)
}

/// The state file below a driver root: the firmware that Hopper boards load, in the folder of a version.
pub fn state_file(driver_root: &Path, version: &str) -> PathBuf {
    driver_root.join(firmware(version)).join("gsp_ga10x.bin")
}

fn firmware(version: &str) -> PathBuf {
    Path::new("lib/firmware/nvidia").join(version)
}

/// Everything that bears the driver's version, below the driver root. `library` is the fake libnvidia-ml.
pub(super) fn versioned(version: &str, branch: u16, library: &Path) -> Tree {
    let mut tree = Tree::default();
    let folder = Path::new("usr/lib").join(TRIPLET);

    for (name, soname, since) in LIBRARIES {
        if branch < *since {
            continue;
        }
        let (below, stem) = match name.rsplit_once('/') {
            Some((below, stem)) => (folder.join(below), stem.to_owned()),
            None => (folder.clone(), format!("lib{name}")),
        };
        let file = format!("{stem}.so.{version}");
        let soname = match soname {
            Major(major) => format!("{stem}.so.{major}"),
            Full => file.clone(),
        };
        tree.file(below.join(&file), elf::shared_object(&soname));
        if soname != file {
            tree.symlink(below.join(soname), file);
        }
    }

    let file = format!("libnvidia-ml.so.{version}");
    tree.copy(folder.join(&file), library, 0o644);
    tree.symlink(folder.join("libnvidia-ml.so.1"), file);

    let firmware = firmware(version);
    tree.dir(firmware.clone());
    tree.file(firmware.join("gsp_tu10x.bin"), "placeholder\n");
    tree
}

/// What stays when the driver's version changes.
pub(super) fn unversioned() -> Tree {
    let mut tree = Tree::default();
    let folder = format!("usr/lib/{TRIPLET}");
    tree.symlink(format!("{folder}/libcuda.so"), "libcuda.so.1");
    for program in PROGRAMS {
        let script = format!(
            "#!/bin/sh\necho '{program}: a placeholder on a node without GPUs; it does nothing' >&2\nexit 1\n"
        );
        tree.file_with_mode(format!("usr/bin/{program}"), script, 0o755);
    }
    tree.file("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n");
    tree.file(format!("etc/ld.so.conf.d/{TRIPLET}.conf"), format!("/lib/{TRIPLET}\n/{folder}\n"));
    tree.dir("run/nvidia-persistenced");
    tree
}
