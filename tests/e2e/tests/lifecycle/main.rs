//! Clusters start, serve and go without a trace, whatever happens to them. Runs on the machine itself, as root:
//! `cargo test -p e2e --test lifecycle`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use machine::{Machine, Xtask, cgroups};

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: greeter}
spec:
  restartPolicy: Never
  containers:
  - {name: greeter, image: "registry.local/test:1", imagePullPolicy: Never, command: [echo, "a real pod"]}
"#;

/// Runs a pod to its end and returns its log as the API gives it.
fn run_pod(xtask: &Xtask, name: &str) -> String {
    let file = xtask.state.path().join(format!("{name}-pod.yaml"));
    fs::write(&file, POD).unwrap();
    let kubectl = |arguments: &[&str]| {
        let mut words = vec!["exec", "--name", name, "--", "kubectl"];
        words.extend(arguments);
        xtask.must(&words)
    };
    kubectl(&["apply", "-f", &file.display().to_string()]);
    kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/greeter", "--timeout=120s"]);
    kubectl(&["logs", "greeter"])
}

#[test]
fn two_nodes_run_side_by_side_and_leave_nothing() {
    let names = ["lc-one", "lc-two"];
    let before = Machine::now(&names);
    let xtask = Xtask::new();
    std::thread::scope(|scope| {
        for name in names {
            let xtask = &xtask;
            scope.spawn(move || {
                let said = xtask.must(&["up", "--name", name]);
                assert!(
                    said.contains(&format!("cluster exec --name {name}")),
                    "how to use it is not said: {said}"
                );
            });
        }
    });
    for name in names {
        assert_eq!(run_pod(&xtask, name), "a real pod\n");
        assert!(!cgroups(&[name]).is_empty(), "the check of cgroups looks at the wrong place");
    }
    let list = xtask.must(&["list"]);
    assert!(names.iter().all(|name| list.contains(name)), "{list}");
    let status = xtask.must(&["status", "--name", "lc-one"]);
    assert!(status.contains("kubelet") && status.contains("MiB"), "{status}");

    let again = xtask.must(&["up", "--name", "lc-one"]);
    assert!(again.contains("running already"), "{again}");
    let other = xtask.refused(&["up", "--name", "lc-one", "--feature-gate", "DRADeviceTaintRules=true"]);
    assert!(other.contains("--feature-gate") && other.contains("cluster down"), "{other}");

    // One component can go and come back, from outside and from inside.
    xtask.must(&["stop", "kube-scheduler", "--name", "lc-one"]);
    let broken = xtask.refused(&["status", "--name", "lc-one"]);
    assert!(broken.contains("kube-scheduler"), "{broken}");
    let half = xtask.refused(&["up", "--name", "lc-one"]);
    assert!(half.contains("kube-scheduler"), "{half}");
    xtask.must(&[
        "exec",
        "--name",
        "lc-one",
        "--",
        "sh",
        "-c",
        "\"$DRA_XTASK\" cluster start kube-scheduler",
    ]);
    xtask.must(&["status", "--name", "lc-one"]);

    for name in names {
        xtask.must(&["down", "--name", name]);
    }
    assert!(xtask.traces().is_empty(), "{:#?}", xtask.traces());
    assert_eq!(Machine::now(&names), before);
    assert!(xtask.must(&["down", "--name", "lc-one"]).contains("no cluster lc-one"));
}

#[test]
fn down_cleans_up_after_an_up_that_was_killed() {
    let names = ["lc-killed"];
    let before = Machine::now(&names);
    for stage in ["namespaces", "containerd", "kube-apiserver", "node"] {
        let xtask = Xtask::new();
        let mut up = xtask.until_line(&["up", "--name", "lc-killed"], stage);
        up.kill().unwrap();
        up.wait().unwrap();
        assert!(!xtask.traces().is_empty(), "killed after {stage}, and nothing had been started");
        xtask.must(&["down", "--name", "lc-killed"]);
        assert!(xtask.traces().is_empty(), "killed after {stage}: {:#?}", xtask.traces());
        assert_eq!(Machine::now(&names), before, "killed after {stage}");
    }
}

#[test]
fn a_failed_up_can_be_repeated_at_once() {
    let xtask = Xtask::new();
    let mut up = xtask.until_line(&["up", "--name", "lc-again"], "kube-apiserver");
    up.kill().unwrap();
    up.wait().unwrap();
    // What was left half made is told from a running cluster, and `down` makes room.
    xtask.must(&["down", "--name", "lc-again"]);
    xtask.must(&["up", "--name", "lc-again", "--control-plane"]);
    xtask.must(&["down", "--name", "lc-again"]);
    assert!(xtask.traces().is_empty(), "{:#?}", xtask.traces());
}

#[test]
fn an_interrupted_up_takes_everything_down() {
    let names = ["lc-interrupted"];
    let before = Machine::now(&names);
    let xtask = Xtask::new();
    let mut up = xtask.until_line(&["up", "--name", "lc-interrupted"], "containerd");
    // As Ctrl-C does.
    let pid = up.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(!up.wait().unwrap().success());
    assert!(xtask.traces().is_empty(), "{:#?}", xtask.traces());
    assert_eq!(Machine::now(&names), before);
}

/// A folder with the programs of a control plane, or links to them, that any user may run.
fn programs(folder: &Path) -> PathBuf {
    let xtask = Xtask::new();
    xtask.must(&["up", "--name", "lc-programs", "--control-plane"]);
    let settings =
        fs::read_to_string(xtask.state.path().join("dra-driver-xtask/clusters/lc-programs/settings.json"))
            .unwrap();
    xtask.must(&["down", "--name", "lc-programs"]);
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    let programs = folder.join("programs");
    fs::create_dir(&programs).unwrap();
    for kind in ["kubernetes", "clients"] {
        let from = Path::new(settings["programs"][kind].as_str().unwrap());
        for entry in fs::read_dir(from).unwrap() {
            let from = entry.unwrap().path();
            let to = programs.join(from.file_name().unwrap());
            if from.is_symlink() {
                symlink(fs::read_link(&from).unwrap(), to).unwrap();
            } else if from.is_file() {
                fs::copy(&from, to).unwrap();
            }
        }
    }
    programs
}

#[test]
fn a_control_plane_needs_no_root() {
    let mut xtask = Xtask::new();
    let folder = xtask.state.path().to_path_buf();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let programs = programs(&folder);
    // The workspace may lie where nobody else can go.
    let own = folder.join("xtask");
    fs::copy(&xtask.program, &own).unwrap();
    xtask.program = own;
    chown(&folder, Some(65534), Some(65534)).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--"];
    xtask.before = nobody.map(str::to_owned).to_vec();
    xtask.environment.push(("HOME".to_owned(), folder.display().to_string()));
    xtask.environment.push(("XDG_CACHE_HOME".to_owned(), folder.join("cache").display().to_string()));

    let programs = programs.display().to_string();
    xtask.must(&["up", "--name", "lc-nobody", "--control-plane", "--binaries", &programs]);
    let created =
        xtask.must(&["exec", "--name", "lc-nobody", "--", "kubectl", "create", "namespace", "from-nobody"]);
    assert_eq!(created, "namespace/from-nobody created\n");
    xtask.must(&["down", "--name", "lc-nobody"]);
    assert!(xtask.traces().is_empty(), "{:#?}", xtask.traces());

    // A whole node does need root, and says so before anything is built or started.
    let said = xtask.refused(&["up", "--name", "lc-nobody", "--binaries", &programs]);
    assert!(said.contains("root") && said.contains("--control-plane"), "{said}");
    assert!(xtask.traces().is_empty(), "{:#?}", xtask.traces());
}

#[test]
fn a_component_that_dies_is_quoted_and_nothing_stays() {
    let xtask = Xtask::new();
    let programs = programs(xtask.state.path());
    fs::remove_file(programs.join("kube-scheduler")).unwrap();
    fs::write(programs.join("kube-scheduler"), "#!/bin/sh\necho 'no seats left' >&2\nexit 3\n").unwrap();
    fs::set_permissions(programs.join("kube-scheduler"), fs::Permissions::from_mode(0o755)).unwrap();
    let programs = programs.display().to_string();
    let said = xtask.refused(&["up", "--name", "lc-dying", "--control-plane", "--binaries", &programs]);
    for part in ["kube-scheduler", "exit status: 3", "no seats left"] {
        assert!(said.contains(part), "{part:?} is not said: {said}");
    }
    assert!(xtask.traces().is_empty(), "{:#?}", xtask.traces());
    let kept = xtask.state.path().join("dra-driver-xtask/clusters/.failed/lc-dying/kube-scheduler.log");
    assert!(
        said.contains(&kept.parent().unwrap().display().to_string()),
        "where the logs are is not said: {said}"
    );
    assert!(fs::read_to_string(kept).unwrap().contains("no seats left"));
}

#[test]
fn what_is_missing_is_named_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let empty = programs.display().to_string();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    // A namespace of its own, in which a program or the room can be taken away.
    let privately = |script: &str| {
        ["unshare", "--mount", "--", "sh", "-c", &format!("{script} && exec \"$0\" \"$@\"")]
            .map(str::to_owned)
            .to_vec()
    };
    type Change = fn(&mut Xtask, &dyn Fn(&str) -> Vec<String>);
    let cases: [(&str, Change, &[&str], &[&str]); 4] = [
        (
            "a program of the system is missing",
            |xtask, privately| xtask.before = privately("mount --bind /dev/null /usr/bin/nsenter"),
            &["up", "--name", "lc-lacking"],
            &["nsenter", "util-linux"],
        ),
        (
            "no room",
            |xtask, privately| {
                let state = xtask.state.path().display().to_string();
                xtask.before = privately(&format!("mount -t tmpfs -o size=64m tmpfs {state}"));
            },
            &["up", "--name", "lc-lacking"],
            &["too little space", "MiB"],
        ),
        (
            "a folder without the programs",
            |_, _| {},
            &["up", "--name", "lc-lacking", "--control-plane", "--binaries", &empty],
            &["etcd", "kube-apiserver", "kube-scheduler", "kubectl", &empty],
        ),
        (
            "the port is taken",
            |_, _| {},
            &["up", "--name", "lc-lacking", "--control-plane", "--api-port", &port],
            &[&port, "--api-port"],
        ),
    ];
    for (name, change, arguments, parts) in cases {
        let mut xtask = Xtask::new();
        change(&mut xtask, &privately);
        let said = xtask.refused(arguments);
        for part in parts {
            assert!(said.contains(part), "{name}: {part:?} is not said: {said}");
        }
        assert!(xtask.traces().is_empty(), "{name}: {:#?}", xtask.traces());
    }
}
