//! Where a scenario plays: a namespace, a node that is real or a stand-in, and the story of what happened.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::future::{join, join_all};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::RwLock;

use crate::api::{Space, make, uid, unique};
use crate::cluster::Cluster;
use crate::node::Node;
use crate::objects::{Claim, POOL, PodPlan};
use crate::plugin::{Plugin, Settings};
use crate::transcript::{Names, normalise, tell};

/// One node's side of a scenario.
#[derive(Debug)]
pub struct Stage {
    /// The scenario's namespace.
    pub space: Space,
    /// The node.
    pub node: Node,
    claims: Vec<Claim>,
    drivers: BTreeMap<String, String>,
    names: Names,
    pods: BTreeMap<String, Pod>,
    /// The pods whose claims could not be prepared, once for each time.
    failed: Vec<String>,
    story: Vec<String>,
    transcripts: Vec<Value>,
}

/// What a scenario left behind, the same on every node.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// What happened, in short.
    pub story: Vec<String>,
    /// Every call with all its details.
    pub transcripts: Vec<Value>,
}

impl Stage {
    /// A stage with the claims of the scenario, none of which exists yet.
    pub async fn new(stem: &str, node: Node, client: kube::Client, claims: &[Claim]) -> Self {
        let labels = json!({"resource.kubernetes.io/admin-access": "true"});
        let space = Space::create(client, stem, labels).await;
        let mut names = Names::default();
        names.add(&space.name, "<namespace>");
        for (folder, name) in [(node.registry(), "<registry>"), (node.plugins(), "<plugins>")] {
            let folder = folder.to_str().expect("the folders' paths are UTF-8");
            names.add(folder, name);
            // As a gRPC client writes it where it makes an authority of the path.
            names.add(folder.replace('/', "%2F"), name);
        }
        let mut stage = Self {
            space,
            node,
            claims: claims.to_vec(),
            drivers: BTreeMap::new(),
            names,
            pods: BTreeMap::new(),
            failed: Vec::new(),
            story: Vec::new(),
            transcripts: Vec::new(),
        };
        for claim in claims {
            stage.create_claim(claim).await;
        }
        stage
    }

    async fn create_claim(&mut self, claim: &Claim) {
        let created: ResourceClaim = make(&self.space.api(), claim.manifest()).await;
        self.names.add(uid(&created), format!("<uid of {}>", claim.name));
    }

    /// The full name of the driver that the scenario calls by a short one.
    pub fn driver(&mut self, short: &str) -> String {
        if let Some(driver) = self.drivers.get(short) {
            return driver.clone();
        }
        let driver = format!("{}.example.com", unique(short));
        self.names.add(driver.as_str(), format!("<driver {short}>"));
        self.drivers.insert(short.to_owned(), driver.clone());
        driver
    }

    /// What a plugin of a driver is started with: it prepares the scenario's claims.
    pub fn settings(&mut self, short: &str) -> Settings {
        let driver = self.driver(short);
        let mut settings = Settings::new(&driver, self.node.registry(), self.node.plugins(), self.node.cdi());
        settings.rules = self.claims.iter().filter_map(|claim| claim.rule(short, &driver)).collect();
        settings
    }

    /// Starts a plugin and waits until it is registered and connected.
    pub async fn plugin(&mut self, short: &str, change: impl FnOnce(&mut Settings)) -> Plugin {
        let mut settings = self.settings(short);
        change(&mut settings);
        let plugin = Plugin::start(settings).await;
        self.registered(&plugin, 1).await;
        plugin
    }

    /// Waits until a plugin is registered for the `times`th time and the kubelet's connection to it stands.
    pub async fn registered(&self, plugin: &Plugin, times: usize) {
        plugin.registered(times).await;
        plugin.called("NodeWatchResources", 1).await;
    }

    /// Creates a pod, reserves its claims for it and gives it to the node.
    pub async fn create(&mut self, plan: &PodPlan) {
        self.create_with(plan, &plan.claims).await;
    }

    async fn create_with(&mut self, plan: &PodPlan, reserve: &[&'static str]) {
        let pod: Pod = make(&self.space.api(), plan.manifest()).await;
        self.names.add(uid(&pod), format!("<uid of {}>", plan.name));
        for name in reserve {
            self.reserve(name, &pod).await;
        }
        self.node.bind(&self.space, &pod).await;
        self.pods.insert(plan.name.clone(), pod);
    }

    /// Allocates the devices of a claim, if that has not been done, and adds a pod to those it is reserved for.
    async fn reserve(&mut self, name: &str, pod: &Pod) {
        let Some(claim) = self.claims.iter().find(|claim| claim.name == name).cloned() else {
            panic!("the scenario has no claim {name}")
        };
        let api = self.space.api::<ResourceClaim>();
        let now = api.get(name).await.expect("read a claim of the scenario");
        let mut reserved = now.status.and_then(|status| status.reserved_for).unwrap_or_default();
        reserved.push(k8s_openapi::api::resource::v1::ResourceClaimConsumerReference {
            api_group: None,
            name: pod.metadata.name.clone().expect("a pod has a name"),
            resource: "pods".to_owned(),
            uid: uid(pod),
        });
        let allocation = claim.allocation(|short| self.driver(short));
        let status = json!({"status": {"allocation": allocation, "reservedFor": reserved}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .expect("allocate a claim");
    }

    /// Creates a pod, waits until all its containers run, and notes the devices that each of them got.
    pub async fn run(&mut self, plan: &PodPlan) {
        self.create(plan).await;
        self.runs(plan).await;
    }

    /// Waits until all containers of a pod run, and notes the devices that each of them got.
    pub async fn runs(&mut self, plan: &PodPlan) {
        let failures = self.failed.iter().filter(|&name| *name == plan.name).count();
        let got = self.node.run(&self.space, plan, failures).await;
        let told = got.iter().map(|(container, ids)| {
            let devices: Vec<String> =
                ids.iter().map(|id| self.names.apply(id).replace("/device=", " ")).collect();
            format!("{container} got [{}]", devices.join(", "))
        });
        self.note(format!("{}: {}", plan.name, told.collect::<Vec<_>>().join(", ")));
    }

    /// Creates a pod whose claims cannot be prepared, and notes what its event says about that.
    pub async fn fail(&mut self, plan: &PodPlan) {
        self.create(plan).await;
        self.fails(plan).await;
    }

    /// As [`Stage::fail`], with claims that nobody has allocated.
    pub async fn fail_without_allocation(&mut self, plan: &PodPlan) {
        self.create_with(plan, &[]).await;
        self.fails(plan).await;
    }

    async fn fails(&mut self, plan: &PodPlan) {
        let text = self.node.failure(&self.space, plan).await;
        self.failed.push(plan.name.clone());
        let text = self.names.apply(&text);
        self.note(format!("{}: {text}", plan.name));
    }

    /// Asks for the end of a pod, without waiting for it.
    pub async fn begin_end(&mut self, name: &str) {
        let pod = self.pods.get(name).expect("the scenario made this pod");
        self.node.begin_end(&self.space, pod).await;
    }

    /// Ends a pod and waits until it is gone, with its claims unprepared where it was their last user.
    pub async fn end(&mut self, name: &str) {
        let pod = self.pods.remove(name).expect("the scenario made this pod");
        self.node.end(&self.space, &pod).await;
    }

    /// Ends several pods at once.
    pub async fn end_all(&mut self, names: impl Iterator<Item = &str>) {
        let pods: Vec<Pod> =
            names.map(|name| self.pods.remove(name).expect("the scenario made this pod")).collect();
        join_all(pods.iter().map(|pod| self.node.end(&self.space, pod))).await;
    }

    /// Waits until the kubelet reports the health of a claim's device for the container `main` of a pod, and notes
    /// that. `health` is `Healthy`, `Unhealthy` or `Unknown`.
    pub async fn health(&mut self, pod: &str, claim: &str, short: &str, device: &str, health: &str) {
        let driver = self.driver(short);
        self.node.health(&self.space, pod, claim, &driver, device, health).await;
        self.note(format!("{claim}: {health}"));
    }

    /// Publishes a slice of the driver for the node and returns its name and uid.
    pub async fn slice(&mut self, short: &str) -> (String, String) {
        let driver = self.driver(short);
        let manifest = json!({"metadata": {"name": driver}, "spec": {
            "driver": driver, "nodeName": self.node.name(),
            "pool": {"name": POOL, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "0"}],
        }});
        let slice: ResourceSlice = make(&self.slices(), manifest).await;
        (driver, uid(&slice))
    }

    /// The slices of all nodes.
    #[must_use]
    pub fn slices(&self) -> Api<ResourceSlice> {
        Api::all(self.space.client.clone())
    }

    /// The path of the stand-in's or the kubelet's registry.
    #[must_use]
    pub fn registry(&self) -> PathBuf {
        self.node.registry().to_owned()
    }

    /// Adds a line to the story.
    pub fn note(&mut self, line: impl Into<String>) {
        self.story.push(line.into());
    }

    /// Stops a plugin and adds what it recorded to the story.
    pub async fn stop(&mut self, plugin: Plugin) {
        let endpoint = plugin.settings.plugin_socket.clone();
        let calls = plugin.stop().await;
        self.node.disconnected(&endpoint).await;
        self.add(&calls);
    }

    /// Stops a plugin and adds what it recorded to the story, sorted: for calls that come at the same time.
    pub async fn stop_in_any_order(&mut self, plugin: Plugin) {
        let mut calls = normalise(&plugin.stop().await, &self.names);
        calls.sort_by_key(|call| tell(std::slice::from_ref(call)));
        self.add_normal(calls);
    }

    /// Adds what a plugin recorded to the story.
    pub fn add(&mut self, calls: &[crate::plugin::Call]) {
        self.add_normal(normalise(calls, &self.names));
    }

    fn add_normal(&mut self, calls: Vec<Value>) {
        self.story.extend(tell(&calls).into_iter().map(|line| format!("  {line}")));
        self.transcripts.push(Value::Array(calls));
    }

    /// Removes the namespace and hands over what happened.
    pub async fn finish(self) -> Outcome {
        self.node.stop().await;
        self.space.remove().await;
        Outcome { story: self.story, transcripts: self.transcripts }
    }
}

/// Scenarios that restart the kubelet write, all others read.
static KUBELET: RwLock<()> = RwLock::const_new(());

/// Plays a scenario on the real kubelet and on the stand-in at once. Both must have come to the same, call by call,
/// and to what the scenario expects.
pub async fn on_both(
    stem: &str,
    claims: &[Claim],
    expected: &[&str],
    scenario: impl AsyncFn(&mut Stage),
) -> Outcome {
    let _kubelet = KUBELET.read().await;
    play(stem, claims, expected, scenario).await
}

/// As [`on_both`], while no other scenario of this process uses the kubelet, for the scenario restarts it.
pub async fn on_both_alone(
    stem: &str,
    claims: &[Claim],
    expected: &[&str],
    scenario: impl AsyncFn(&mut Stage),
) -> Outcome {
    let _kubelet = KUBELET.write().await;
    play(stem, claims, expected, scenario).await
}

async fn play(
    stem: &str,
    claims: &[Claim],
    expected: &[&str],
    scenario: impl AsyncFn(&mut Stage),
) -> Outcome {
    let cluster = Cluster::current();
    let client = cluster.client().await;
    let stand_in = Node::stand_in(client.clone()).await;
    let side = async |node: Node| {
        let mut stage = Stage::new(stem, node, client.clone(), claims).await;
        scenario(&mut stage).await;
        stage.finish().await
    };
    let (real, stand_in) = join(side(Node::real(&cluster)), side(stand_in)).await;
    let expected = expected.join("\n");
    for (node, outcome) in [("the real kubelet", &real), ("the stand-in", &stand_in)] {
        let story = outcome.story.join("\n");
        assert!(story == expected, "on {node}:\n{story}\nexpected:\n{expected}");
    }
    assert_eq!(real.transcripts.len(), stand_in.transcripts.len(), "numbers of plugins");
    for (real, stand_in) in real.transcripts.iter().zip(&stand_in.transcripts) {
        // The entries of an answer's map have no order: values are compared, not texts.
        assert!(real == stand_in, "calls of the real kubelet:\n{real:#}\nof the stand-in:\n{stand_in:#}");
    }
    real
}
