//! A node about which everything is known: eight H100, three of which two namespaces hold, and what happens to them.

use e2e::api::{Space, delete, wait};
use e2e::gpu::Gpus;
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::{Effect, Process};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::ResourceClaim;
use observe::{rules, scrape};
use serde_json::{Value, json};

use crate::controller::Controller;

/// The names of the pods of the controller and of the plugin, as Prometheus is told.
pub(crate) const PODS: [&str; 2] = ["dra-driver-controller-6d9f7-2zkqv", "dra-driver-kubelet-plugin-x7k2p"];
/// What the programs on a GPU take, in MiB.
pub(crate) const MEMORY_MIB: u64 = 40_960;

/// The node and what it is used for.
pub(crate) struct Scene {
    pub(crate) gpus: Gpus,
    pub(crate) controller: Controller,
    /// A second owner.
    pub(crate) other: Space,
    /// The devices of the claim `training`, which are used to 90 and 60 %. The first one has a fault.
    pub(crate) training: Vec<String>,
    /// The device of the claim `notebook`, which is not used.
    pub(crate) notebook: String,
    /// A device that nobody holds and whose memory wears out.
    pub(crate) worn: String,
    rules: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let gpus = Gpus::new("observe").await;
        let controller = Controller::start(&gpus).await;
        let other = Space::create(gpus.space.client.clone(), "notebooks", json!({})).await;
        let rules = tempfile::tempdir().unwrap();
        for path in rules::paths().unwrap() {
            let text = fs_err::read_to_string(&path).unwrap();
            let at_once = text.lines().filter(|line| !line.trim_start().starts_with("for: "));
            let at_once: String = at_once.flat_map(|line| [line, "\n"]).collect();
            fs_err::write(rules.path().join(path.file_name().unwrap()), at_once).unwrap();
        }
        let (training, notebook, worn) = (Vec::new(), String::new(), String::new());
        Self { gpus, controller, other, training, notebook, worn, rules }
    }

    pub(crate) fn node(&self) -> &str {
        &self.gpus.cluster.node
    }

    /// The scrape configuration that users get, for the plugin, the controller, and two pods that are neither. The
    /// controller runs on another node, as Prometheus is told.
    pub(crate) fn scrape_configuration(&self) -> Value {
        let pod = scrape::Pod {
            address: self.gpus.admin_address(),
            node: self.node().to_owned(),
            namespace: "kube-system".to_owned(),
            name: PODS[1].to_owned(),
            phase: "Running".to_owned(),
            component: "kubelet-plugin".to_owned(),
        };
        let controller = scrape::Pod {
            address: self.controller.address().to_owned(),
            node: "control-plane".to_owned(),
            name: PODS[0].to_owned(),
            component: "controller".to_owned(),
            ..pod.clone()
        };
        let another = scrape::Pod {
            component: "uninstall".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            ..pod.clone()
        };
        let ended =
            scrape::Pod { phase: "Failed".to_owned(), address: "127.0.0.1:2".to_owned(), ..pod.clone() };
        let mut config = scrape::with_pods(&[pod, controller, another, ended]).unwrap();
        config["global"] = json!({"evaluation_interval": "1s"});
        for job in config["scrape_configs"].as_array_mut().unwrap() {
            job["scrape_interval"] = json!("1s");
            job["scrape_timeout"] = json!("1s");
        }
        config["rule_files"] = json!([self.rules.path().join("*.yaml")]);
        config
    }

    /// The name of the device of a slot.
    pub(crate) fn device(&self, slot: usize) -> String {
        let pci = self.gpus.fake.state().unwrap().gpus[slot].pci.to_string();
        format!("gpu-{}", pci.replace([':', '.'], "-"))
    }

    fn slot(&self, device: &str) -> usize {
        (0..8).find(|slot| self.device(*slot) == device).expect("the fake node has this device")
    }

    /// Everything that happens.
    pub(crate) async fn play(&mut self) {
        tokio::join!(self.a_pod_ends(), self.a_claim_is_wrong());
        self.claims_are_held().await;
        self.a_claim_waits().await;
        self.gpus_are_used();
        self.gpus_fail();
    }

    /// A claim is prepared, and unprepared when its pod ends.
    async fn a_pod_ends(&self) {
        let gpus = &self.gpus;
        gpus.claim("brief", json!({"requests": [gpus.request("gpu")]})).await;
        gpus.pod("brief", "brief").await;
        gpus.runs("brief").await;
        gpus.space.delete::<Pod>("brief").await;
        gpus.space.delete::<ResourceClaim>("brief").await;
    }

    /// A claim cannot be prepared; its owner gives it up before the kubelet tries again.
    async fn a_claim_is_wrong(&self) {
        let gpus = &self.gpus;
        let parameters = json!({
            "apiVersion": format!("config.{}/v1alpha1", gpus.driver), "kind": "GpuConfig", "sharing": "please",
        });
        let config = json!([{"opaque": {"driver": gpus.driver, "parameters": parameters}}]);
        let devices = json!({"requests": [gpus.request("gpu")], "config": config});
        gpus.claim("wrong", devices).await;
        gpus.pod("wrong", "wrong").await;
        gpus.until("refuse the claim", async || {
            let metrics = gpus.metrics().await;
            metrics
                .lines()
                .any(|line| line.contains("reason=\"config\"") && line.ends_with(" 1"))
                .then_some(())
        })
        .await;
        gpus.space.delete::<Pod>("wrong").await;
        gpus.space.delete::<ResourceClaim>("wrong").await;
    }

    async fn claims_are_held(&mut self) {
        let gpus = &self.gpus;
        let request = |count: u32| json!({"requests": [{"name": "gpu", "exactly": {"deviceClassName": gpus.class, "count": count}}]});
        gpus.claim("training", request(2)).await;
        gpus.pod("train-0", "training").await;
        gpus.claim_in(&self.other, "notebook", request(1)).await;
        gpus.pod_in(&self.other, "jupyter", "notebook").await;
        gpus.runs("train-0").await;
        wait(&self.other.api::<Pod>(), "jupyter", "run", |pod: Option<&Pod>| {
            e2e::api::phase(pod) == Some("Running")
        })
        .await;
        self.training = devices_of(&gpus.space, "training").await;
        self.notebook = devices_of(&self.other, "notebook").await.remove(0);
        let held = |device: &String| self.training.contains(device) || *device == self.notebook;
        self.worn = (0..8).map(|slot| self.device(slot)).find(|device| !held(device)).unwrap();
    }

    /// A claim asks for what no node has.
    async fn a_claim_waits(&self) {
        let gpus = &self.gpus;
        let most = "device.capacity['<driver>'].memory.compareTo(quantity('1Ti')) >= 0";
        gpus.claim("vast", json!({"requests": [gpus.request_where("gpu", most)]})).await;
        gpus.pod("vast", "vast").await;
    }

    fn gpus_are_used(&self) {
        let slots = [&self.training[0], &self.training[1], &self.notebook].map(|device| self.slot(device));
        let change = |state: &mut fake_node::model::NodeState| {
            for (number, gpu) in (0..).zip(&mut state.gpus) {
                gpu.live.power_mw = 100_000 + number * 1_000;
                gpu.live.temperature = 30 + number;
            }
            for (slot, percent) in slots.into_iter().zip([90, 60, 0]) {
                let live = &mut state.gpus[slot].live;
                live.utilization_gpu = percent;
                live.power_mw += 500_000;
            }
            let name = "/usr/bin/python3".to_owned();
            let process = Process { pid: 4242, name, memory_mib: MEMORY_MIB, graphics: false };
            state.gpus[slots[0]].live.processes.push(process);
        };
        self.gpus.fake.update(change).unwrap();
    }

    fn gpus_fail(&self) {
        let slot = |device: &str| GpuSelector::Slot(self.slot(device));
        let (sick, worn) = (slot(&self.training[0]), slot(&self.worn));
        // One XID that asks for a reset, and two of a program.
        for (gpu, xid) in [(sick, 95), (slot(&self.notebook), 31), (slot(&self.notebook), 31)] {
            self.inject(&Injection::Xid { gpu, xid, instances: None });
        }
        self.inject(&Injection::Ecc { gpu: worn.clone(), corrected: 5, uncorrected: 0 });
        let gpu = worn.clone();
        self.inject(&Injection::RemappedRows { gpu, uncorrected: 3, pending: true, failure: true });
        // Some calls fail with a code that says nothing of the GPU. The first one makes the series.
        let call = "nvmlDeviceGetTemperature".to_owned();
        let effect = Effect::Fail(999);
        self.inject(&Injection::Fault { call, gpu: Some(worn), after: 0, times: Some(5), effect });
    }

    fn inject(&self, injection: &Injection) {
        self.gpus.fake.inject(injection).unwrap();
    }

    /// Ends everything that was begun.
    pub(crate) async fn finish(mut self) {
        self.gpus.start().await;
        delete(&self.other.api::<Pod>(), "jupyter").await;
        self.gpus.finish().await;
        self.other.remove().await;
    }
}

/// The devices that a claim was given.
async fn devices_of(space: &Space, claim: &str) -> Vec<String> {
    let claim = space.api::<ResourceClaim>().get(claim).await.unwrap();
    let allocation = claim.status.and_then(|status| status.allocation?.devices?.results);
    allocation.unwrap().into_iter().map(|result| result.device).collect()
}
