//! A small node of its own for each run: a fake GPU node, a kubelet stand-in, and the plugin, which may die.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use fake_node::{CreateOptions, Description};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::kubelet::{
    AllocationResult, Container, ContainerClaim, Kubelet, Pod, PodClaim, Settings, Timings,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::api::{Space, make, uid, unique};

/// How long one step may take before it is taken for hung.
const GUARD: Duration = Duration::from_secs(60);
/// How often a step that failed is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// The node.
pub struct Scene {
    /// The fake GPU node.
    pub fake: fake_node::Node,
    /// The driver's name.
    pub driver: String,
    client: Client,
    node: String,
    folder: TempDir,
    kubelet: Kubelet,
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene")
            .field("node", &self.node)
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

/// A plugin that runs.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Whether the child is another program, whose child is the plugin.
    under_another: bool,
}

/// A claim with the pod that uses it.
#[derive(Debug)]
pub struct Used {
    /// The claim's UID.
    pub uid: String,
    name: String,
    pod: Pod,
}

/// A step did not succeed because the program is dead.
#[derive(Debug)]
pub struct Died(pub ExitStatus);

impl Died {
    /// Whether it was killed, as these tests do it.
    #[must_use]
    pub fn killed(&self) -> bool {
        self.0.signal() == Some(Signal::KILL.as_raw())
    }
}

impl Scene {
    /// A node with two GPUs, whose Node object exists.
    pub async fn new(client: Client) -> Self {
        let folder = TempDir::new().expect("make a folder for the node");
        let description = Description::builtin("h100-nvl-2").expect("there is this description");
        let path = folder.path().join("node");
        let fake = fake_node::Node::create(&description, &path, &CreateOptions::default());
        let node = unique("crash");
        make::<Node>(&Api::all(client.clone()), json!({"metadata": {"name": node}})).await;
        // The kubelet's own times make a run last minutes.
        let timings = Timings {
            reconcile: Duration::from_millis(50),
            registration_backoff: Duration::from_millis(50)..=Duration::from_millis(100),
            reconnect: Duration::from_millis(50)..=Duration::from_millis(100),
            ..Timings::default()
        };
        let cdi = vec![folder.path().join("cdi")];
        let settings = Settings {
            cdi,
            client: Some(client.clone()),
            timings,
            ..Settings::new(&node, folder.path().join("registry"))
        };
        let kubelet = Kubelet::start(settings).await.expect("start the stand-in");
        // The same in all scenes, each of which has a node of its own: names of files depend on it.
        let driver = "crash.example.com".to_owned();
        Self { fake: fake.expect("make the fake node"), driver, client, node, folder, kubelet }
    }

    /// The folder that holds everything of this node.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the driver's state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder().join("state").join(&self.driver)
    }

    /// The folder of the CDI specs.
    #[must_use]
    pub fn cdi(&self) -> PathBuf {
        self.folder().join("cdi")
    }

    /// Starts the plugin, under another program if `before` names one, with a kubeconfig.
    pub fn start(&self, before: &[OsString], kubeconfig: &Value) -> Program {
        let config = self.folder().join("kubeconfig");
        fs_err::write(&config, kubeconfig.to_string()).expect("write the kubeconfig");
        let log = fs_err::OpenOptions::new().create(true).append(true).open(self.folder().join("log"));
        let log = log.expect("open the plugin's log").into_file();
        let mut line: Vec<OsString> = before.to_vec();
        line.push(program().into());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).arg("run");
        let folder = |name: &str| self.folder().join(name);
        for (flag, value) in [
            ("--driver-name", self.driver.clone().into()),
            ("--node-name", self.node.clone().into()),
            ("--kubeconfig", config.into_os_string()),
            ("--driver-root", self.fake.driver_root().into_os_string()),
            ("--sysfs", self.fake.sysfs().into_os_string()),
            ("--procfs", self.fake.procfs().into_os_string()),
            ("--kubelet-registry", folder("registry").into_os_string()),
            ("--kubelet-plugins", folder("plugins").into_os_string()),
            ("--cdi-root", self.cdi().into_os_string()),
            ("--state-root", folder("state").into_os_string()),
            ("--admin-address", "127.0.0.1:0".into()),
            ("--log-level", "info".into()),
        ] {
            command.arg(flag).arg::<OsString>(value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        Program { child: command.spawn().expect("start the plugin"), under_another: !before.is_empty() }
    }

    /// The plugin's log until now.
    #[must_use]
    pub fn log(&self) -> String {
        fs_err::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// Makes a claim to which one GPU is allocated, and a pod for it, which runs nowhere.
    pub async fn claim(&self, space: &Space, name: &str, gpu: usize) -> Used {
        self.claim_of(space, name, gpu, false).await
    }

    /// [`Self::claim`], or one for administrators' access.
    pub async fn claim_of(&self, space: &Space, name: &str, gpu: usize, admin: bool) -> Used {
        let device = self.device(gpu);
        let pool = format!("{}/gpu", self.node);
        let request = json!({"name": "gpu", "exactly": {"deviceClassName": "any", "adminAccess": admin}});
        let manifest = json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}});
        let claims = space.api::<ResourceClaim>();
        let claim = make(&claims, manifest).await;
        let pod_uid = unique("pod");
        let status = json!({"status": {
            "allocation": {"devices": {"results": [
                {"request": "gpu", "driver": self.driver, "pool": pool, "device": device, "adminAccess": admin},
            ]}},
            "reservedFor": [{"resource": "pods", "name": name, "uid": pod_uid}],
        }});
        let patch = claims.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
        patch.expect("allocate the claim");
        let result = AllocationResult {
            driver: self.driver.clone(),
            pool,
            device,
            request: "gpu".to_owned(),
            admin_access: admin,
            ..AllocationResult::default()
        };
        let pod = Pod {
            namespace: space.name.clone(),
            name: name.to_owned(),
            uid: pod_uid.clone(),
            claims: vec![PodClaim {
                pod_claim_name: "gpu".to_owned(),
                name: name.to_owned(),
                uid: uid(&claim),
                reserved_for: vec![pod_uid],
                results: vec![result],
            }],
            containers: vec![Container {
                name: "main".to_owned(),
                init: false,
                claims: vec![ContainerClaim { claim: "gpu".to_owned(), request: None }],
            }],
        };
        Used { uid: uid(&claim), name: name.to_owned(), pod }
    }

    /// The name of one of the node's devices, by the GPU's address: its function is the last digit.
    fn device(&self, gpu: usize) -> String {
        let state = self.fake.state().expect("read the fake node");
        format!("gpu-{}", state.gpus[gpu].pci.to_string().replace([':', '.'], "-"))
    }

    /// Waits until the plugin is registered and its slice with both devices is there.
    ///
    /// # Errors
    /// The program died.
    pub async fn published(&self, program: &mut Program) -> Result<(), Died> {
        let slices: Api<ResourceSlice> = Api::all(self.client.clone());
        let ours =
            ListParams::default().fields(&format!("spec.driver={},spec.nodeName={}", self.driver, self.node));
        self.until(program, "be registered and published", async || {
            let connected = self.kubelet.plugins().iter().any(|plugin| plugin.connected);
            let slices = slices.list(&ours).await.expect("list the slices").items;
            let devices = |slice: &ResourceSlice| slice.spec.devices.as_ref().map_or(0, Vec::len);
            let whole =
                |slice: &ResourceSlice| slice.spec.pool.resource_slice_count == 1 && devices(slice) == 2;
            if connected && slices.len() == 1 && slices.iter().all(whole) {
                return Ok(());
            }
            Err(format!("connected: {connected}, slices: {slices:#?}"))
        })
        .await
    }

    /// Prepares a claim and returns the container's CDI devices.
    ///
    /// # Errors
    /// The program died.
    pub async fn prepare(&self, program: &mut Program, used: &Used) -> Result<Vec<String>, Died> {
        self.until(program, "prepare the claim", async || self.try_prepare(used).await).await
    }

    /// One attempt to prepare a claim.
    ///
    /// # Errors
    /// What the kubelet tells the pod's owner.
    pub async fn try_prepare(&self, used: &Used) -> Result<Vec<String>, String> {
        let mut prepared = self.kubelet.prepare_pod(&used.pod).await.map_err(|error| error.to_string())?;
        let mut ids = prepared.containers.remove(0).cdi_devices;
        // The kubelet adds each answer to those that it got before it was interrupted.
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// Ends the pod of a claim, and with it the claim.
    ///
    /// # Errors
    /// The program died.
    pub async fn end(&self, program: &mut Program, used: &Used) -> Result<(), Died> {
        self.until(program, "unprepare the claim", async || {
            self.kubelet.end_pod(&used.pod.uid).await.map_err(|error| error.to_string())
        })
        .await
    }

    /// Removes what the API server has of the node.
    pub async fn remove(self) {
        let nodes: Api<Node> = Api::all(self.client);
        nodes.delete(&self.node, &Default::default()).await.expect("delete the node");
        self.kubelet.stop().await;
    }

    /// Tries a step until it succeeds or the program has died.
    async fn until<T>(
        &self,
        program: &mut Program,
        what: &str,
        mut step: impl AsyncFnMut() -> Result<T, String>,
    ) -> Result<T, Died> {
        let end = Instant::now() + GUARD;
        loop {
            let failed = match step().await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            if let Some(status) = program.child.try_wait().expect("look after the plugin") {
                return Err(Died(status));
            }
            assert!(Instant::now() < end, "the plugin does not {what}: {failed}\n{}", self.log());
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Used {
    /// The claim's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Program {
    /// Its process.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let id = self.child.id().expect("the program runs");
        Pid::from_raw(id.try_into().expect("process ids are small")).expect("process ids are positive")
    }

    /// The plugin's process where it runs under another.
    fn child_of_child(&self) -> Option<Pid> {
        let parent = self.pid().as_raw_nonzero();
        let children = fs_err::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// It was killed instead.
    pub async fn stop(&mut self) -> Result<(), Died> {
        if self.child.id().is_some() {
            let pid = if self.under_another { self.child_of_child() } else { Some(self.pid()) };
            // One that is dead is seen below.
            pid.map(|pid| kill_process(pid, Signal::TERM));
        }
        let status = timeout(GUARD, self.child.wait()).await.expect("the program ends").expect("wait for it");
        if status.success() { Ok(()) } else { Err(Died(status)) }
    }
}

/// The plugin's program, which lies beside the folder of the tests' own.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let folder = own.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    folder.join("dra-kubelet-plugin")
}
