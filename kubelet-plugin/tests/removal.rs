//! What the plugin leaves on its node when it ends: everything, or nothing where the driver was taken off.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use dra_driver::claim::ClaimRef;
use dra_driver::claim::journal::Journal;
use dra_driver::claim::plan::Plan;
use dra_driver::claim::record::{Record, Stage};
use dra_driver::node::Epoch;
use dra_kubelet_plugin::removal::{Traces, is_due};
use dra_runtime::flags::ObjectName;
use http::StatusCode;
use kube::{Client, Config};
use serde_json::{Value, json};
use support::transport::{Action, Answer, Matching, Script, Verb, client};

const DRIVER: &str = "gpu.example.com";
const UID: &str = "0d3c4b1e-0000-4000-8000-000000000001";

/// A client of an API server that nobody reaches, but for what the script answers.
fn scripted() -> (Client, Script) {
    let script = Script::new();
    let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
    config.default_retry = false;
    (client(config, &script).unwrap(), script)
}

/// A node's folders with what the driver has in them, and another driver's.
struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap() };
        for file in [
            "run/gpu.example.com/owner-1",
            "run/gpu.example.com/locks/gpu-0000-1b-00-0",
            "run/nic.example.com/state",
            "plugins/gpu.example.com/dra.sock",
            "plugins/nic.example.com/dra.sock",
            "cdi/gpu.example.com-driver.json",
            "cdi/nic.example.com-driver.json",
        ] {
            node.write(file, "{}");
        }
        fs::create_dir_all(node.path("run/gpu.example.com/claims")).unwrap();
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn traces(&self) -> Traces {
        Traces {
            driver: DRIVER.to_owned(),
            node: "node-a".to_owned(),
            state: self.path("run/gpu.example.com"),
            cdi: self.path("cdi"),
            plugin: self.path("plugins/gpu.example.com"),
            procfs: PathBuf::from("/proc"),
        }
    }

    /// The files that are left, in order.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(self.folder.path(), self.folder.path(), &mut files);
        files.sort();
        files
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}

const FOREIGN: [&str; 3] =
    ["cdi/nic.example.com-driver.json", "plugins/nic.example.com/dra.sock", "run/nic.example.com/state"];

fn daemon_set() -> ObjectName {
    "kube-system/dra-driver-kubelet-plugin".parse().unwrap()
}

fn status(code: StatusCode, reason: &str) -> Action {
    Action::Answer(Answer::status(code, reason, "said the API server"))
}

fn object(metadata: Value) -> Action {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "DaemonSet"});
    object["metadata"] = metadata;
    Action::Answer(Answer::object(&object))
}

#[tokio::test]
async fn the_driver_is_taken_off_when_its_daemon_set_is_gone_or_going() {
    let cases = [
        ("gone", status(StatusCode::NOT_FOUND, "NotFound"), true),
        ("going", object(json!({"name": "d", "deletionTimestamp": "2026-11-23T07:00:00Z"})), true),
        ("there", object(json!({"name": "d"})), false),
        ("no right to look", status(StatusCode::FORBIDDEN, "Forbidden"), false),
        ("the service account is gone", status(StatusCode::UNAUTHORIZED, "Unauthorized"), false),
        ("an API server in trouble", status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"), false),
        ("a broken link", Action::Drop, false),
        ("a dead link", Action::BlackHole, false),
    ];
    for (name, action, wanted) in cases {
        let (client, script) = scripted();
        let get = Matching::verb(Verb::Get).path("/apis/apps/v1/namespaces/kube-system/daemonsets/*");
        script.on(get, action);
        assert_eq!(is_due(client, &daemon_set()).await, wanted, "{name}");
        assert_eq!(script.requests().len(), 1, "{name}");
    }
}

/// Lets the script answer as an API server with these slices of the node.
fn with_slices(script: &Script, names: &[&str]) {
    let slice = |name: &&str| {
        json!({"metadata": {"name": name}, "spec": {
            "driver": DRIVER, "nodeName": "node-a", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        }})
    };
    let list = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSliceList", "metadata": {},
        "items": names.iter().map(slice).collect::<Vec<_>>(),
    });
    script.on(Matching::verb(Verb::List).resource("resourceslices"), Action::Answer(Answer::object(&list)));
    let deleted = json!({"apiVersion": "v1", "kind": "Status", "status": "Success", "metadata": {}});
    script.on(
        Matching::verb(Verb::Delete).resource("resourceslices"),
        Action::Answer(Answer::object(&deleted)),
    );
}

fn deleted(script: &Script) -> usize {
    script.requests_to(&Matching::verb(Verb::Delete).resource("resourceslices")).len()
}

fn record(boot_id: &str) -> Record {
    Record {
        claim: ClaimRef { uid: UID.to_owned(), namespace: "team-a".to_owned(), name: "one-gpu".to_owned() },
        pods: Vec::new(),
        hash: String::new(),
        epoch: Epoch { boot_id: boot_id.to_owned(), driver_version: None },
        since: "2026-11-23T07:00:00Z".parse().unwrap(),
        uptime_ms: 1,
        plan: Plan { devices: Vec::new() },
        stage: Stage::Intent,
    }
}

#[tokio::test]
async fn slices_specs_and_folders_of_this_driver_go_and_no_others() {
    let node = Node::new();
    let (client, script) = scripted();
    with_slices(&script, &["node-a-gpu-1", "node-a-gpu-2"]);
    node.traces().remove(client).await;
    assert_eq!(node.files(), FOREIGN);
    assert!(!node.path("run/gpu.example.com").exists());
    assert!(!node.path("plugins/gpu.example.com").exists());
    let listed = script.requests_to(&Matching::verb(Verb::List).resource("resourceslices"));
    assert!(format!("{listed:?}").contains("spec.driver"), "{listed:?}");
    assert_eq!(deleted(&script), 2);
}

#[tokio::test]
async fn files_go_also_where_the_api_server_is_out_of_reach() {
    let node = Node::new();
    let (client, script) = scripted();
    script.on(Matching::any(), Action::Drop);
    node.traces().remove(client).await;
    assert_eq!(node.files(), FOREIGN);
}

#[tokio::test]
async fn while_a_claim_is_or_may_be_prepared_everything_stays() {
    type Prepare = fn(&Node, &str);
    let cases: [(&str, Prepare, bool); 6] = [
        ("a plan in force", |node, boot| drop(journal(node).intend(&record(boot)).unwrap()), true),
        ("being undone", |node, boot| journal(node).undo(&record(boot)).unwrap(), true),
        ("a record that cannot be read", |node, _| node.write(&claim_file(), "x"), true),
        ("a spec without a record", |node, _| node.write(&spec_file(), "{}"), true),
        ("taken over", |node, boot| journal(node).bury(&record(boot)).unwrap(), false),
        (
            "of an earlier boot",
            |node, _| {
                drop(journal(node).intend(&record("earlier")).unwrap());
                node.write(&spec_file(), "{}");
            },
            false,
        ),
    ];
    let boot_id = Epoch::read(Path::new("/proc"), None).unwrap().boot_id;
    for (name, prepare, stays) in cases {
        let node = Node::new();
        prepare(&node, &boot_id);
        let before = node.files();
        let (client, script) = scripted();
        with_slices(&script, &["node-a-gpu-1"]);
        node.traces().remove(client).await;
        if stays {
            assert_eq!(node.files(), before, "{name}");
            assert_eq!(deleted(&script), 0, "{name}");
        } else {
            assert_eq!(node.files(), FOREIGN, "{name}");
            assert_eq!(deleted(&script), 1, "{name}");
        }
    }
}

fn journal(node: &Node) -> Journal {
    Journal::open(&node.path("run/gpu.example.com")).unwrap()
}

fn claim_file() -> String {
    format!("run/gpu.example.com/claims/{UID}.json")
}

fn spec_file() -> String {
    format!("cdi/gpu.example.com-claim-{UID}.json")
}
