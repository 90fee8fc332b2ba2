//! The images there are, and what each is made of.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use super::archive::{Entry, Image};
use crate::{binaries, command};

/// Makes one image from files of this machine.
type Make = fn() -> Result<Image>;

/// All images by the names that `cargo xtask image` takes.
pub(super) const IMAGES: [(&str, Make); 2] = [("pause", pause), ("test", test)];

/// Holds the namespaces of a pod.
fn pause() -> Result<Image> {
    Ok(Image {
        reference: "registry.local/pause:1".to_owned(),
        entrypoint: vec!["/pause".to_owned()],
        environment: Vec::new(),
        user: "65535:65535".to_owned(),
        entries: vec![Entry::file("pause", 0o755, fs::read(binaries::pause()?)?)],
    })
}

/// Debian's package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

/// A shell and small tools for the pods of tests.
fn test() -> Result<Image> {
    let busybox = fs::read(BUSYBOX).with_context(|| {
        format!("the image `test` is made of {BUSYBOX}: install the package busybox-static")
    })?;
    ensure!(
        is_static(&busybox),
        "{BUSYBOX} needs shared libraries, which the image `test` has not: install the package busybox-static \
         instead of busybox"
    );
    let applets = command::output(Command::new(BUSYBOX).arg("--list"))?;
    let mut entries = vec![
        Entry::folder("bin", 0o755),
        Entry::file("bin/busybox", 0o755, busybox),
        Entry::folder("etc", 0o755),
        Entry::file("etc/group", 0o644, "root:x:0:\nnobody:x:65534:\n"),
        Entry::file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        ),
        Entry::folder("root", 0o700),
        Entry::folder("tmp", 0o1777),
        // Scripts begin with #!/usr/bin/env.
        Entry::folder("usr", 0o755),
        Entry::link("usr/bin", "../bin"),
    ];
    let applets = applets.lines().filter(|applet| *applet != "busybox");
    entries.extend(applets.map(|applet| Entry::link(&format!("bin/{applet}"), "busybox")));
    Ok(Image {
        reference: "registry.local/test:1".to_owned(),
        entrypoint: vec!["/bin/sh".to_owned()],
        environment: vec!["PATH=/bin".to_owned()],
        user: String::new(),
        entries,
    })
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
