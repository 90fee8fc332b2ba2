//! A node in a cluster that is a control plane alone, for `cargo xtask demo --quick`: the kubelet stand-in prepares the
//! claims of pods, and in the place of containers NVIDIA's nvidia-smi runs on a folder with what their CDI devices
//! bring.
//!
//! `stand-in-node NODE FOLDER DEVICES`: sockets and CDI specs are in FOLDER, as are the pods' logs; DEVICES holds the
//! device nodes. It runs until it is killed.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a program of a demo ends with a message that says what was wrong"
)]

use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use support::cdi::Registry;
use support::kubelet::{Kubelet, PreparedContainer, Settings, read_pod};
use tokio::time::{interval, sleep};

/// The controller manager takes a node for lost after 50 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How soon a step that failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a job's container seems to work.
const WORK: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder, devices] = &arguments[..] else { panic!("usage: stand-in-node NODE FOLDER DEVICES") };
    let folder = PathBuf::from(folder);
    let client = Client::try_default().await.expect("reach the API server that KUBECONFIG names");
    let settings = Settings {
        cdi: vec![folder.join("cdi")],
        client: Some(client.clone()),
        ..Settings::new(name, folder.join("registry"))
    };
    let kubelet = Kubelet::start(settings).await.expect("start the stand-in");
    let node = StandIn { kubelet, client, devices: devices.into(), pods: folder.join("pods") };
    tokio::join!(node.is_ready(name), node.runs_pods(name));
}

#[derive(Clone)]
struct StandIn {
    kubelet: Kubelet,
    client: Client,
    devices: PathBuf,
    /// Logs, and what containers see.
    pods: PathBuf,
}

impl StandIn {
    /// Makes the Node object and keeps it ready.
    async fn is_ready(&self, name: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        let ours = PatchParams::apply("stand-in-node").force();
        nodes.patch(name, &ours, &Patch::Apply(node)).await.expect("make the Node object");
        let mut beats = interval(HEARTBEAT);
        loop {
            beats.tick().await;
            let now =
                k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::now());
            let room = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
            let status = json!({"apiVersion": "v1", "kind": "Node", "status": {
                "capacity": room, "allocatable": room,
                "nodeInfo": {
                    "kubeletVersion": "stand-in", "containerRuntimeVersion": "stand-in", "osImage": "none",
                    "kernelVersion": "", "architecture": "amd64", "operatingSystem": "linux", "machineID": "",
                    "systemUUID": "", "bootID": "", "kubeProxyVersion": "",
                },
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "StandIn", "message": "",
                    "lastHeartbeatTime": now, "lastTransitionTime": now,
                }],
            }});
            if let Err(error) = nodes.patch_status(name, &ours, &Patch::Apply(status)).await {
                eprintln!("keep the node ready: {error}");
            }
        }
    }

    /// Runs and ends the pods that the scheduler gives to the node.
    async fn runs_pods(&self, name: &str) {
        let own = watcher::Config::default().fields(&format!("spec.nodeName={name}"));
        let pods = watcher(Api::<Pod>::all(self.client.clone()), own).default_backoff().applied_objects();
        let mut pods = Box::pin(pods);
        // Whether the end of a pod has begun, by its UID.
        let mut known: HashMap<String, bool> = HashMap::new();
        loop {
            let pod = match pods.try_next().await {
                Ok(Some(pod)) => pod,
                Ok(None) => return,
                Err(error) => {
                    eprintln!("watch the pods: {error}");
                    continue;
                }
            };
            let ending = pod.metadata.deletion_timestamp.is_some();
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let before = known.insert(uid, ending);
            if before.is_none() && !ending {
                tokio::spawn(self.clone().run(pod));
            } else if ending && before != Some(true) {
                tokio::spawn(self.clone().end(pod));
            }
        }
    }

    async fn run(self, pod: Pod) {
        let (namespace, name) = key(&pod);
        let claims = loop {
            match read_pod(&self.client, &namespace, &name).await {
                Ok(claims) => break claims,
                Err(error) => eprintln!("read the claims of {name}: {error}"),
            }
            sleep(AGAIN).await;
        };
        let run = self.kubelet.run_pod(claims).await;
        for failure in &run.failures {
            eprintln!("{name}: {failure}");
        }
        let Some(prepared) = run.prepared else { return };
        let log: Vec<String> =
            prepared.containers.iter().map(|container| self.look(&name, container)).collect();
        fs_err::create_dir_all(&self.pods).expect("make the folder of the logs");
        fs_err::write(self.pods.join(format!("{name}.log")), log.concat()).expect("write a log");

        // A job's containers end by themselves, others do not.
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let ends = owners.iter().any(|owner| owner.kind == "Job");
        if ends {
            sleep(WORK).await;
        }
        let phase = if ends { "Succeeded" } else { "Running" };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let status = json!({"status": {"phase": phase}});
        if let Err(error) = pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await {
            eprintln!("say that {name} is {phase}: {error}");
        }
        if ends {
            self.unprepare(&pod).await;
        }
    }

    async fn end(self, pod: Pod) {
        let (namespace, name) = key(&pod);
        self.unprepare(&pod).await;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = pods.delete(&name, &DeleteParams::default().grace_period(0)).await {
            eprintln!("remove {name}: {error}");
        }
    }

    async fn unprepare(&self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        while let Err(error) = self.kubelet.end_pod(uid).await {
            if matches!(error, support::kubelet::Error::UnknownPod { .. }) {
                return;
            }
            eprintln!("end {}: {error}", key(pod).1);
            sleep(AGAIN).await;
        }
    }

    /// What a container's CDI devices let it see, as a log.
    fn look(&self, pod: &str, container: &PreparedContainer) -> String {
        let mut spec = json!({"process": {"env": []}});
        let applied = Registry::load(self.kubelet.cdi()).apply(&container.cdi_devices, &mut spec);
        if let Err(error) = applied {
            return format!("{error}\n");
        }
        let root = self.pods.join(format!("{pod}-{}", container.name));
        let nodes = self.lay_out(&root, &spec);
        let nvidia_smi = Command::new(root.join("usr/bin/nvidia-smi"))
            .arg("-L")
            .env("LD_LIBRARY_PATH", fake_node::layout::library_folder(&root))
            .output();
        let said = match nvidia_smi {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => format!("nvidia-smi: {error}\n"),
        };
        format!("{said}device nodes of GPUs: {}\nend\n", nodes.join(" "))
    }

    /// Makes the container's files in a folder; returns the names of its GPUs' nodes.
    fn lay_out(&self, root: &Path, spec: &Value) -> Vec<String> {
        let inside = |path: &Value| path.as_str().map(|path| path.trim_start_matches('/').to_owned());
        for mount in spec["mounts"].as_array().into_iter().flatten() {
            let (Some(source), Some(path)) = (mount["source"].as_str(), inside(&mount["destination"])) else {
                continue;
            };
            // The same file, not a copy: the fake's state lies in one.
            if Path::new(source).is_file() {
                link(&root.join(path), |place| std::fs::hard_link(source, place));
            }
        }
        let mut gpus = Vec::new();
        for device in spec["linux"]["devices"].as_array().into_iter().flatten() {
            let Some(path) = inside(&device["path"]) else { continue };
            let name = path.trim_start_matches("dev/").to_owned();
            link(&root.join(path), |place| symlink(self.devices.join(&name), place));
            if name.strip_prefix("nvidia").is_some_and(|number| number.parse::<u32>().is_ok()) {
                gpus.push(name);
            }
        }
        gpus
    }
}

fn link(place: &Path, make: impl Fn(&Path) -> std::io::Result<()>) {
    let made = fs_err::create_dir_all(place.parent().unwrap_or(place)).and_then(|()| make(place));
    if let Err(error) = made {
        eprintln!("make {}: {error}", place.display());
    }
}

fn key(pod: &Pod) -> (String, String) {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    (of(&pod.metadata.namespace), of(&pod.metadata.name))
}
