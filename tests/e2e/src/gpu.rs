//! The plugin on the cluster's own node, under a driver name of its own and with GPUs of its own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fake_node::{CreateOptions, Description};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::resource::v1::{Device, DeviceClass, ResourceClaim, ResourceSlice};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::api::{GUARD, Space, log_until, phase, unique, wait};
use crate::cluster::Cluster;

/// The image for programs that need a GPU.
pub const IMAGE: &str = "registry.local/cuda:1";
/// The driver's name in the manifests that users get.
const DRIVER: &str = "eks-hybrid-dra";
/// The alias of the GPUs' class there.
const ALIAS: &str = "gpu-compute-class";
/// The namespace and name of the ServiceAccount in the plugin's manifests.
const ACCOUNT: (&str, &str) = ("dra-driver", "dra-kubelet-plugin");
/// How often a folder is looked at.
const PACE: Duration = Duration::from_millis(20);

/// Tests that restart the kubelet write, all others read.
static KUBELET: RwLock<()> = RwLock::const_new(());

/// The right to use the kubelet while no other test of this program restarts it.
pub async fn kubelet() -> RwLockReadGuard<'static, ()> {
    KUBELET.read().await
}

/// The right to restart the kubelet: no other test of this program uses it.
pub async fn kubelet_alone() -> RwLockWriteGuard<'static, ()> {
    KUBELET.write().await
}

/// A plugin on the cluster's node, with a namespace and a DeviceClass for its GPUs.
#[derive(Debug)]
pub struct Gpus {
    /// The fake GPU node whose GPUs it has.
    pub fake: fake_node::Node,
    /// The driver's name.
    pub driver: String,
    /// The class of its GPUs.
    pub class: String,
    /// The namespace.
    pub space: Space,
    /// The cluster.
    pub cluster: Cluster,
    folder: TempDir,
    child: Child,
    /// How often the kubelet must have registered the plugin.
    registrations: usize,
}

impl Gpus {
    /// Eight H100, published.
    pub async fn new(stem: &str) -> Self {
        Self::with("hgx-h100-8", stem).await
    }

    /// The GPUs of a built-in description, published.
    pub async fn with(description: &str, stem: &str) -> Self {
        let cluster = Cluster::current();
        let client = cluster.client().await;
        let folder = TempDir::new().expect("make a folder for the GPUs");
        let description = Description::builtin(description).expect("there is this description");
        let path = folder.path().join("node");
        let fake = fake_node::Node::create(&description, &path, &CreateOptions::default());
        let fake = fake.expect("make the fake node");
        fs_err::copy(nvidia_smi(), fake.driver_root().join("usr/bin/nvidia-smi")).expect("copy nvidia-smi");
        let driver = format!("{}.example.com", unique(stem));
        let class = format!("gpu.{driver}");
        let space = Space::create(client.clone(), stem, json!({})).await;
        let child = start(&[], &cluster, &client, &fake, &driver, folder.path()).await;
        let gpus = Self { fake, driver, class, space, cluster, folder, child, registrations: 1 };
        gpus.apply_example("device-classes.yaml").await;
        gpus.published().await;
        gpus.registered().await;
        gpus
    }

    /// Starts the plugin again, after [`Self::kill`] or [`Self::stop`].
    pub async fn start(&mut self) {
        self.start_under(&[]).await;
    }

    /// Starts the plugin again under another program, which kills it at some time.
    pub async fn start_under(&mut self, before: &[OsString]) {
        let client = &self.space.client;
        self.child = start(before, &self.cluster, client, &self.fake, &self.driver, self.folder.path()).await;
        self.registrations += 1;
        self.registered().await;
    }

    /// Waits until the plugin, or the program that it runs under, has been killed.
    pub async fn killed(&mut self) {
        let status = timeout(GUARD, self.child.wait()).await.expect("the plugin dies").expect("wait for it");
        assert_eq!(
            status.signal(),
            Some(Signal::KILL.as_raw()),
            "the plugin ended otherwise:\n{}",
            self.log()
        );
    }

    /// Where the plugin serves its metrics.
    #[must_use]
    pub fn admin_address(&self) -> String {
        let log = self.log();
        let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut addresses = lines.filter(|line| line["message"] == "serving /metrics, /healthz and /readyz");
        let line = addresses.next().expect("the plugin says where its metrics are");
        line["address"].as_str().expect("an address is a text").to_owned()
    }

    /// What the plugin's metrics say now.
    pub async fn metrics(&self) -> String {
        let address = self.admin_address();
        let mut stream = TcpStream::connect(&address).await.expect("connect to the plugin");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("ask for the metrics");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read the metrics");
        answer
    }

    /// Restarts the kubelet, and waits until it has registered the plugin again.
    pub async fn restart_kubelet(&mut self) {
        self.cluster.restart("kubelet").await;
        self.registrations += 1;
        self.registered().await;
    }

    /// Waits until the kubelet knows the plugin: a pod that it meets before would wait a minute for its next attempt.
    /// Only the plugin's log tells.
    async fn registered(&self) {
        self.until("be registered", async || {
            let times = self.log().matches("registered with the kubelet").count();
            (times >= self.registrations).then_some(())
        })
        .await;
    }

    /// Kills the plugin as a crash would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("kill the plugin");
    }

    /// Asks the plugin to end, and waits for that.
    pub async fn stop(&mut self) {
        kill_process(self.pid(), Signal::TERM).expect("ask the plugin to end");
        let status = timeout(GUARD, self.child.wait()).await.expect("the plugin ends").expect("wait for it");
        assert!(status.success(), "the plugin ended with {status}:\n{}", self.log());
    }

    /// The plugin's process.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let id = self.child.id().expect("the plugin runs");
        Pid::from_raw(id.try_into().expect("process ids are small")).expect("process ids are positive")
    }

    /// The plugin's log until now.
    #[must_use]
    pub fn log(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until all GPUs are published in a whole pool, and returns their devices.
    pub async fn published(&self) -> Vec<Device> {
        let wanted = self.fake.state().expect("read the fake node").gpus.len();
        self.until("publish its GPUs", async || {
            let slices = self.slices().await;
            let whole = slices.iter().all(|slice| {
                let pool = &slice.spec.pool;
                let same = slices.iter().filter(|other| other.spec.pool.generation == pool.generation);
                usize::try_from(pool.resource_slice_count) == Ok(same.count())
            });
            let devices: Vec<Device> =
                slices.into_iter().flat_map(|slice| slice.spec.devices.unwrap_or_default()).collect();
            (whole && devices.len() == wanted).then_some(devices)
        })
        .await
    }

    /// The driver's slices.
    pub async fn slices(&self) -> Vec<ResourceSlice> {
        let slices: Api<ResourceSlice> = Api::all(self.space.client.clone());
        let own = ListParams::default().fields(&format!("spec.driver={}", self.driver));
        slices.list(&own).await.expect("list the slices").items
    }

    /// The class that is the same under another name.
    fn alias(&self) -> String {
        format!("{ALIAS}.{}", self.driver)
    }

    /// Applies an example of deploy/examples as users get it, but for this driver's name, class, namespace and image.
    pub async fn apply_example(&self, name: &str) {
        let path = repository().join("deploy/examples").join(name);
        self.apply(&fs_err::read_to_string(path).expect("read the example")).await;
    }

    /// Applies manifests as users get them, but for this driver's name, class, namespace and image.
    pub async fn apply(&self, manifests: &str) {
        let text = manifests
            .replace(ALIAS, &self.alias())
            .replace(DRIVER, &self.driver)
            .replace("ml-workloads", &self.space.name)
            .replace("pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime", IMAGE)
            .replace(r#"["python", "train.py"]"#, r#"["sh", "-c", "nvidia-smi -L && echo end"]"#)
            .replace("nvidia/cuda:12.4.1-base-ubuntu22.04", IMAGE)
            .replace(r#"["nvidia-smi", "-L"]"#, r#"["sh", "-c", "nvidia-smi -L && echo end"]"#)
            .replace("nvidia-smi -L && exec", "nvidia-smi -L && echo end && exec");
        kubectl(&["apply", "--server-side", "--namespace", &self.space.name, "--filename", "-"], &text).await;
    }

    /// Makes a claim with these requests, as in `spec.devices` of a ResourceClaim.
    pub async fn claim(&self, name: &str, devices: Value) -> ResourceClaim {
        self.claim_in(&self.space, name, devices).await
    }

    /// As [`Self::claim`], in another namespace.
    pub async fn claim_in(&self, space: &Space, name: &str, devices: Value) -> ResourceClaim {
        let manifest = json!({"metadata": {"name": name}, "spec": {"devices": devices}});
        crate::api::make(&space.api(), manifest).await
    }

    /// A request for one GPU.
    #[must_use]
    pub fn request(&self, name: &str) -> Value {
        json!({"name": name, "exactly": {"deviceClassName": self.class}})
    }

    /// A request for one GPU that a CEL expression picks; `<driver>` in it is the driver's name.
    #[must_use]
    pub fn request_where(&self, name: &str, expression: &str) -> Value {
        let expression = expression.replace("<driver>", &self.driver);
        json!({"name": name, "exactly": {
            "deviceClassName": self.class, "selectors": [{"cel": {"expression": expression}}],
        }})
    }

    /// Makes a pod with one container, `main`, that uses a claim, says what it sees, and waits to be deleted.
    pub async fn pod(&self, name: &str, claim: &str) -> Pod {
        self.pod_in(&self.space, name, claim).await
    }

    /// As [`Self::pod`], in another namespace.
    pub async fn pod_in(&self, space: &Space, name: &str, claim: &str) -> Pod {
        let spec = json!({
            "terminationGracePeriodSeconds": 1,
            "resourceClaims": [{"name": "gpu", "resourceClaimName": claim}],
            "containers": [{
                "name": "main", "image": IMAGE,
                "command": ["sh", "-c", "nvidia-smi -L; echo end; exec sleep 86400"],
                "resources": {"claims": [{"name": "gpu"}]},
            }],
        });
        space.pod(name, "", spec).await
    }

    /// Waits until a pod runs.
    pub async fn runs(&self, pod: &str) -> Pod {
        wait(&self.space.api::<Pod>(), pod, "run", |pod: Option<&Pod>| {
            // One that ended at once will never run: the caller reads why in its log.
            matches!(phase(pod), Some("Running" | "Succeeded" | "Failed"))
        })
        .await
        .expect("the condition is about a pod that exists")
    }

    /// The UUIDs of the GPUs that a container lists.
    pub async fn sees(&self, pod: &str, container: &str) -> BTreeSet<String> {
        self.runs(pod).await;
        let ended = |log: &str| log.lines().any(|line| line == "end");
        let log = log_until(&self.space, pod, container, "its last line", ended).await;
        let gpus = log.lines().filter(|line| line.starts_with("GPU "));
        gpus.filter_map(|line| Some(line.split_once("(UUID: ")?.1.strip_suffix(')')?.to_owned())).collect()
    }

    /// The one GPU that a container lists.
    pub async fn sees_one(&self, pod: &str, container: &str) -> String {
        let mut seen = self.sees(pod, container).await;
        assert_eq!(seen.len(), 1, "{pod}/{container} should see one GPU: {seen:?}");
        seen.pop_first().expect("there is one")
    }

    /// The UIDs of the claims on record, and of those with a CDI spec.
    #[must_use]
    pub fn prepared(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let records = names(&Path::new("/run").join(&self.driver).join("claims"));
        let records = records.iter().filter_map(|name| name.strip_suffix(".json"));
        let start = format!("{}-claim-", self.driver);
        let specs = names(Path::new("/var/run/cdi"));
        let specs = specs.iter().filter_map(|name| name.strip_prefix(&start)?.strip_suffix(".json"));
        (records.map(str::to_owned).collect(), specs.map(str::to_owned).collect())
    }

    /// Waits until no claim is prepared any more.
    pub async fn nothing_prepared(&self) {
        self.until("unprepare all claims", async || {
            let (records, specs) = self.prepared();
            (records.is_empty() && specs.is_empty()).then_some(())
        })
        .await;
    }

    /// Deletes all pods of the namespace, waits until nothing of them is left, and ends the plugin.
    pub async fn finish(mut self) {
        let pods = self.space.api::<Pod>();
        let none = ListParams::default();
        pods.delete_collection(&DeleteParams::default(), &none).await.expect("delete the pods");
        self.nothing_prepared().await;
        self.stop().await;
        let client = self.space.client.clone();
        // The kubelet would do it after 30 s.
        let slices: Api<ResourceSlice> = Api::all(client.clone());
        let own = ListParams::default().fields(&format!("spec.driver={}", self.driver));
        slices.delete_collection(&DeleteParams::default(), &own).await.expect("delete the slices");
        let classes: Api<DeviceClass> = Api::all(client);
        for class in [&self.class, &self.alias()] {
            classes.delete(class, &DeleteParams::default()).await.expect("delete the class");
        }
        self.space.remove().await;
    }

    /// Looks until something is there.
    ///
    /// # Panics
    /// When it does not come within [`GUARD`], or the plugin has ended.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let end = Instant::now() + GUARD;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "the plugin did not {what} within {GUARD:?}:\n{}", self.log());
            sleep(PACE).await;
        }
    }
}

/// Starts the plugin with the rights of its ServiceAccount, under another program if `before` names one.
async fn start(
    before: &[OsString],
    cluster: &Cluster,
    client: &Client,
    fake: &fake_node::Node,
    driver: &str,
    folder: &Path,
) -> Child {
    let config = folder.join("kubeconfig");
    fs_err::write(&config, kubeconfig(client).await.to_string()).expect("write the kubeconfig");
    let log = fs_err::OpenOptions::new().create(true).append(true).open(folder.join("log"));
    let mut line = before.to_vec();
    line.push(program().into());
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).arg("run");
    for (flag, value) in [
        ("--driver-name", driver.into()),
        ("--node-name", cluster.node.clone().into()),
        ("--kubeconfig", config.into_os_string()),
        ("--driver-root", fake.driver_root().into_os_string()),
        ("--sysfs", fake.sysfs().into_os_string()),
        ("--procfs", fake.procfs().into_os_string()),
        ("--admin-address", "127.0.0.1:0".into()),
        ("--log-level", "debug".into()),
    ] {
        command.arg(flag).arg::<OsString>(value);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("open the plugin's log").into_file());
    command.kill_on_drop(true).spawn().expect("start the plugin")
}

/// A kubeconfig with the rights of the plugin's ServiceAccount and no others.
pub async fn kubeconfig(client: &Client) -> Value {
    static APPLIED: OnceCell<()> = OnceCell::const_new();
    APPLIED
        .get_or_init(async || {
            let path = repository().join("deploy/manifests/kubelet-plugin/rbac.yaml");
            let text = fs_err::read_to_string(path).expect("read the RBAC rules");
            kubectl(&["apply", "--server-side", "--filename", "-"], &text).await;
        })
        .await;
    kubeconfig_of(client, ACCOUNT.0, ACCOUNT.1).await
}

/// A kubeconfig with the rights of a ServiceAccount and no others.
pub async fn kubeconfig_of(client: &Client, namespace: &str, name: &str) -> Value {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let token = accounts.create_token_request(name, &PostParams::default(), &TokenRequest::default()).await;
    let token = token.expect("ask for a token").status.expect("a token was issued").token;
    let admin = std::env::var("KUBECONFIG").expect("the cluster's environment has KUBECONFIG");
    let admin = fs_err::read_to_string(admin).expect("read the administrator's kubeconfig");
    let admin: Value = serde_json::from_str(&admin).expect("the cluster's kubeconfig is JSON");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "account",
        "clusters": admin["clusters"],
        "users": [{"name": "account", "user": {"token": token}}],
        "contexts": [{"name": "account", "context": {
            "cluster": admin["clusters"][0]["name"], "user": "account",
        }}],
    })
}

/// Runs kubectl with a text on its standard input.
///
/// # Panics
/// When it fails, with what it said and what it was given.
pub async fn kubectl(arguments: &[&str], input: &str) {
    let mut command = Command::new("kubectl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start kubectl");
    let mut stdin = child.stdin.take().expect("its standard input is a pipe");
    stdin.write_all(input.as_bytes()).await.expect("kubectl reads its input");
    drop(stdin);
    let output = timeout(GUARD, child.wait_with_output()).await.expect("kubectl ends").expect("wait for it");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {} failed: {stderr}\n{input}", arguments.join(" "));
}

/// The names of the files in a folder; none where there is no folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// NVIDIA's program, which the cluster's own fake node has.
fn nvidia_smi() -> PathBuf {
    let node = std::env::var_os("DRA_FAKE_NODE");
    let node = node.expect("the cluster should have GPUs: cargo xtask cluster up --fake-node hgx-h100-8");
    Path::new(&node).join("driver/usr/bin/nvidia-smi")
}

/// The plugin's program: what `DRA_KUBELET_PLUGIN` names, else the one that lies beside the folder of the tests' own.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("DRA_KUBELET_PLUGIN") {
        return named.into();
    }
    let own = std::env::current_exe().expect("a test knows its own path");
    let folder = own.ancestors().find(|folder| folder.join("dra-kubelet-plugin").is_file());
    folder.expect("cargo has built dra-kubelet-plugin").join("dra-kubelet-plugin")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
