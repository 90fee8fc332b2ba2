//! The program as a container runtime runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A bundle whose configuration names a root folder.
fn bundle(root: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir(folder.path().join("rootfs")).unwrap();
    let root = root.replace("BUNDLE", folder.path().to_str().unwrap());
    fs_err::write(folder.path().join("config.json"), root).unwrap();
    folder
}

fn state(bundle: &Path) -> String {
    format!(
        r#"{{"ociVersion":"1.2.0","id":"c","status":"creating","pid":1,"bundle":"{}"}}"#,
        bundle.display()
    )
}

/// Runs the hook with nothing in its environment but what an image's `LD_*` may have put there.
fn run(words: &[&str], state: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dra-cdi-hook"))
        .args(words)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its command line does not read.
    let _ = child.stdin.take().unwrap().write_all(state.as_bytes());
    child.wait_with_output().unwrap()
}

const LINK: [&str; 3] = ["create-symlinks", "--link", "libcuda.so.1::/usr/lib64/libcuda.so"];

#[test]
fn the_root_is_the_bundles() {
    for config in [
        r#"{"ociVersion":"1.2.0","root":{"path":"rootfs","readonly":true},"hooks":{}}"#,
        r#"{"root":{"path":"BUNDLE/rootfs"}}"#,
    ] {
        let bundle = bundle(config);
        let output = run(&LINK, &state(bundle.path()));
        assert!(output.status.success(), "{config}: {output:?}");
        let link = fs_err::read_link(bundle.path().join("rootfs/usr/lib64/libcuda.so")).unwrap();
        assert_eq!(link, Path::new("libcuda.so.1"), "{config}");

        let other = bundle.path().join("state.json");
        fs_err::write(&other, state(bundle.path())).unwrap();
        let spec = ["disable-device-node-modification", "--container-spec", other.to_str().unwrap()];
        assert!(run(&spec, "").status.success(), "{config}: the state from a file");
    }
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let good = bundle(r#"{"root":{"path":"rootfs"}}"#);
    let (rootless, broken) = (bundle(r#"{"root":{"path":"nowhere"}}"#), bundle("{"));
    for (name, words, state, part) in [
        ("no state", &LINK[..], String::new(), "the container's OCI state is not understood"),
        (
            "no bundle",
            &LINK[..],
            state(Path::new("/nowhere")),
            "cannot read /nowhere/config.json: No such file",
        ),
        ("no configuration", &LINK[..], state(broken.path()), "config.json is not understood"),
        ("no root", &LINK[..], state(rootless.path()), "/nowhere: No such file"),
        ("no command", &["make-coffee"][..], state(good.path()), "there is no command 'make-coffee'"),
    ] {
        let output = run(words, &state);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        let first = told.lines().next().unwrap();
        assert!(first.starts_with("dra-cdi-hook: ") && first.contains(part), "{name}: {told}");
    }
}
