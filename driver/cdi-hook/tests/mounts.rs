//! What has to do with mounts, each test in a mount namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use dra_cdi_hook::arguments::{Command, Link};
use dra_cdi_hook::cache::Cache;
use dra_cdi_hook::root::Root;
use dra_cdi_hook::run;
use rustix::mount::{MountFlags, mount, mount_bind};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// Runs a test, which has this name, in a process with mounts of its own.
fn with_mounts(name: &str, test: impl FnOnce(&Path)) {
    const INSIDE: &str = "DRA_CDI_HOOK_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return test(tempfile::tempdir().unwrap().path());
    }
    let mut unshare = Process::new("unshare");
    unshare.args(["--mount", "--propagation=private"]);
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]).env(INSIDE, "1");
    let output = unshare.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}{error}");
}

/// A root with the driver's libraries mounted, as the CDI specs have it.
fn root(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    let libraries = root.join(&LIBRARIES[1..]);
    fs_err::create_dir_all(&libraries).unwrap();
    fs_err::create_dir_all(root.join("etc")).unwrap();
    fs_err::write(folder.join("library"), "").unwrap();
    for name in ["libcuda.so.550.163.01", "libcuda.so.1", "libnvidia-ml.so.550.163.01", "nvidia-smi"] {
        let path = libraries.join(name);
        fs_err::write(&path, "").unwrap();
        mount_bind(folder.join("library"), &path).unwrap();
    }
    // The image's own, and a link to one of the driver's.
    fs_err::write(libraries.join("libz.so.1"), "").unwrap();
    symlink("libz.so.1", libraries.join("libz.so")).unwrap();
    symlink("libnvidia-ml.so.550.163.01", libraries.join("libnvidia-ml.so.1")).unwrap();
    symlink("nothing", libraries.join("libnothing.so.1")).unwrap();
    root
}

fn update() -> Command {
    Command::UpdateLdcache { folders: vec![LIBRARIES.into(), "/usr/lib/nowhere".into()] }
}

/// The names and folders in the cache of a container.
fn cached(root: &Path) -> Vec<String> {
    let cache = Cache::read(&fs_err::read(root.join("etc/ld.so.cache")).unwrap()).unwrap();
    cache.entries.iter().map(|entry| String::from_utf8(entry.path.clone()).unwrap()).collect()
}

#[test]
fn the_cache_names_what_was_mounted_and_no_other() {
    with_mounts("the_cache_names_what_was_mounted_and_no_other", |folder| {
        let root = root(folder);
        let opened = Root::open(&root).unwrap();
        run(&update(), &opened).unwrap();
        let wanted =
            ["libnvidia-ml.so.550.163.01", "libnvidia-ml.so.1", "libcuda.so.550.163.01", "libcuda.so.1"];
        assert_eq!(cached(&root), wanted.map(|name| format!("{LIBRARIES}/{name}")));
        let before = fs_err::metadata(root.join("etc/ld.so.cache")).unwrap().modified().unwrap();
        run(&update(), &opened).unwrap();
        let after = fs_err::metadata(root.join("etc/ld.so.cache")).unwrap().modified().unwrap();
        assert_eq!(before, after, "nothing new, nothing written");
    });
}

#[test]
fn newer_libraries_of_the_image_come_before_the_drivers() {
    with_mounts("newer_libraries_of_the_image_come_before_the_drivers", |folder| {
        for (image, driver, preferred) in
            [("575.51.03", "550.163.01", true), ("550.54.15", "570.86.15", false)]
        {
            let folder = folder.join(image);
            fs_err::create_dir(&folder).unwrap();
            let root = root(&folder);
            let compat = "/usr/local/cuda/compat";
            fs_err::create_dir_all(root.join(&compat[1..])).unwrap();
            for name in [format!("libcuda.so.{image}"), "libcuda.so.1".to_owned()] {
                fs_err::write(root.join(&compat[1..]).join(name), "").unwrap();
            }
            let opened = Root::open(&root).unwrap();
            let enable = Command::EnableCudaCompat { host_driver_version: driver.into() };
            run(&enable, &opened).unwrap();
            run(&update(), &opened).unwrap();
            let first = cached(&root).into_iter().find(|path| path.ends_with("/libcuda.so.1")).unwrap();
            let wanted = if preferred { compat } else { LIBRARIES };
            assert_eq!(first, format!("{wanted}/libcuda.so.1"), "{image} on {driver}");
            // What a later ldconfig in the container reads.
            let setting = root.join("etc/ld.so.conf.d/00-compat-dra.conf");
            assert_eq!(setting.exists(), preferred, "{image} on {driver}");
        }
    });
}

#[test]
fn what_is_mounted_from_elsewhere_is_not_written_to() {
    with_mounts("what_is_mounted_from_elsewhere_is_not_written_to", |folder| {
        let root = root(folder);
        let volume = folder.join("volume");
        fs_err::create_dir_all(&volume).unwrap();
        let (etc, mounted) = (root.join("etc"), root.join("usr/lib/mounted"));
        fs_err::create_dir_all(&mounted).unwrap();
        for target in [&etc, &mounted] {
            mount_bind(&volume, target).unwrap();
        }
        let opened = Root::open(&root).unwrap();
        run(&update(), &opened).unwrap();
        let link = |path: &str| {
            let link = Link { target: "libcuda.so.1".into(), path: path.into() };
            run(&Command::CreateSymlinks { links: vec![link] }, &opened)
        };
        link("/usr/lib/mounted/libcuda.so").unwrap();
        assert_eq!(fs_err::read_dir(&volume).unwrap().count(), 0, "the volume stays empty");
        // A mounted file stays, too.
        link(&format!("{LIBRARIES}/libcuda.so.1")).unwrap();
        let there = root.join(&LIBRARIES[1..]).join("libcuda.so.1");
        assert!(fs_err::symlink_metadata(there).unwrap().is_file());
    });
}

#[test]
fn the_drivers_settings_forbid_device_nodes_in_the_container_and_cannot_be_changed() {
    const SETTINGS: &str = "ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileMode: 438\n";
    with_mounts(
        "the_drivers_settings_forbid_device_nodes_in_the_container_and_cannot_be_changed",
        |folder| {
            // What NVIDIA's kernel module has in /proc.
            mount("tmpfs", "/proc/driver", "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>).unwrap();
            fs_err::create_dir_all("/proc/driver/nvidia").unwrap();
            fs_err::write("/proc/driver/nvidia/params", SETTINGS).unwrap();
            let root = root(folder);
            let own = root.join("proc/driver/nvidia");
            fs_err::create_dir_all(&own).unwrap();
            fs_err::write(own.join("params"), SETTINGS).unwrap();
            let opened = Root::open(&root).unwrap();
            run(&Command::DisableDeviceNodeModification, &opened).unwrap();
            let seen = fs_err::read_to_string(own.join("params")).unwrap();
            assert_eq!(seen, SETTINGS.replace("Files: 1", "Files: 0"));
            let error = std::fs::write(own.join("params"), "ModifyDeviceFiles: 1").unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
            assert_eq!(fs_err::read_to_string("/proc/driver/nvidia/params").unwrap(), SETTINGS, "the host's");
        },
    );
}
