//! What a plugin that ends takes with it: nothing, unless it is removed for good.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up has failed")]

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dra_driver::cdi::folder::Folder;
use dra_driver::claim::journal::Journal;
use dra_driver::claim::record::Record;
use dra_kubelet_plugin::removal::{Folders, Removal};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tempfile::TempDir;

const DRIVER: &str = "gpu.example.com";
const NODE: &str = "worker-1";
const BOOT: &str = "11111111-2222-3333-4444-555555555555";

/// What there is of the plugin's DaemonSet.
#[derive(Clone, Copy, Debug)]
enum Set {
    Runs,
    Goes,
    Gone,
    Forbidden,
}

/// An API server with two slices of the node, the second of which somebody else is deleting, and the requests that it
/// got.
fn server(set: Set) -> (Client, Arc<Mutex<Vec<String>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&requests);
    let answer = move |request: Request<Body>| {
        let line = format!("{} {}", request.method(), request.uri().path_and_query().unwrap());
        let (code, body) = answer(set, request.method(), request.uri().path());
        log.lock().unwrap().push(line);
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = code;
        async move { Ok::<_, Infallible>(response) }
    };
    (Client::new(tower::service_fn(answer), "default"), requests)
}

fn answer(set: Set, method: &Method, path: &str) -> (StatusCode, Value) {
    let status = |code: StatusCode, reason: &str| {
        let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code.as_u16()});
        (code, body)
    };
    let found = |deletion: Value| {
        let spec = json!({"selector": {}, "template": {}});
        let metadata = json!({"name": "plugin", "namespace": "gpu", "deletionTimestamp": deletion});
        let body = json!({"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": metadata, "spec": spec});
        (StatusCode::OK, body)
    };
    let slice = |name: &str| {
        let pool = json!({"name": "worker-1/gpu", "generation": 1, "resourceSliceCount": 2});
        json!({"metadata": {"name": name}, "spec": {"driver": DRIVER, "nodeName": NODE, "pool": pool}})
    };
    match (method.as_str(), path) {
        ("GET", "/apis/apps/v1/namespaces/gpu/daemonsets/plugin") => match set {
            Set::Runs => found(Value::Null),
            Set::Goes => found(json!("2026-11-23T07:00:00Z")),
            Set::Gone => status(StatusCode::NOT_FOUND, "NotFound"),
            Set::Forbidden => status(StatusCode::FORBIDDEN, "Forbidden"),
        },
        ("GET", "/apis/resource.k8s.io/v1/resourceslices") => {
            let items = [slice("one"), slice("two")];
            let kind = json!("ResourceSliceList");
            let body =
                json!({"kind": kind, "apiVersion": "resource.k8s.io/v1", "metadata": {}, "items": items});
            (StatusCode::OK, body)
        }
        ("DELETE", "/apis/resource.k8s.io/v1/resourceslices/one") => {
            (StatusCode::OK, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
        }
        ("DELETE", "/apis/resource.k8s.io/v1/resourceslices/two") => {
            status(StatusCode::NOT_FOUND, "NotFound")
        }
        other => panic!("the plugin has no right to {other:?}"),
    }
}

/// What lies on the node, as the plugin makes it.
fn node(folder: &Path) -> Folders {
    let (state, plugin, cdi) = (folder.join("run"), folder.join("plugins"), folder.join("cdi"));
    for made in [&state, &plugin, &cdi] {
        fs_err::create_dir(made).unwrap();
    }
    fs_err::write(state.join("owner"), "").unwrap();
    fs_err::write(plugin.join("dra.sock"), "").unwrap();
    fs_err::write(cdi.join("other.example.com.json"), "{}").unwrap();
    let cdi = Folder::new(cdi, DRIVER);
    fs_err::write(cdi.driver_path(), "{}").unwrap();
    Journal::open(&state).unwrap();
    Folders { state, plugin, cdi }
}

/// A record of a claim that is prepared, in a boot.
fn record(boot: &str) -> Record {
    serde_json::from_value(json!({
        "claim": {"namespace": "team", "name": "training", "uid": "7"},
        "hash": "h",
        "epoch": {"boot_id": boot, "bootId": boot, "driver_version": null, "driverVersion": null},
        "since": "2026-11-23T07:00:00Z",
        "uptimeMs": 1,
        "plan": {"devices": []},
        "stage": "intent",
    }))
    .unwrap()
}

#[tokio::test]
async fn only_a_plugin_that_does_not_come_back_takes_everything_along() {
    let asked = "GET /apis/apps/v1/namespaces/gpu/daemonsets/plugin".to_owned();
    let selected =
        "spec.driver%3D{DRIVER}%2Cspec.nodeName%3D{NODE}".replace("{DRIVER}", DRIVER).replace("{NODE}", NODE);
    let deleted = vec![
        asked.clone(),
        format!("GET /apis/resource.k8s.io/v1/resourceslices?&fieldSelector={selected}"),
        "DELETE /apis/resource.k8s.io/v1/resourceslices/one?".to_owned(),
        "DELETE /apis/resource.k8s.io/v1/resourceslices/two?".to_owned(),
    ];
    // The DaemonSet, the boot of a record, what of the node's things stays, the requests.
    let cases = [
        ("an update or a reboot", Set::Runs, None, true, vec![asked.clone()]),
        ("the API server does not say", Set::Forbidden, None, true, vec![asked]),
        ("uninstalled", Set::Gone, None, false, deleted.clone()),
        ("being uninstalled", Set::Goes, None, false, deleted.clone()),
        ("a claim is prepared", Set::Gone, Some(BOOT), true, deleted.clone()),
        ("a claim was prepared before a reboot", Set::Gone, Some("another boot"), false, deleted),
    ];
    for (name, set, boot, stays, wanted) in cases {
        let folder = TempDir::new().unwrap();
        let folders = node(folder.path());
        if let Some(boot) = boot {
            let _ = Journal::look(&folders.state).intend(&record(boot)).unwrap();
        }
        let (client, requests) = server(set);
        let removal = Removal {
            client,
            daemon_set: "gpu/plugin".parse().unwrap(),
            driver: DRIVER.to_owned(),
            node: NODE.to_owned(),
            folders: folders.clone(),
        };
        removal.clean_up(BOOT.to_owned()).await;
        assert_eq!(*requests.lock().unwrap(), wanted, "{name}");
        for path in [folders.state, folders.plugin, folders.cdi.driver_path()] {
            assert_eq!(path.exists(), stays, "{name}: {}", path.display());
        }
        assert!(folder.path().join("cdi/other.example.com.json").exists(), "{name}: another driver's spec");
    }
}
