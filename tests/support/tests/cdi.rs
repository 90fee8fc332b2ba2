//! CDI specs applied to containers, against what the specification's own Go library makes of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests end tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};
use support::cdi::{Error, Registry};

#[derive(Deserialize)]
struct Golden {
    containers: BTreeMap<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default = "plain")]
    container: String,
    folders: Vec<BTreeMap<String, Value>>,
    devices: Vec<String>,
}

fn plain() -> String {
    "plain".to_owned()
}

/// Writes folders of spec files under `root`; content that is text is written as it is, else as JSON.
fn write(root: &Path, folders: &[BTreeMap<String, Value>]) -> Vec<PathBuf> {
    let write = |(number, files): (usize, &BTreeMap<String, Value>)| {
        let folder = root.join(number.to_string());
        fs::create_dir(&folder).unwrap();
        for (name, content) in files {
            let content = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
            fs::write(folder.join(name), content).unwrap();
        }
        folder
    };
    folders.iter().enumerate().map(write).collect()
}

/// A registry of one folder with one spec, and the folder.
fn one(spec: &Value) -> (Registry, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    let folders = write(root.path(), &[BTreeMap::from([("a.json".to_owned(), spec.clone())])]);
    (Registry::load(&folders), root)
}

#[test]
fn as_the_go_library_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cdi/golden");
    let Golden { containers, cases } =
        serde_saphyr::from_str(&fs::read_to_string(folder.join("cases.yaml")).unwrap()).unwrap();
    let want: BTreeMap<String, Value> =
        serde_json::from_str(&fs::read_to_string(folder.join("want.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), want.len(), "a case for each answer");

    let mut differences = Vec::new();
    for case in &cases {
        let root = tempfile::tempdir().unwrap();
        let registry = Registry::load(&write(root.path(), &case.folders));
        let mut container = containers[&case.container].clone();
        let before = container.clone();

        let mut got = json!({});
        match registry.apply(&case.devices, &mut container) {
            Ok(()) => got["container"] = container,
            Err(error) => {
                assert_eq!(container, before, "{}: a failure changes nothing", case.name);
                match error {
                    Error::Unresolvable(devices) => got["unresolved"] = json!(devices),
                    Error::Edit(_) => got["refused"] = json!(true),
                }
            }
        }
        let invalid: Vec<_> =
            registry.errors().keys().map(|path| path.strip_prefix(root.path()).unwrap()).collect();
        if !invalid.is_empty() {
            got["invalid"] = json!(invalid);
        }
        if got != want[&case.name] {
            differences.push(format!("{}\n  got  {got}\n  want {}", case.name, want[&case.name]));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_errors_name_what_is_wrong() {
    let spec = |edits: Value| json!({"cdiVersion": "1.1.0", "kind": "a.com/gpu", "devices": [{"name": "d", "containerEdits": edits}]});
    let cases = [
        (
            "version",
            json!({"cdiVersion": "7"}),
            "cdiVersion \"7\" is not a released version of the CDI specification",
        ),
        (
            "too old",
            json!({"cdiVersion": "0.4.0", "kind": "a.com/gpu", "devices": [{"name": "0", "containerEdits": {"env": ["A=b"]}}]}),
            "cdiVersion 0.4.0 is too old for what the spec uses: it needs 0.5.0",
        ),
        ("kind", json!({"cdiVersion": "1.1.0", "kind": "gpu"}), "kind \"gpu\": the vendor is empty"),
        (
            "class",
            json!({"cdiVersion": "1.1.0", "kind": "a.com/g pu"}),
            "kind \"a.com/g pu\": the class \"g pu\" contains ' '; allowed are ASCII letters, digits and \"_-.\"",
        ),
        (
            "no devices",
            json!({"cdiVersion": "1.1.0", "kind": "a.com/gpu"}),
            "the CDI spec defines no devices",
        ),
        ("no edits", spec(json!({})), "device \"d\" has no container edits"),
        ("variable", spec(json!({"env": ["A"]})), "device \"d\": env: \"A\" is not NAME=VALUE"),
        (
            "mount",
            spec(json!({"mounts": [{"containerPath": "/a"}]})),
            "device \"d\": the mount at \"/a\" has no hostPath",
        ),
    ];
    for (name, spec, want) in cases {
        let (registry, _root) = one(&spec);
        let errors: Vec<String> = registry.errors().values().flatten().map(ToString::to_string).collect();
        assert_eq!(errors, [want], "{name}");
        assert_eq!(registry.devices().count(), 0, "{name}");
    }
}

#[test]
fn an_unknown_device_is_named_as_containerd_names_it() {
    let devices = ["a.com/gpu=b".to_owned(), "a.com/gpu=c".to_owned()];
    let error = Registry::load(&[]).apply(&devices, &mut json!({})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CDI device injection failed: unresolvable CDI devices a.com/gpu=b, a.com/gpu=c"
    );
}

#[test]
fn a_pipe_on_the_host_completes_a_device_node() {
    let root = tempfile::tempdir().unwrap();
    let pipe = root.path().join("pipe");
    assert!(Command::new("mkfifo").args(["-m", "640"]).arg(&pipe).status().unwrap().success());
    let edits = json!({"deviceNodes": [{"path": "/dev/pipe", "hostPath": pipe}]});
    let (registry, _folder) = one(&json!({
        "cdiVersion": "0.5.0", "kind": "a.com/gpu", "devices": [{"name": "d", "containerEdits": edits}]
    }));
    let mut container = json!({});
    registry.apply(&["a.com/gpu=d".to_owned()], &mut container).unwrap();
    // Pipes are not subject to the device rules of cgroups.
    let want = json!({"path": "/dev/pipe", "type": "p", "major": 0, "minor": 0, "fileMode": 0o640});
    assert_eq!(container, json!({"linux": {"devices": [want]}}));
}

#[test]
fn folders_that_are_missing_or_links_are_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let spec = json!({"cdiVersion": "0.5.0", "kind": "a.com/gpu", "devices": [{"name": "d", "containerEdits": {"env": ["A=b"]}}]});
    let folders = write(root.path(), &[BTreeMap::from([("a.json".to_owned(), spec)])]);
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&folders[0], &link).unwrap();

    let names =
        |folders: &[PathBuf]| Registry::load(folders).devices().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names(&[root.path().join("missing"), folders[0].clone()]), ["a.com/gpu=d"]);
    assert!(names(&[link]).is_empty());
}
