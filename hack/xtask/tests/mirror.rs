//! `deploy/container/mirror.sh` with stand-ins for skopeo, crane and docker, which record how they were called.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fs_err as fs;

/// Records the call, and does what the script relies on: docker names what it loads, and crane reads and writes
/// folders.
const STAND_IN: &str = r#"#!/bin/sh
name=${0##*/}
echo "$name $*" >> "$RECORD"
[ "$name $1" != "$FAILS" ] || exit 7
case "$name $1" in
    "docker load") echo "Loaded image: registry.local/first:1"; echo "Loaded image: as-it-was:1" ;;
    "crane pull") mkdir "$4" && echo '{}' > "$4/index.json" ;;
    "crane push") [ -f "$2/index.json" ] ;;
esac
# Whatever reads standard input must not eat the list of images.
cat > /dev/null
"#;

/// A folder with some of the tools, and a list of two images.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn with(tools: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("programs");
        fs::create_dir(&programs).unwrap();
        for tool in tools {
            let program = programs.join(tool);
            fs::write(&program, STAND_IN).unwrap();
            fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        // What the script itself needs of the system, and none of the tools that may be installed there.
        for program in ["bash", "cat", "dirname", "mkdir", "mktemp", "rm", "sed", "sh", "tail", "tar", "tr"] {
            let system = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(program));
            let system = system.iter().find(|path| path.exists()).expect(program);
            symlink(system, programs.join(program)).unwrap();
        }
        fs::write(folder.path().join("images"), "# a comment\n\nfirst:1\ndeep/second:2.0").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the script with the list of two images.
    fn run(&self, arguments: &[&str], fails: &str) -> Output {
        let mut script = Command::new("bash");
        script.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/container/mirror.sh"));
        script.args(arguments).arg("--images").arg(self.path("images"));
        script.env("PATH", self.path("programs")).env("RECORD", self.path("record")).env("FAILS", fails);
        script.current_dir(self.folder.path()).output().unwrap()
    }

    /// How the tools were called, with the script's own temporary folder as TEMPORARY.
    fn record(&self) -> String {
        let record = fs::read_to_string(self.path("record")).unwrap_or_default();
        let words = record.split(' ').map(|word| match word.split_once("/layout") {
            Some((_, rest)) if word.starts_with('/') => format!("TEMPORARY/layout{rest}"),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn each_tool_is_called_for_each_image() {
    let copy = ["copy", "--from", "from.example/x", "--to", "harbor.example/gpu/"];
    let save = ["save", "--from", "from.example/x", "--to", "carried"];
    let push = ["push", "--from", "carried", "--to", "harbor.example/gpu"];
    for (tool, steps) in [
        (
            "skopeo",
            [
                (
                    copy,
                    "skopeo copy --all docker://from.example/x/first:1 docker://harbor.example/gpu/first:1\n\
                     skopeo copy --all docker://from.example/x/deep/second:2.0 \
                     docker://harbor.example/gpu/deep/second:2.0\n",
                ),
                (
                    save,
                    "skopeo copy --all docker://from.example/x/first:1 oci-archive:carried/first_1.tar\n\
                     skopeo copy --all docker://from.example/x/deep/second:2.0 \
                     oci-archive:carried/deep_second_2.0.tar\n",
                ),
                (
                    push,
                    "skopeo copy --all oci-archive:carried/first_1.tar docker://harbor.example/gpu/first:1\n\
                     skopeo copy --all oci-archive:carried/deep_second_2.0.tar \
                     docker://harbor.example/gpu/deep/second:2.0\n",
                ),
            ],
        ),
        (
            "crane",
            [
                (
                    copy,
                    "crane copy from.example/x/first:1 harbor.example/gpu/first:1\n\
                     crane copy from.example/x/deep/second:2.0 harbor.example/gpu/deep/second:2.0\n",
                ),
                (
                    save,
                    "crane pull --format=oci from.example/x/first:1 TEMPORARY/layout\n\
                     crane pull --format=oci from.example/x/deep/second:2.0 TEMPORARY/layout\n",
                ),
                (
                    push,
                    "crane push TEMPORARY/layout harbor.example/gpu/first:1\n\
                     crane push TEMPORARY/layout harbor.example/gpu/deep/second:2.0\n",
                ),
            ],
        ),
        (
            "docker",
            [
                (
                    copy,
                    "docker pull from.example/x/first:1\n\
                     docker tag from.example/x/first:1 harbor.example/gpu/first:1\n\
                     docker push harbor.example/gpu/first:1\n\
                     docker pull from.example/x/deep/second:2.0\n\
                     docker tag from.example/x/deep/second:2.0 harbor.example/gpu/deep/second:2.0\n\
                     docker push harbor.example/gpu/deep/second:2.0\n",
                ),
                (
                    save,
                    "docker pull from.example/x/first:1\n\
                     docker save --output carried/first_1.tar from.example/x/first:1\n\
                     docker pull from.example/x/deep/second:2.0\n\
                     docker save --output carried/deep_second_2.0.tar from.example/x/deep/second:2.0\n",
                ),
                (
                    push,
                    "docker load --input carried/first_1.tar\n\
                     docker tag as-it-was:1 harbor.example/gpu/first:1\n\
                     docker push harbor.example/gpu/first:1\n\
                     docker load --input carried/deep_second_2.0.tar\n\
                     docker tag as-it-was:1 harbor.example/gpu/deep/second:2.0\n\
                     docker push harbor.example/gpu/deep/second:2.0\n",
                ),
            ],
        ),
    ] {
        let place = Place::with(&[tool]);
        for (arguments, record) in steps {
            if tool != "crane" && arguments[0] == "push" {
                // The stand-ins of crane alone have written archives.
                for file in ["first_1.tar", "deep_second_2.0.tar"] {
                    fs::write(place.path("carried").join(file), "").unwrap();
                }
            }
            let dry = place.run(&[&arguments[..], &["--dry-run"]].concat(), "");
            assert_eq!((dry.status.code(), place.record().as_str()), (Some(0), ""), "{tool} {arguments:?}");
            let output = place.run(&arguments, "");
            assert_eq!(output.status.code(), Some(0), "{tool} {arguments:?}: {}", text(&output.stderr));
            assert_eq!(place.record(), record, "{tool} {arguments:?}");
            let summary = format!("{}: 2 images with {tool}\n", arguments[0]);
            assert!(text(&output.stdout).ends_with(&summary), "{}", text(&output.stdout));
            // The dry run says what was done, one command a line; the script's own are among them.
            for line in text(&dry.stdout).lines().filter(|line| line.starts_with(&format!("+ {tool} copy"))) {
                assert!(record.contains(line.trim_start_matches("+ ")), "{line}");
            }
            fs::remove_file(place.path("record")).unwrap();
        }
    }
}

#[test]
fn the_first_tool_that_is_installed_is_taken() {
    for (installed, asked, taken) in [
        (&["docker", "crane", "skopeo"][..], None, "skopeo"),
        (&["docker", "crane"], None, "crane"),
        (&["docker"], None, "docker"),
        (&["docker", "crane", "skopeo"], Some("docker"), "docker"),
    ] {
        let place = Place::with(installed);
        let mut arguments = vec!["copy", "--from", "a.example", "--to", "b.example", "--dry-run"];
        arguments.extend(asked.iter().flat_map(|tool| ["--tool", tool]));
        let output = place.run(&arguments, "");
        assert!(text(&output.stdout).ends_with(&format!("with {taken}\n")), "{installed:?} {asked:?}");
    }
}

#[test]
fn a_tool_that_fails_ends_the_script() {
    for (tool, fails) in [
        ("skopeo", "skopeo copy"),
        ("crane", "crane copy"),
        ("docker", "docker pull"),
        ("docker", "docker tag"),
        ("docker", "docker push"),
    ] {
        let place = Place::with(&[tool]);
        let output = place.run(&["copy", "--from", "a.example", "--to", "b.example"], fails);
        assert_eq!(output.status.code(), Some(7), "{fails}: {}", text(&output.stdout));
        let record = place.record();
        assert!(record.lines().last().unwrap().starts_with(fails), "{record}");
        assert!(!text(&output.stdout).contains("images with"), "{fails}");
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let place = Place::with(&["skopeo"]);
    for (arguments, message) in [
        (&["--from", "a", "--to", "b"][..], "say what to do: copy, save or push; see mirror.sh --help"),
        (&["copy", "--to", "b"], "copy needs --from"),
        (&["push", "--from", "a"], "push needs --to"),
        (&["copy", "--all"], "unknown argument --all; see mirror.sh --help"),
        (
            &["copy", "--from", "a", "--to", "b", "--tool", "podman"],
            "unknown tool podman (--tool); it knows skopeo, crane and docker",
        ),
        (&["copy", "--from", "a", "--to", "b", "--tool", "crane"], "crane (--tool) is not installed"),
        (
            &["push", "--from", "nowhere", "--to", "b"],
            "cannot read nowhere/first_1.tar: was the image saved into this folder?",
        ),
    ] {
        let output = place.run(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stderr), format!("mirror.sh: {message}\n"), "{arguments:?}");
        assert_eq!(place.record(), "", "{arguments:?}");
    }

    let nothing = Place::with(&[]);
    let output = nothing.run(&["copy", "--from", "a", "--to", "b"], "");
    assert_eq!(text(&output.stderr), "mirror.sh: none of skopeo, crane and docker is installed\n");

    for (list, message) in [
        ("first\n", "mirror.sh: LIST names first without a tag\n"),
        ("# nothing\n", "mirror.sh: LIST names no image\n"),
    ] {
        fs::write(place.path("images"), list).unwrap();
        let output = place.run(&["copy", "--from", "a", "--to", "b"], "");
        let file = place.path("images").display().to_string();
        assert_eq!(text(&output.stderr), message.replace("LIST", &file), "{list}");
    }
}
