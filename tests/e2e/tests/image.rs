//! The product's image on the node, as containerd imported it: its programs run, and load NVML from the host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::path::{Path, PathBuf};

use e2e::api::{Space, wait};
use e2e::cluster::Cluster;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// The image's name on a test cluster; its tag is the version of the whole workspace.
const IMAGE: &str = concat!("registry.local/dra-driver:", env!("CARGO_PKG_VERSION"));

/// All programs of the image.
const PROGRAMS: [&str; 2] = ["dra-controller", "dra-kubelet-plugin"];

/// A pod's spec that runs a command of the image.
fn spec(command: &[&str], container: Value) -> Value {
    let mut main = json!({
        "name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": command,
        "securityContext": {"readOnlyRootFilesystem": true},
    });
    e2e::api::merge(&mut main, container);
    json!({"containers": [main]})
}

/// The folder of the cluster's fake node.
fn fake_node() -> PathBuf {
    let folder = std::env::var_os("DRA_FAKE_NODE");
    folder.expect("the cluster should have GPUs: cargo xtask cluster up --fake-node hgx-h100-8").into()
}

#[tokio::test]
async fn programs_start_from_the_path_and_know_their_version() {
    let space = Space::create(Cluster::current().client().await, "image-version", json!({})).await;
    // Whom it runs as is the pod's business: nothing in the image is for root alone.
    let user = json!({"securityContext": {"runAsUser": 65532, "runAsNonRoot": true}});
    for program in PROGRAMS {
        for (how, command) in [("name", program.to_owned()), ("path", format!("/usr/bin/{program}"))] {
            let pod = format!("{program}-by-{how}");
            space.pod(&pod, "", spec(&[&command, "--version"], user.clone())).await;
            let (ended, log) = (space.ended(&pod).await, space.log(&pod, "main").await);
            let version = format!("{program} {}\n", env!("CARGO_PKG_VERSION"));
            assert_eq!((ended.as_str(), log), ("Succeeded", version), "{command}");
        }
    }
    space.remove().await;
}

#[tokio::test]
async fn the_plugin_loads_nvml_of_the_hosts_driver_root() {
    let space = Space::create(Cluster::current().client().await, "image-nvml", json!({})).await;
    let node = fake_node::Node::open(&fake_node()).unwrap();
    let mount = |name: &str, inside: &str, host: &Path| {
        (
            json!({"name": name, "mountPath": inside, "readOnly": true}),
            json!({"name": name, "hostPath": {"path": host, "type": "Directory"}}),
        )
    };
    let (mounts, volumes): (Vec<Value>, Vec<Value>) = [
        mount("driver-root", "/driver-root", &node.driver_root()),
        mount("sysfs", "/host-sys", &node.sysfs()),
        mount("procfs", "/host-proc", &node.procfs()),
    ]
    .into_iter()
    .unzip();
    let command = [
        "dra-kubelet-plugin",
        "inspect",
        "--driver-root=/driver-root",
        "--sysfs=/host-sys",
        "--procfs=/host-proc",
        "--output=json",
        "--require-gpus",
    ];
    // NVML shows the GPUs whose device nodes it can open, and other containers' devices are closed to this one.
    let privileged = json!({"volumeMounts": mounts, "securityContext": {"privileged": true}});
    let mut spec = spec(&command, privileged);
    spec["volumes"] = json!(volumes);
    space.pod("inspect", "", spec).await;
    let ended = space.ended("inspect").await;
    let log = space.log("inspect", "main").await;
    assert_eq!(ended, "Succeeded", "{log}");
    for gpu in &node.state().unwrap().gpus {
        assert!(log.contains(&gpu.uuid), "{} is not in {log}", gpu.uuid);
    }
    space.remove().await;
}

#[tokio::test]
async fn there_is_no_shell_in_the_image() {
    let space = Space::create(Cluster::current().client().await, "image-shell", json!({})).await;
    for (name, shell) in [("sh", "/bin/sh"), ("bash", "/usr/bin/bash"), ("busybox", "/usr/bin/busybox")] {
        space.pod(name, "", spec(&[shell], json!({}))).await;
        let pod = wait(&space.api::<Pod>(), name, "end", |pod: Option<&Pod>| {
            e2e::api::phase(pod) == Some("Failed")
        })
        .await;
        let status = pod.unwrap().status.unwrap().container_statuses.unwrap().remove(0);
        let message = status.state.unwrap().terminated.unwrap().message.unwrap();
        assert!(message.contains("no such file or directory"), "{shell}: {message}");
    }
    space.remove().await;
}
