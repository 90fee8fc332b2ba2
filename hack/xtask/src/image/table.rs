//! The images there are, and what each is made of.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use super::archive::{Entry, Image, Layer};
use super::libraries;
use crate::{binaries, command};

/// Makes one image from files of this machine.
type Make = fn() -> Result<Image>;

/// All images by the names that `cargo xtask image` takes.
pub(super) const IMAGES: [(&str, Make); 3] = [("pause", pause), ("test", test), ("cuda", cuda)];

/// Holds the namespaces of a pod.
fn pause() -> Result<Image> {
    Ok(Image {
        reference: "registry.local/pause:1".to_owned(),
        entrypoint: vec!["/pause".to_owned()],
        environment: Vec::new(),
        user: "65535:65535".to_owned(),
        labels: Vec::new(),
        layer: Layer::Plain,
        entries: vec![Entry::file("pause", 0o755, fs::read(binaries::pause()?)?)],
    })
}

/// Debian's package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

/// A shell and small tools for the pods of tests.
fn test() -> Result<Image> {
    let mut entries = base("bin")?;
    // Scripts begin with #!/usr/bin/env.
    entries.extend([Entry::folder("usr", 0o755), Entry::link("usr/bin", "../bin")]);
    Ok(Image {
        reference: "registry.local/test:1".to_owned(),
        entrypoint: vec!["/bin/sh".to_owned()],
        environment: vec!["PATH=/bin".to_owned()],
        user: String::new(),
        labels: Vec::new(),
        layer: Layer::Plain,
        entries,
    })
}

/// What the images of CUDA programs have in common: a C library, in the folders in which a dynamic linker looks, and a
/// shell. All that is NVIDIA's comes from the node, by CDI.
fn cuda() -> Result<Image> {
    let mut entries = base("usr/bin")?;
    // As Debian, Ubuntu and Red Hat have it.
    entries.push(Entry::link("bin", "usr/bin"));
    entries.extend(libraries::entries()?);
    Ok(Image {
        reference: "registry.local/cuda:1".to_owned(),
        entrypoint: vec!["/bin/sh".to_owned()],
        environment: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            // As NVIDIA's images have it; the driver's edits must win.
            "NVIDIA_VISIBLE_DEVICES=all".to_owned(),
        ],
        user: String::new(),
        labels: Vec::new(),
        layer: Layer::Plain,
        entries,
    })
}

/// busybox with all its names in a folder, and what every program expects.
fn base(programs: &str) -> Result<Vec<Entry>> {
    let busybox = fs::read(BUSYBOX).with_context(|| {
        format!("the cluster's images are made of {BUSYBOX}: install the package busybox-static")
    })?;
    ensure!(
        is_static(&busybox),
        "{BUSYBOX} needs shared libraries, which the image `test` has not: install the package busybox-static \
         instead of busybox"
    );
    let applets = command::output(Command::new(BUSYBOX).arg("--list"))?;
    let mut entries = vec![
        Entry::folder(programs, 0o755),
        Entry::file(&format!("{programs}/busybox"), 0o755, busybox),
        Entry::folder("etc", 0o755),
        Entry::file("etc/group", 0o644, "root:x:0:\nnobody:x:65534:\n"),
        Entry::file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        ),
        Entry::folder("root", 0o700),
        Entry::folder("tmp", 0o1777),
    ];
    let applets = applets.lines().filter(|applet| *applet != "busybox");
    entries.extend(applets.map(|applet| Entry::link(&format!("{programs}/{applet}"), "busybox")));
    Ok(entries)
}

/// Whether an ELF program names no dynamic linker, all of which are called ld-something.
fn is_static(program: &[u8]) -> bool {
    [&b"/ld-linux"[..], b"/ld-musl", b"/ld64.so"]
        .iter()
        .all(|linker| !program.windows(linker.len()).any(|window| window == *linker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_dynamic_linker_is_told_from_a_static_one() {
        assert!(is_static(b"\x7fELF no name of a linker"));
        assert!(!is_static(b"\x7fELF\0/lib64/ld-linux-x86-64.so.2\0"));
        assert!(!is_static(b"\x7fELF\0/lib/ld-musl-x86_64.so.1\0"));
        // The test itself is linked dynamically, or with musl not; either way its own linker says which.
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(is_static(&own), cfg!(target_feature = "crt-static"));
    }
}
