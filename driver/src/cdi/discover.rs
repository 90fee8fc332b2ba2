//! Finds the driver's files under the driver root, and says where containers get them.
//!
//! # Where in the container
//! A file comes to the path that it has in the driver root. A dynamic loader, though, asks for a library by its
//! SONAME (`libcuda.so.1`), which on the host is a link beside the file (`libcuda.so.550.163.01`), and it looks in
//! the folders of its own distribution: `/usr/lib/<triplet>` on Debian and Ubuntu, `/usr/lib64` on the others. An
//! image often is of another distribution than the host: an Ubuntu image on Amazon Linux, say. So each library is
//! mounted at its own path, and besides onto its SONAME there and in both of those folders. Nothing has to be run in
//! the container for this, neither hooks nor `ldconfig`. What it does not reach are programs that ask
//! `ldconfig -p` for libraries, and loaders that look elsewhere (NixOS images).

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Roots;
use super::nodes::{Folder as Devices, NodeError};
use super::seen::Seen;
use super::spec::{Edits, Mount};
use crate::nvml::library::{self, FOLDERS, Outcome, Search};
use crate::nvml::{elf, rooted};

/// Folders in which loaders look by themselves.
const LOADERS: [&str; 2] = [
    if cfg!(target_arch = "aarch64") { "/usr/lib/aarch64-linux-gnu" } else { "/usr/lib/x86_64-linux-gnu" },
    "/usr/lib64",
];

/// Folders in which programs may lie, in the order of a shell's search.
const PROGRAM_FOLDERS: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin", "/opt/bin"];

const PROGRAMS: [&str; 7] = [
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
];

/// Folders of firmware, each with a folder for the driver's version. The kernel prefers updates.
const FIRMWARE_FOLDERS: [&str; 2] = ["/lib/firmware/updates/nvidia", "/lib/firmware/nvidia"];

/// Sockets of the driver's daemons, below a folder of [`RUN_FOLDERS`].
const SOCKETS: [&str; 2] = ["nvidia-fabricmanager/socket", "nvidia-persistenced/socket"];
const RUN_FOLDERS: [&str; 2] = ["/run", "/var/run"];

/// Tells OpenCL's loader which library is NVIDIA's.
const OPENCL: &str = "/etc/OpenCL/vendors/nvidia.icd";

const CUDA: &str = "libcuda.so";

const READ_ONLY: [&str; 5] = ["ro", "nosuid", "nodev", "rbind", "rprivate"];
/// A socket has to be writable to be connected to.
const SOCKET: [&str; 5] = ["nosuid", "nodev", "rbind", "rprivate", "noexec"];

/// Why a driver cannot be given to containers.
#[derive(Debug, Error)]
pub enum DiscoverError {
    /// There is no management library.
    #[error(
        "no NVIDIA driver under the driver root {root}: {reason}; install it there, or set --driver-root (DRIVER_ROOT) to where it is"
    )]
    NoDriver {
        /// The driver root as this process sees it.
        root: PathBuf,
        /// What was looked for, or what was wrong with what was found.
        reason: String,
    },
    /// The management library's file name does not end in a version.
    #[error(
        "cannot tell the driver's version from the name of {path}: wanted libnvidia-ml.so.<version>, such as libnvidia-ml.so.550.163.01; install the driver from NVIDIA's or the distribution's packages"
    )]
    NoVersion {
        /// The library, links followed.
        path: PathBuf,
    },
    /// The CUDA library of the same version is missing or damaged.
    #[error(
        "{file} is missing under the driver root {root}: {reason}; the driver's installation is incomplete, install its compute libraries in the same version"
    )]
    NoCuda {
        /// The file's name.
        file: String,
        /// The driver root as this process sees it.
        root: PathBuf,
        /// Where it was looked for, or what is wrong with it.
        reason: String,
    },
    /// A control node.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The driver's version: "550.163.01".
    pub(super) version: String,
    /// What a container gets, in a fixed order.
    pub(super) edits: Edits,
    /// The paths on which this depends, as they were before they were looked into. Some do not exist.
    pub(super) seen: Vec<Seen>,
    /// Files that were left out, with the reason.
    pub(super) skipped: Vec<String>,
}

/// Looks for the driver's files and control nodes.
///
/// # Errors
/// What no container can do without is missing.
pub(super) fn discover(roots: &Roots) -> Result<Found, DiscoverError> {
    let mut seen = vec![Seen::now(Devices::sign(roots))];
    let devices = Devices::of(roots);
    seen.extend(devices.control_paths().map(Seen::now));
    let device_nodes = devices.control_nodes()?;

    let mut looker = Looker { roots, seen, skipped: Vec::new(), mounts: Vec::new() };
    let version = looker.libraries()?;
    looker.firmware(&version);
    looker.programs();
    looker.sockets();
    looker.opencl();

    let Looker { seen, skipped, mut mounts, .. } = looker;
    // A folder before what lies in it, then by name: the order never changes by itself.
    mounts.sort_by_cached_key(|mount| {
        (mount.container_path.matches('/').count(), mount.container_path.clone())
    });
    mounts.dedup_by(|next, first| next.container_path == first.container_path);
    Ok(Found { version, edits: Edits { device_nodes, mounts, ..Edits::default() }, seen, skipped })
}

struct Looker<'a> {
    roots: &'a Roots,
    seen: Vec<Seen>,
    skipped: Vec<String>,
    mounts: Vec<Mount>,
}

impl Looker<'_> {
    /// Finds the libraries, and answers the driver's version.
    fn libraries(&mut self) -> Result<String, DiscoverError> {
        self.note(Path::new("/etc/ld.so.cache"));
        let search = library::find(&self.roots.driver);
        let management = search.found.as_deref().ok_or_else(|| no_driver(&search))?;
        let folder = self.inside(management.parent().unwrap_or(Path::new("/")));
        let version = version_of(management)
            .ok_or_else(|| DiscoverError::NoVersion { path: management.to_owned() })?
            .to_owned();

        let mut folders = vec![folder];
        let cuda = self.cuda_folder(&folders[0], &version)?;
        if !folders.contains(&cuda) {
            folders.push(cuda);
        }
        let suffix = format!(".so.{version}");
        for folder in folders {
            for name in self.list(&folder) {
                let ours = name.starts_with("lib") && name.ends_with(&suffix);
                if ours || name.starts_with("libnvidia-nvvm70.so.") {
                    self.library(&folder, &name, &LOADERS);
                }
            }
            // The loader does not look here: libvdpau opens these by their path.
            let vdpau = folder.join("vdpau");
            for name in self.list(&vdpau) {
                if name.ends_with(&suffix) {
                    self.library(&vdpau, &name, &[]);
                }
            }
        }
        Ok(version)
    }

    /// The folder, inside the driver root, that holds the CUDA library of this version: that of the management
    /// library, else the first of the usual ones.
    fn cuda_folder(&mut self, first: &Path, version: &str) -> Result<PathBuf, DiscoverError> {
        let file = format!("{CUDA}.{version}");
        let root = &self.roots.driver;
        let no_cuda = |reason| DiscoverError::NoCuda { file: file.clone(), root: root.clone(), reason };
        for folder in [first].into_iter().chain(FOLDERS.map(Path::new)) {
            let Ok(real) = library::regular_file(root, &folder.join(&file)) else { continue };
            return match elf::check(&real) {
                Ok(()) => Ok(self.inside(real.parent().unwrap_or(Path::new("/")))),
                Err(error) => Err(no_cuda(format!("{}: {error}", real.display()))),
            };
        }
        Err(no_cuda(format!("it is neither in {} nor in the other usual folders", first.display())))
    }

    /// Mounts a library at its path, onto its SONAME beside it, and onto its SONAME in more folders.
    fn library(&mut self, folder: &Path, name: &str, more: &[&str]) {
        let path = folder.join(name);
        let real = match library::regular_file(&self.roots.driver, &path) {
            Ok(real) => real,
            Err(error) => return self.skip(&path, &error.to_string()),
        };
        let soname = match elf::soname(&real) {
            Ok(soname) => soname,
            Err(error) => return self.skip(&path, &error.to_string()),
        };
        // One that names a path would come to lie anywhere.
        let soname = soname.filter(|soname| !soname.contains('/')).unwrap_or_else(|| name.to_owned());
        self.mount(&real, &path, &READ_ONLY);
        for folder in [folder].into_iter().chain(more.iter().map(Path::new)) {
            self.mount(&real, &folder.join(&soname), &READ_ONLY);
            if soname.starts_with(CUDA) {
                // Programs that open the library themselves often leave out the number.
                self.mount(&real, &folder.join(CUDA), &READ_ONLY);
            }
        }
    }

    fn firmware(&mut self, version: &str) {
        for folder in FIRMWARE_FOLDERS {
            let folder = Path::new(folder).join(version);
            for name in self.list(&folder) {
                if name.starts_with("gsp") && name.ends_with(".bin") {
                    self.file(&folder.join(name));
                }
            }
        }
    }

    fn programs(&mut self) {
        for folder in PROGRAM_FOLDERS {
            self.note(Path::new(folder));
        }
        for program in PROGRAMS {
            for folder in PROGRAM_FOLDERS {
                if self.file(&Path::new(folder).join(program)) {
                    break;
                }
            }
        }
    }

    fn sockets(&mut self) {
        for socket in SOCKETS {
            for run in RUN_FOLDERS {
                let path = Path::new(run).join(socket);
                let Some(real) = self.note(&path) else { continue };
                if is_socket(&real) {
                    // In the container /var/run may not be a link to /run.
                    self.mount(&real, &path, &SOCKET);
                    break;
                }
            }
        }
    }

    fn opencl(&mut self) {
        self.note(Path::new(OPENCL));
        self.file(Path::new(OPENCL));
    }

    /// Mounts a regular file at its path, if it is there.
    fn file(&mut self, path: &Path) -> bool {
        let real = library::regular_file(&self.roots.driver, path);
        if let Ok(real) = &real {
            self.mount(real, path, &READ_ONLY);
        }
        real.is_ok()
    }

    /// The names in a folder inside the driver root, in order. None if there is no such folder.
    fn list(&mut self, folder: &Path) -> Vec<String> {
        let Some(real) = self.note(folder) else { return Vec::new() };
        let entries = match fs_err::read_dir(&real) {
            Ok(entries) => entries,
            Err(error) => {
                self.skip(folder, &error.to_string());
                return Vec::new();
            }
        };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Notes that the result depends on a path inside the driver root, and answers where it leads.
    fn note(&mut self, path: &Path) -> Option<PathBuf> {
        let real = rooted::resolve(&self.roots.driver, path).ok();
        let path = real.clone().unwrap_or_else(|| self.roots.driver.join(relative(path)));
        self.seen.push(Seen::now(path));
        real
    }

    fn mount(&mut self, real: &Path, container: &Path, options: &[&str]) {
        let host = self.roots.host_driver.join(relative(&self.inside(real)));
        self.mounts.push(Mount {
            host_path: host.display().to_string(),
            container_path: container.display().to_string(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        });
    }

    fn skip(&mut self, path: &Path, reason: &str) {
        self.skipped.push(format!("{}: {reason}", path.display()));
    }

    /// What a path below the driver root is called inside it.
    fn inside(&self, path: &Path) -> PathBuf {
        Path::new("/").join(path.strip_prefix(&self.roots.driver).unwrap_or(path))
    }
}

fn no_driver(search: &Search) -> DiscoverError {
    let refused: Vec<String> =
        search.refused().map(|(path, reason)| format!("{}: {reason}", path.display())).collect();
    let reason = if refused.is_empty() {
        let places = search.looked.iter().filter(|place| place.outcome == Outcome::Missing);
        format!("no {} in {} places that drivers use", library::LIBRARY, places.count())
    } else {
        refused.join("; ")
    };
    DiscoverError::NoDriver { root: search.driver_root.clone(), reason }
}

/// "550.163.01" of ".../libnvidia-ml.so.550.163.01".
fn version_of(management: &Path) -> Option<&str> {
    let version = management.file_name()?.to_str()?.strip_prefix("libnvidia-ml.so.")?;
    let numbers =
        version.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    (numbers && version.contains('.')).then_some(version)
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
