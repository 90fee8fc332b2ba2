//! A fake node, a small API server, and claims between them.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dra_driver::cdi::{DriverFiles, Roots};
use dra_driver::claim::{ClaimRef, PreparedDevice};
use dra_driver::node::View;
use dra_kubelet_plugin::claims::{Claims, Settings};
use dra_kubelet_plugin::metrics::Metrics;
use dra_kubelet_plugin::node::{self, Node};
use dra_kubelet_plugin::yielding::Asked;
use dra_runtime::events::{Event, Events};
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::Process;
use fake_node::{CreateOptions, Description};
use serde_json::{Value, json};
use support::transport::{Script, client};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) const DRIVER: &str = "gpu.test.example";
pub(crate) const NODE: &str = "node-1";
/// Keeps a broken test from hanging.
pub(crate) const GUARD: Duration = Duration::from_secs(60);
/// The GPUs of the HGX H100, in the order of their slots.
pub(crate) const GPUS: [&str; 8] = [
    "gpu-0000-1b-00-0",
    "gpu-0000-43-00-0",
    "gpu-0000-52-00-0",
    "gpu-0000-61-00-0",
    "gpu-0000-9d-00-0",
    "gpu-0000-c3-00-0",
    "gpu-0000-d1-00-0",
    "gpu-0000-df-00-0",
];

type Objects = Arc<Mutex<HashMap<(String, String), Value>>>;

/// What a claim is given by the scheduler.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) results: Vec<Value>,
    pub(crate) config: Vec<Value>,
}

impl Given {
    /// GPUs of this node, exclusively, each for a request of its own.
    pub(crate) fn gpus(slots: &[usize]) -> Self {
        let results = slots.iter().map(|slot| result(&format!("gpu-{slot}"), GPUS[*slot])).collect();
        Self { results, config: Vec::new() }
    }

    /// GPUs of this node with admin access.
    pub(crate) fn admin(slots: &[usize]) -> Self {
        let mut given = Self::gpus(slots);
        for result in &mut given.results {
            result["adminAccess"] = json!(true);
        }
        given
    }
}

pub(crate) fn result(request: &str, device: &str) -> Value {
    json!({ "request": request, "driver": DRIVER, "pool": format!("{NODE}/gpu"), "device": device })
}

pub(crate) fn claim(name: &str) -> ClaimRef {
    ClaimRef { namespace: "team-a".to_owned(), name: name.to_owned(), uid: format!("{name}-uid") }
}

/// A node with all that claims need.
pub(crate) struct Bench {
    pub(crate) claims: Claims,
    pub(crate) script: Script,
    pub(crate) fake: fake_node::Node,
    pub(crate) node: Node,
    pub(crate) metrics: Metrics,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) folder: tempfile::TempDir,
    /// Whether the newest instance owns the node.
    pub(crate) owns: watch::Sender<bool>,
    client: kube::Client,
    objects: Objects,
    watching: CancellationToken,
    cancel: CancellationToken,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let bench = Self::with(|_| {}).await;
        bench.seen(|view| view.inventory.gpus.len() == 8 && view.without_nvml.is_none()).await;
        bench
    }

    /// A node that is changed before anything looks at it, and not waited for.
    pub(crate) async fn with(prepare: impl FnOnce(&fake_node::Node)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let description = Description::builtin("hgx-h100-8").unwrap();
        let options = CreateOptions::default();
        let fake = fake_node::Node::create(&description, &folder.path().join("node"), &options).unwrap();
        prepare(&fake);
        std::fs::create_dir_all(folder.path().join("proc")).unwrap();
        let (metrics, watching) = (Metrics::new(DRIVER, "test"), CancellationToken::new());
        let roots = dra_driver::inventory::Roots {
            driver: fake.driver_root(),
            sysfs: fake.sysfs(),
            procfs: fake.procfs(),
        };
        let asked_to_yield = watch::channel(Asked::ByNobody).1;
        let settings = node::Settings { roots, gpu_timeout: Duration::from_secs(3), asked_to_yield };
        let node = Node::start(settings, metrics.clone(), watching.clone()).unwrap();
        let objects = Objects::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let path = "/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims/{name}";
        let app = axum::Router::new().route(path, get(serve)).with_state(Arc::clone(&objects));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let script = Script::new();
        let client = client(kube::Config::new(url), &script).unwrap();
        let cancel = CancellationToken::new();
        let owns = watch::Sender::new(true);
        let (claims, events) = start(&folder, &fake, &client, &node, &metrics, &cancel, &owns);
        Self { claims, script, fake, node, metrics, events, folder, owns, client, objects, watching, cancel }
    }

    /// Ends the process, so to speak, and starts a new one on what it left.
    pub(crate) fn restart(&mut self, owns: bool) {
        self.cancel.cancel();
        self.cancel = CancellationToken::new();
        self.owns = watch::Sender::new(owns);
        let Self { folder, fake, client, node, metrics, cancel, owns, .. } = self;
        (self.claims, self.events) = start(folder, fake, client, node, metrics, cancel, owns);
    }

    /// Another instance of the plugin, as in a rolling update.
    pub(crate) fn second(&self) -> Claims {
        let Self { folder, fake, client, node, metrics, cancel, .. } = self;
        start(folder, fake, client, node, metrics, cancel, &watch::Sender::new(false)).0
    }

    pub(crate) async fn seen(&self, wanted: impl FnMut(&Arc<View>) -> bool) {
        let mut views = self.node.changes();
        timeout(GUARD, views.wait_for(wanted)).await.expect("in time").unwrap();
    }

    /// The scheduler allocates a claim, which is made if there is none.
    pub(crate) fn allocate(&self, claim: &ClaimRef, given: &Given) {
        let object = json!({
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": { "namespace": claim.namespace, "name": claim.name, "uid": claim.uid },
            "spec": {},
            "status": {
                "allocation": { "devices": { "results": given.results, "config": given.config } },
                "reservedFor": [{ "resource": "pods", "name": format!("{}-pod", claim.name), "uid": "p" }],
            },
        });
        let key = (claim.namespace.clone(), claim.name.clone());
        self.objects.lock().unwrap().insert(key, object);
    }

    pub(crate) fn deallocate(&self, claim: &ClaimRef) {
        let key = (claim.namespace.clone(), claim.name.clone());
        self.objects.lock().unwrap().get_mut(&key).unwrap()["status"] = json!({});
    }

    pub(crate) fn delete(&self, claim: &ClaimRef) {
        let key = (claim.namespace.clone(), claim.name.clone());
        self.objects.lock().unwrap().remove(&key).unwrap();
    }

    /// Prepares one claim, for as long as the kubelet would wait.
    pub(crate) async fn prepare(&self, claim: &ClaimRef) -> Result<Vec<PreparedDevice>, String> {
        self.prepare_within(claim, Duration::from_secs(40)).await
    }

    /// What comes of a claim when the kubelet gives each call so much time. It calls again where a call ends in the
    /// middle of the work, as it does on a busy machine.
    pub(crate) async fn prepare_within(
        &self,
        claim: &ClaimRef,
        within: Duration,
    ) -> Result<Vec<PreparedDevice>, String> {
        let end = Instant::now() + GUARD;
        loop {
            let answer = prepare(&self.claims, claim, within).await;
            let goes_on =
                answer.as_ref().is_err_and(|error| error.contains("the kubelet's next call joins it"));
            if !goes_on || Instant::now() >= end {
                return answer;
            }
        }
    }

    pub(crate) async fn unprepare(&self, claim: &ClaimRef) -> Result<(), String> {
        let answers = self.claims.unprepare(vec![claim.clone()], Instant::now() + Duration::from_secs(40));
        timeout(GUARD, answers).await.expect("in time").remove(&claim.uid).unwrap()
    }

    pub(crate) fn spec_path(&self, claim: &ClaimRef) -> PathBuf {
        self.cdi().join(format!("{DRIVER}-claim-{}.json", claim.uid))
    }

    pub(crate) fn cdi(&self) -> PathBuf {
        self.folder.path().join("cdi")
    }

    pub(crate) fn record_path(&self, claim: &ClaimRef) -> PathBuf {
        self.folder.path().join("run").join(DRIVER).join("claims").join(format!("{}.json", claim.uid))
    }

    /// The device nodes in a claim's CDI spec, by CDI device.
    pub(crate) fn spec(&self, claim: &ClaimRef) -> BTreeMap<String, String> {
        let spec: Value = serde_json::from_slice(&std::fs::read(self.spec_path(claim)).unwrap()).unwrap();
        let kind = spec["kind"].as_str().unwrap();
        let device = |device: &Value| {
            let node = device["containerEdits"]["deviceNodes"][0]["path"].as_str().unwrap();
            (format!("{kind}={}", device["name"].as_str().unwrap()), node.to_owned())
        };
        spec["devices"].as_array().unwrap().iter().map(device).collect()
    }

    /// A process that NVML knows on a GPU.
    pub(crate) fn process(&self, slot: usize, pid: u32) {
        let process = Process { pid, name: "train".into(), memory_mib: 1024, graphics: false };
        self.fake.inject(&Injection::ProcessStarts { gpu: GpuSelector::Slot(slot), process }).unwrap();
    }

    pub(crate) fn end_process(&self, slot: usize, pid: u32) {
        self.fake.inject(&Injection::ProcessEnds { gpu: GpuSelector::Slot(slot), pid }).unwrap();
    }

    /// A process that has a GPU's device node open, and started just now.
    pub(crate) fn opens(&self, pid: u32, slot: usize) {
        let process = self.folder.path().join("proc").join(pid.to_string());
        std::fs::create_dir_all(process.join("fd")).unwrap();
        symlink(self.device_node(slot), process.join("fd/3")).unwrap();
    }

    pub(crate) fn closes(&self, pid: u32) {
        std::fs::remove_dir_all(self.folder.path().join("proc").join(pid.to_string())).unwrap();
    }

    pub(crate) fn device_node(&self, slot: usize) -> PathBuf {
        let minor = self.fake.state().unwrap().gpus[slot].minor;
        self.fake.driver_root().join(format!("dev/nvidia{minor}"))
    }

    /// Waits until a claim's record has gone, or come.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < GUARD, "never: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.watching.cancel();
    }
}

pub(crate) async fn prepare(
    claims: &Claims,
    claim: &ClaimRef,
    within: Duration,
) -> Result<Vec<PreparedDevice>, String> {
    let answers = claims.prepare(vec![claim.clone()], Instant::now() + within);
    timeout(GUARD, answers).await.expect("in time").remove(&claim.uid).unwrap()
}

fn start(
    folder: &tempfile::TempDir,
    fake: &fake_node::Node,
    client: &kube::Client,
    node: &Node,
    metrics: &Metrics,
    cancel: &CancellationToken,
    owns: &watch::Sender<bool>,
) -> (Claims, mpsc::Receiver<Event>) {
    let root = |name: &str| folder.path().join(name);
    let roots = Roots {
        driver: fake.driver_root(),
        host_driver: fake.driver_root(),
        dev: Path::new("/nonexistent").to_owned(),
    };
    let settings = Settings {
        driver: DRIVER.to_owned(),
        node_name: NODE.to_owned(),
        state_root: root("run"),
        cdi_root: root("cdi"),
        procfs: root("proc"),
    };
    let (events, receiver) = Events::queue();
    let files = DriverFiles::new(roots, DRIVER);
    let claims = Claims::start(
        settings,
        client.clone(),
        node.clone(),
        files,
        owns.subscribe(),
        metrics.clone(),
        events,
        cancel.clone(),
    );
    (claims, receiver)
}

async fn serve(
    State(objects): State<Objects>,
    UrlPath((namespace, name)): UrlPath<(String, String)>,
) -> Response {
    match objects.lock().unwrap().get(&(namespace, name.clone())) {
        Some(object) => Json(object.clone()).into_response(),
        None => {
            let message = format!("resourceclaims.resource.k8s.io \"{name}\" not found");
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "reason": "NotFound", "code": 404, "message": message,
            });
            (StatusCode::NOT_FOUND, Json(status)).into_response()
        }
    }
}
