//! The node of a scenario: the cluster's own, with its kubelet and containerd, or a stand-in.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use support::cdi::Registry;
use support::kubelet::{self, Health, Kubelet, PrepareError, Prepared, read_pod};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::api::{GUARD, Space, delete, delete_begin, event_texts, log_until, phase, unique, wait};
use crate::cluster::Cluster;
use crate::objects::{POOL, PodPlan};

/// How soon the end of a stand-in's pod is tried again; the kubelet takes 10 s.
const END_AGAIN: Duration = Duration::from_millis(100);

/// The devices that each container got, by its name.
pub type Got = BTreeMap<String, Vec<String>>;

/// A node.
#[derive(Debug)]
pub struct Node {
    name: String,
    registry: PathBuf,
    plugins: PathBuf,
    cdi: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The cluster's node.
    Real(Cluster),
    /// A stand-in for the kubelet alone: pods are in the API server and nothing runs them.
    StandIn(StandIn),
}

#[derive(Debug)]
struct StandIn {
    kubelet: Kubelet,
    /// The first attempt to prepare each pod, by the pod's name.
    pods: Mutex<HashMap<String, Attempt>>,
    _folder: TempDir,
}

#[derive(Debug)]
struct Attempt {
    /// The pod with its claims, unless these could not be read.
    pod: Option<kubelet::Pod>,
    outcome: Option<JoinHandle<Result<Prepared, PrepareError>>>,
    /// The end of the pod, once it was asked for.
    end: Option<JoinHandle<()>>,
}

impl Node {
    /// The cluster's node.
    #[must_use]
    pub fn real(cluster: &Cluster) -> Self {
        Self {
            name: cluster.node.clone(),
            registry: "/var/lib/kubelet/plugins_registry".into(),
            plugins: "/var/lib/kubelet/plugins".into(),
            cdi: "/var/run/cdi".into(),
            kind: Kind::Real(cluster.clone()),
        }
    }

    /// A stand-in with folders and a node name of its own.
    pub async fn stand_in(client: Client) -> Self {
        let folder = TempDir::new().expect("make a folder for the stand-in");
        let name = unique("stand-in");
        let [registry, plugins, cdi] = ["registry", "plugins", "cdi"].map(|part| folder.path().join(part));
        let settings = kubelet::Settings {
            cdi: vec![cdi.clone()],
            client: Some(client),
            ..kubelet::Settings::new(&name, &registry)
        };
        let kubelet = Kubelet::start(settings).await.expect("start the stand-in");
        let kind = Kind::StandIn(StandIn { kubelet, pods: Mutex::default(), _folder: folder });
        Self { name, registry, plugins, cdi, kind }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder in which plugins register.
    #[must_use]
    pub fn registry(&self) -> &Path {
        &self.registry
    }

    /// The folder of the plugins' own sockets.
    #[must_use]
    pub fn plugins(&self) -> &Path {
        &self.plugins
    }

    /// The folder of CDI specs.
    #[must_use]
    pub fn cdi(&self) -> &Path {
        &self.cdi
    }

    /// Gives a pod to the node.
    pub async fn bind(&self, space: &Space, pod: &Pod) {
        match &self.kind {
            Kind::Real(cluster) => {
                let name = pod.metadata.name.clone().expect("a pod has a name");
                let binding = json!({
                    "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": cluster.node},
                });
                let pods = space.api::<Pod>();
                let answer: Result<serde_json::Value, _> =
                    pods.create_subresource("binding", &name, &PostParams::default(), &binding).await;
                answer.unwrap_or_else(|e| panic!("bind the pod {name}: {e}"));
            }
            Kind::StandIn(stand_in) => stand_in.bind(space, pod).await,
        }
    }

    /// Waits until the containers of a pod run, and returns the devices that each of them got. `failures` is how
    /// many times its claims could not be prepared before.
    pub async fn run(&self, space: &Space, plan: &PodPlan, failures: usize) -> Got {
        match &self.kind {
            Kind::Real(_) => {
                let pods = space.api::<Pod>();
                wait(&pods, &plan.name, "run", |pod: Option<&Pod>| phase(pod) == Some("Running")).await;
                // The kubelet's next attempt must not hide what the scenario did not mean to fail.
                let failed = event_texts(space, &plan.name, "FailedPrepareDynamicResources").await;
                assert_eq!(
                    failed.len(),
                    failures,
                    "the claims of {} were not prepared: {failed:?}",
                    plan.name
                );
                let mut got = Got::new();
                for container in &plan.containers {
                    let log = log_until(space, &plan.name, container.name, "its last line", |log| {
                        log.lines().any(|line| line == "end")
                    })
                    .await;
                    got.insert(container.name.to_owned(), devices(log.lines()));
                }
                got
            }
            Kind::StandIn(stand_in) => stand_in.run(plan).await,
        }
    }

    /// Waits until the claims of a pod could not be prepared, and returns the text of its event.
    pub async fn failure(&self, space: &Space, plan: &PodPlan) -> String {
        match &self.kind {
            Kind::Real(_) => {
                let fields =
                    format!("involvedObject.name={},reason=FailedPrepareDynamicResources", plan.name);
                let events = watcher(space.api::<Event>(), watcher::Config::default().fields(&fields));
                let mut events = Box::pin(events.applied_objects());
                let event = timeout(GUARD, events.try_next()).await;
                let event = event.unwrap_or_else(|_| panic!("the pod {} has no event {fields}", plan.name));
                let event = event.expect("watch the events").expect("the watch goes on");
                event.message.expect("the kubelet's events have a text")
            }
            Kind::StandIn(stand_in) => stand_in.failure(plan).await,
        }
    }

    /// Waits until a device of a claim that the container `main` of a pod uses has this health.
    pub async fn health(
        &self,
        space: &Space,
        pod: &str,
        claim: &str,
        driver: &str,
        device: &str,
        health: &str,
    ) {
        match &self.kind {
            Kind::Real(_) => {
                let id = format!("{driver}/device={claim}-{device}");
                let name = format!("claim:{claim}");
                let what = format!("report {id} as {health}");
                wait(&space.api::<Pod>(), pod, &what, |pod: Option<&Pod>| {
                    let status = pod.and_then(|pod| pod.status.as_ref());
                    let containers = status.and_then(|status| status.container_statuses.as_ref());
                    let resources = containers.into_iter().flatten().filter(|c| c.name == "main");
                    let resources = resources.flat_map(|c| c.allocated_resources_status.iter().flatten());
                    let mut devices =
                        resources.filter(|r| r.name == name).flat_map(|r| r.resources.iter().flatten());
                    devices.any(|d| d.resource_id == id && d.health.as_deref() == Some(health))
                })
                .await;
            }
            Kind::StandIn(stand_in) => {
                let wanted = match health {
                    "Healthy" => Health::Healthy,
                    "Unhealthy" => Health::Unhealthy,
                    _ => Health::Unknown,
                };
                let kubelet = &stand_in.kubelet;
                let seen = kubelet.wait(GUARD, || kubelet.health(driver, POOL, device) == wanted).await;
                assert!(seen, "the stand-in does not report {device} of {driver} as {health}");
            }
        }
    }

    /// Waits until the kubelet has noticed that nobody serves an endpoint any more.
    pub async fn disconnected(&self, endpoint: &Path) {
        match &self.kind {
            // The end of a connection reaches the kubelet long before a pod that is made after it.
            Kind::Real(_) => {}
            Kind::StandIn(stand_in) => {
                let kubelet = &stand_in.kubelet;
                let there = || kubelet.plugins().iter().any(|p| p.endpoint == endpoint && p.connected);
                assert!(
                    kubelet.wait(GUARD, || !there()).await,
                    "the stand-in is still connected to {endpoint:?}"
                );
            }
        }
    }

    /// Asks for the end of a pod.
    pub async fn begin_end(&self, space: &Space, pod: &Pod) {
        let name = pod.metadata.name.as_deref().expect("a pod has a name");
        match &self.kind {
            Kind::Real(_) => {
                delete_begin(&space.api::<Pod>(), name).await;
            }
            Kind::StandIn(stand_in) => stand_in.begin_end(name),
        }
    }

    /// Ends a pod and waits until it is gone and its claims are unprepared.
    pub async fn end(&self, space: &Space, pod: &Pod) {
        let name = pod.metadata.name.as_deref().expect("a pod has a name");
        if let Kind::StandIn(stand_in) = &self.kind {
            stand_in.end(name).await;
        }
        delete(&space.api::<Pod>(), name).await;
    }

    /// Restarts the kubelet and waits until it has begun to work again.
    pub async fn restart(&self) {
        match &self.kind {
            Kind::Real(cluster) => cluster.restart("kubelet").await,
            Kind::StandIn(stand_in) => stand_in.kubelet.restart().await,
        }
    }

    /// Ends what belongs to the scenario alone.
    pub async fn stop(self) {
        match self.kind {
            Kind::Real(_) => {}
            Kind::StandIn(stand_in) => stand_in.kubelet.stop().await,
        }
    }
}

impl StandIn {
    /// Begins the first attempt to prepare a pod.
    async fn bind(&self, space: &Space, pod: &Pod) {
        let name = pod.metadata.name.clone().expect("a pod has a name");
        let read = read_pod(&space.client, &space.name, &name).await;
        let pod = read.as_ref().ok().cloned();
        let kubelet = self.kubelet.clone();
        let outcome = tokio::spawn(async move { kubelet.prepare_pod(&read?).await });
        self.pods.lock().unwrap().insert(name, Attempt { pod, outcome: Some(outcome), end: None });
    }

    /// The outcome of the first attempt, or else that of all further ones.
    async fn outcome(&self, plan: &PodPlan) -> Result<Prepared, PrepareError> {
        let (pod, first) = {
            let mut pods = self.pods.lock().unwrap();
            let attempt = pods.get_mut(&plan.name).expect("the scenario made this pod");
            (attempt.pod.clone(), attempt.outcome.take())
        };
        let outcome = async {
            match first {
                Some(first) => first.await.expect("the stand-in does not panic"),
                None => {
                    let pod = pod.expect("only a pod that was read is tried again");
                    Ok(self.kubelet.run_pod(pod).await.prepared.expect("the pod was not ended"))
                }
            }
        };
        timeout(GUARD, outcome).await.unwrap_or_else(|_| panic!("the stand-in still prepares {}", plan.name))
    }

    async fn run(&self, plan: &PodPlan) -> Got {
        let prepared = self.outcome(plan).await;
        let prepared = prepared.unwrap_or_else(|e| panic!("the stand-in prepares {}: {e}", plan.name));
        let specs = Registry::load(self.kubelet.cdi());
        let containers = prepared.containers.into_iter().map(|container| {
            let mut spec = json!({"process": {"env": []}});
            specs
                .apply(&container.cdi_devices, &mut spec)
                .unwrap_or_else(|e| panic!("make the edits of {:?}: {e}", container.cdi_devices));
            let env = spec["process"]["env"].as_array().into_iter().flatten();
            (container.name, devices(env.filter_map(|variable| variable.as_str())))
        });
        containers.collect()
    }

    async fn failure(&self, plan: &PodPlan) -> String {
        match self.outcome(plan).await {
            Ok(prepared) => panic!("the stand-in should not have prepared {}: {prepared:?}", plan.name),
            Err(error) => error.event(),
        }
    }

    /// Begins to end a pod, as often as it takes, if that has not begun yet.
    fn begin_end(&self, name: &str) {
        let mut pods = self.pods.lock().unwrap();
        let attempt = pods.get_mut(name).expect("the scenario made this pod");
        let kubelet = self.kubelet.clone();
        let uid = attempt.pod.as_ref().map(|pod| pod.uid.clone());
        attempt.end.get_or_insert_with(|| {
            tokio::spawn(async move {
                // Without claims there is nothing to end.
                let Some(uid) = uid else { return };
                while let Err(error) = kubelet.end_pod(&uid).await {
                    assert!(
                        matches!(error, kubelet::Error::Unprepare(_)),
                        "the stand-in ends a pod: {error}"
                    );
                    tokio::time::sleep(END_AGAIN).await;
                }
            })
        });
    }

    async fn end(&self, name: &str) {
        self.begin_end(name);
        let ended = self.pods.lock().unwrap().get_mut(name).and_then(|attempt| attempt.end.take());
        let ended = timeout(GUARD, ended.expect("the end was asked for")).await;
        ended
            .unwrap_or_else(|_| panic!("the stand-in still ends {name}"))
            .expect("the stand-in does not panic");
    }
}

/// The devices that a container got, by its variables `GOT_<device>=<id>`, sorted.
fn devices<'a>(variables: impl Iterator<Item = &'a str>) -> Vec<String> {
    let ids = variables.filter_map(|variable| Some(variable.strip_prefix("GOT_")?.split_once('=')?.1));
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    ids.sort();
    ids
}
