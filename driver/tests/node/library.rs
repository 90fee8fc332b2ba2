//! Finding the library, and libraries that lie.

use std::path::{Path, PathBuf};
use std::process::Command;

use dra_driver::inventory::{Roots, discover_node};
use dra_driver::nvml::library::{Outcome, find};
use dra_driver::nvml::session::{OpenError, Session};

use super::{Fake, LATE};

const TRIPLET: &str = if cfg!(target_arch = "aarch64") { "aarch64-linux-gnu" } else { "x86_64-linux-gnu" };

/// Builds a library from C functions of these names, each of which answers `returns`.
fn compile(to: &Path, functions: &[&str], returns: u32) {
    let source = to.with_extension("c");
    let body: String = functions
        .iter()
        .map(|name| format!("int {name}(void *a, void *b) {{ (void)a; (void)b; return {returns}; }}\n"))
        .collect();
    fs_err::write(&source, body).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o"])
        .args([to, &source])
        .output()
        .expect("a C compiler, which every Rust toolchain for Linux needs to link");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}

/// A driver root with these bytes as library in Debian's folder.
fn root_with(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("usr/lib").join(TRIPLET);
    fs_err::create_dir_all(&folder).unwrap();
    let path = folder.join("libnvidia-ml.so.1");
    fs_err::write(&path, bytes).unwrap();
    (root, path)
}

/// A driver root on a machine of which the kernel says nothing.
fn bare(root: &Path) -> Roots {
    Roots { driver: root.to_owned(), sysfs: root.join("sys"), procfs: root.join("proc") }
}

#[test]
fn the_library_is_found_wherever_drivers_put_it() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("library.so");
    compile(&library, &["nvmlInit_v2"], 0);
    let debian = format!("usr/lib/{TRIPLET}");
    let debians_own = format!("usr/lib/{TRIPLET}/nvidia/current");
    let folders =
        [&debian, &debians_own, "usr/lib64", "usr/lib", "lib64", "usr/lib/wsl/lib", "run/opengl-driver/lib"];
    for place in folders {
        let root = tempfile::tempdir().unwrap();
        let there = root.path().join(place);
        fs_err::create_dir_all(&there).unwrap();
        fs_err::copy(&library, there.join("libnvidia-ml.so.550.163.01")).unwrap();
        std::os::unix::fs::symlink("libnvidia-ml.so.550.163.01", there.join("libnvidia-ml.so.1")).unwrap();
        let search = find(root.path());
        assert_eq!(search.found, Some(there.join("libnvidia-ml.so.550.163.01")), "{place}");
        assert_eq!(search.looked.last().unwrap().outcome, Outcome::Found, "{place}");
    }
}

#[test]
fn the_linkers_cache_is_asked_first() {
    let root = tempfile::tempdir().unwrap();
    for place in ["opt/odd/lib", "usr/lib64", "etc"] {
        fs_err::create_dir_all(root.path().join(place)).unwrap();
    }
    for place in ["opt/odd/lib", "usr/lib64"] {
        compile(&root.path().join(place).join("libnvidia-ml.so.1"), &["nvmlInit_v2"], 0);
    }
    fs_err::write(root.path().join("etc/ld.so.conf"), "/opt/odd/lib\n").unwrap();
    // The cache of a real ldconfig.
    let made = Command::new("/sbin/ldconfig").arg("-r").arg(root.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let search = find(root.path());
    assert_eq!(search.found, Some(root.path().join("opt/odd/lib/libnvidia-ml.so.1")));

    // What the cache names is gone: the usual folders are still looked at.
    fs_err::remove_file(root.path().join("opt/odd/lib/libnvidia-ml.so.1")).unwrap();
    let search = find(root.path());
    assert_eq!(search.found, Some(root.path().join("usr/lib64/libnvidia-ml.so.1")));
    assert_eq!(search.looked[0].path, Path::new("/opt/odd/lib/libnvidia-ml.so.1"));
    assert_eq!(search.looked[0].outcome, Outcome::Missing);

    // A damaged cache is said, and costs nothing else.
    fs_err::write(root.path().join("etc/ld.so.cache"), "garbage").unwrap();
    let search = find(root.path());
    assert!(search.found.is_some());
    let [(path, reason)] = search.refused().collect::<Vec<_>>()[..] else { panic!("{search:?}") };
    assert_eq!(path, Path::new("/etc/ld.so.cache"));
    assert!(reason.contains("not a glibc ld.so.cache"), "{reason}");
}

#[test]
fn a_file_that_is_no_library_of_this_machine_is_refused_by_name_and_reason() {
    let whole = fs_err::read(Fake::new("h100-nvl-2").node.library()).unwrap();
    let mut other_machine = whole.clone();
    // ELF machine: aarch64 on x86_64, x86_64 on aarch64.
    other_machine[18] = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty", b"", "the file is empty"),
        ("garbage", b"this is not a library", "no ELF header"),
        ("a linker script", b"INPUT(libnvidia-ml.so.550)", "no ELF header"),
        ("cut short", &whole[..64 << 10], "it is cut short"),
        ("another machine's", &other_machine, "(64-bit), this program for"),
    ];
    for (name, bytes, wanted) in cases {
        let (root, _) = root_with(bytes);
        let roots = bare(root.path());
        let inventory = discover_node(&roots, LATE);
        assert_eq!(inventory.gpus, [], "{name}");
        let [problem] = &inventory.problems[..] else { panic!("{name}: {:?}", inventory.problems) };
        assert!(problem.message.contains(wanted), "{name}: {}", problem.message);
        let place = format!("/usr/lib/{TRIPLET}/libnvidia-ml.so.1: ");
        assert!(problem.message.contains(&place), "{name}: {}", problem.message);
    }
}

#[test]
fn a_named_pipe_is_not_opened() {
    let root = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(root.path().join("usr/lib64")).unwrap();
    let pipe = root.path().join("usr/lib64/libnvidia-ml.so.1");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let search = find(root.path());
    assert_eq!(search.found, None);
    let [(_, reason)] = search.refused().collect::<Vec<_>>()[..] else { panic!("{search:?}") };
    assert_eq!(reason, "it is not a regular file");
}

#[test]
fn a_library_with_an_elf_header_and_nothing_behind_it_is_refused_by_the_loader() {
    let whole = fs_err::read(Fake::new("h100-nvl-2").node.library()).unwrap();
    // A header without program headers.
    let mut hollow = whole[..64].to_vec();
    hollow[56..58].fill(0);
    let (_root, path) = root_with(&hollow);
    let error = Session::open(&path, LATE).unwrap_err();
    assert!(matches!(error, OpenError::Load { .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn a_library_that_lacks_what_is_needed_is_refused_with_the_names() {
    let (_root, path) = root_with(b"");
    fs_err::remove_file(&path).unwrap();
    compile(&path, &["nvmlInit_v2", "nvmlShutdown", "nvmlDeviceGetCount_v2"], 0);
    let error = Session::open(&path, LATE).unwrap_err();
    let OpenError::Symbols { missing, .. } = &error else { panic!("{error}") };
    assert_eq!(missing, &["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetPciInfo_v3"]);
}

#[test]
fn a_library_that_lacks_what_is_optional_gives_what_it_has() {
    let (root, path) = root_with(b"");
    fs_err::remove_file(&path).unwrap();
    let source = path.with_extension("c");
    // One GPU that knows its UUID and its place, and nothing else; a driver before nvmlInitWithFlags.
    fs_err::write(
        &source,
        r#"
        #include <string.h>
        int nvmlInit_v2(void) { return 0; }
        int nvmlShutdown(void) { return 0; }
        int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
        int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = "gpu"; return 0; }
        int nvmlDeviceGetUUID(void *device, char *uuid, unsigned size) { strcpy(uuid, "GPU-1"); return 0; }
        int nvmlDeviceGetPciInfo_v3(void *device, char *info) {
            memset(info, 0, 68);
            strcpy(info + 36, "00000000:1B:00.0");
            return 0;
        }
        "#,
    )
    .unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-w", "-o"]).args([&path, &source]).status().unwrap();
    assert!(compiled.success());

    let roots = bare(root.path());
    let inventory = discover_node(&roots, LATE);
    let [gpu] = &inventory.gpus[..] else { panic!("{inventory:#?}") };
    assert_eq!(gpu.name.as_deref(), Some("gpu-0000-1b-00-0"));
    assert_eq!(gpu.uuid.as_deref(), Some("GPU-1"));
    assert!(!gpu.usable, "no memory is known of it");
    let serial = gpu.unread.iter().find(|unread| unread.field == "serial").unwrap();
    assert_eq!(serial.reason, "this driver is too old to tell");
}

#[test]
fn a_library_that_was_replaced_under_its_name_is_loaded_anew() {
    let fake = Fake::new("h100-nvl-2");
    let path = find(&fake.node.driver_root()).found.unwrap();
    for _ in 0..3 {
        let session = Session::open(&path, LATE).unwrap();
        assert_eq!(session.gpus().len(), 2);
        session.close(LATE).unwrap();
        assert_eq!(
            mapped(&path),
            1,
            "each is mapped as long as the process lives, the others as deleted files"
        );

        let new = path.with_extension("new");
        fs_err::copy(&path, &new).unwrap();
        fs_err::rename(&new, &path).unwrap();
        assert_eq!(mapped(&path), 0);
    }
}

/// How many files at this path the process executes that are still there.
fn mapped(path: &Path) -> usize {
    let maps = fs_err::read_to_string("/proc/self/maps").unwrap();
    let executed = maps.lines().filter(|line| line.contains("r-xp"));
    executed.filter(|line| line.ends_with(path.to_str().unwrap())).count()
}
