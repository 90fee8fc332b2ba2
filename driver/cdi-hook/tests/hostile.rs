//! Images that are laid out to lead the hook astray: nothing outside of the container's root changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dra_cdi_hook::arguments::{Command, Link};
use dra_cdi_hook::root::Root;
use dra_cdi_hook::run;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

/// How often each race is run.
const TRIES: usize = 10_000;

/// A container's root, and beside it a folder of the host.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scene = Self { folder };
        for path in ["usr/lib/x86_64-linux-gnu", "usr/local/cuda/compat", "etc/ld.so.conf.d"] {
            fs_err::create_dir_all(scene.root().join(path)).unwrap();
        }
        // What a racing hook or a link could reach is laid out as the container is.
        for path in ["x86_64-linux-gnu", "etc/ld.so.conf.d"] {
            fs_err::create_dir_all(scene.outside().join(path)).unwrap();
        }
        fs_err::write(scene.outside().join("ld.so.cache"), "the host's").unwrap();
        fs_err::write(scene.outside().join("etc/ld.so.cache"), "the host's").unwrap();
        fs_err::write(scene.root().join("usr/local/cuda/compat/libcuda.so.575.51.03"), "").unwrap();
        scene
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    /// Puts something in the place of what is in the image.
    fn replace(&self, path: &str, make: impl FnOnce(&Path)) {
        let path = self.root().join(path);
        match fs_err::symlink_metadata(&path) {
            Ok(there) if there.is_dir() => fs_err::remove_dir_all(&path).unwrap(),
            Ok(_) => fs_err::remove_file(&path).unwrap(),
            Err(_) => {}
        }
        make(&path);
    }

    fn run(&self, command: &Command) -> Result<(), String> {
        let root = Root::open(&self.root()).unwrap();
        run(command, &root).map_err(|error| error.to_string())
    }
}

fn link(path: &str) -> Command {
    let link = Link { target: "libcuda.so.1".into(), path: path.into() };
    Command::CreateSymlinks { links: vec![link] }
}

fn compat() -> Command {
    Command::EnableCudaCompat { host_driver_version: "550.163.01".into() }
}

/// All files below a folder, with what they contain or say.
fn listing(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs_err::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs_err::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                left.push(path.clone());
            }
            let content = match kind {
                kind if kind.is_file() => fs_err::read_to_string(&path).unwrap(),
                kind if kind.is_symlink() => fs_err::read_link(&path).unwrap().display().to_string(),
                _ => String::new(),
            };
            all.push((path, content));
        }
    }
    all.sort();
    all
}

#[test]
fn links_of_the_image_lead_nowhere_outside() {
    type Lay = fn(&Scene);
    let cases: [(&str, Lay, Command, Result<(), &str>); 9] = [
        (
            "an absolute link in the place of a folder",
            |s| s.replace("usr/lib", |at| symlink(s.outside(), at).unwrap()),
            link("/usr/lib/x86_64-linux-gnu/libcuda.so"),
            Err("Too many levels of symbolic links"),
        ),
        (
            "a link upwards in the place of a folder",
            |s| s.replace("usr/lib", |at| symlink("../../../../outside", at).unwrap()),
            link("/usr/lib/x86_64-linux-gnu/libcuda.so"),
            Err("Too many levels of symbolic links"),
        ),
        (
            "a link upwards to a folder of the image",
            |s| s.replace("usr/lib", |at| symlink("../../../../etc", at).unwrap()),
            link("/usr/lib/libcuda.so"),
            Ok(()),
        ),
        (
            "a link of /proc",
            |s| s.replace("usr/lib", |at| symlink("/proc/self/cwd", at).unwrap()),
            link("/usr/lib/libcuda.so"),
            Err("Too many levels of symbolic links"),
        ),
        (
            "the name is a link to a file of the host",
            |s| {
                let at = "usr/lib/x86_64-linux-gnu/libcuda.so";
                s.replace(at, |at| symlink(s.outside().join("ld.so.cache"), at).unwrap());
            },
            link("/usr/lib/x86_64-linux-gnu/libcuda.so"),
            Ok(()),
        ),
        ("a path upwards", |_| {}, link("/usr/../../outside/libcuda.so"), Err("no plain path")),
        (
            "the cache is a link to the host's",
            |s| s.replace("etc/ld.so.cache", |at| symlink(s.outside().join("ld.so.cache"), at).unwrap()),
            compat(),
            Ok(()),
        ),
        (
            "the loader's settings are a folder of the host",
            |s| {
                s.replace("etc/ld.so.conf.d", |at| symlink(s.outside().join("etc/ld.so.conf.d"), at).unwrap())
            },
            compat(),
            Err("Too many levels of symbolic links"),
        ),
        (
            "/etc is a folder of the host",
            |s| s.replace("etc", |at| symlink(s.outside().join("etc"), at).unwrap()),
            compat(),
            Err("Too many levels of symbolic links"),
        ),
    ];
    for (name, lay, command, wanted) in cases {
        let scene = Scene::new();
        lay(&scene);
        let before = listing(&scene.outside());
        let done = scene.run(&command);
        assert_eq!(listing(&scene.outside()), before, "{name}: the host's files have changed");
        match wanted {
            Ok(()) => assert_eq!(done, Ok(()), "{name}"),
            Err(part) => {
                let error = done.expect_err(name);
                assert!(error.contains(part), "{name}: {error}");
            }
        }
    }
}

#[test]
fn what_is_no_file_neither_holds_up_nor_is_written_to() {
    let pipe = Scene::new();
    pipe.replace("etc/ld.so.cache", |at| {
        rustix::fs::mknodat(CWD, at, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    });
    assert_eq!(pipe.run(&compat()), Ok(()));
    let cache = pipe.root().join("etc/ld.so.cache");
    assert!(fs_err::symlink_metadata(cache).unwrap().is_file(), "a file takes the pipe's place");

    let folder = Scene::new();
    folder.replace("etc/ld.so.cache", |at| fs_err::create_dir(at).unwrap());
    let error = folder.run(&compat()).unwrap_err();
    assert!(error.starts_with("cannot write /etc/ld.so.cache in the container: Is a directory"), "{error}");
    let left = fs_err::read_dir(folder.root().join("etc")).unwrap().count();
    assert_eq!(left, 2, "nothing half-done is left");
}

/// Swaps two names for each other until it is told to end.
fn swap(one: &Path, other: &Path, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
    }
}

/// Runs `act` many times while a folder of the image is swapped for a link to the host's. Returns how often it went well.
fn raced(scene: &Scene, path: &str, target: &Path, act: impl Fn(usize) -> bool) -> usize {
    let folder = scene.root().join(path);
    let decoy = scene.folder.path().join("decoy");
    symlink(target, &decoy).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| swap(&folder, &decoy, &over));
        let well = (0..TRIES).filter(|number| act(*number)).count();
        over.store(true, Ordering::Relaxed);
        well
    })
}

#[test]
fn a_folder_that_is_swapped_for_a_link_meanwhile_changes_nothing_outside() {
    type Act = fn(&Scene) -> bool;
    let acts: [(&str, &str, &str, Act); 4] = [
        ("a link", "usr/lib", "../../../outside", |scene| {
            scene.run(&link("/usr/lib/x86_64-linux-gnu/libcuda.so")).is_ok()
        }),
        ("a link in a new folder", "usr/lib", "../../../outside", |scene| {
            scene.run(&link("/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so")).is_ok()
        }),
        ("the loader's settings", "etc", "../../outside/etc", |scene| scene.run(&compat()).is_ok()),
        // The command writes it when something is new in it alone.
        ("the loader's cache", "etc", "../../outside/etc", |scene| {
            let folder = Root::open(&scene.root()).unwrap().make_folder(Path::new("/etc"));
            folder.is_ok_and(|folder| folder.put_file("ld.so.cache".as_ref(), b"the image's", 0o644).is_ok())
        }),
    ];
    for (name, path, upwards, act) in acts {
        for is_upwards in [true, false] {
            let scene = Scene::new();
            let absolute = scene.outside().join(if path == "etc" { "etc" } else { "" });
            let target = if is_upwards { Path::new(upwards) } else { &absolute };
            let before = listing(&scene.outside());
            let well = raced(&scene, path, target, |_| act(&scene));
            let told = format!("{name}, swapped for {}", target.display());
            assert_eq!(listing(&scene.outside()), before, "{told}: the host's files have changed");
            assert!(well > 0, "{told}: it never goes well");
        }
    }
}

/// The same by plain paths does write outside: the race above is one that can be lost.
#[test]
fn plain_paths_lose_this_race() {
    let scene = Scene::new();
    let before = listing(&scene.outside()).len();
    raced(&scene, "usr/lib", &scene.outside(), |number| {
        let path = scene.root().join(format!("usr/lib/x86_64-linux-gnu/{number}"));
        symlink("libcuda.so.1", path).is_ok()
    });
    assert!(listing(&scene.outside()).len() > before);
}
