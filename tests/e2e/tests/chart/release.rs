//! A release of the chart on the cluster's node, with the GPUs of the cluster's own fake node.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use e2e::api::{GUARD, wait};
use e2e::cluster::Cluster;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Duration, Instant, sleep, timeout};

/// Releases share names that belong to the whole cluster: one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());
/// The name of all releases, in different namespaces.
const NAME: &str = "dra-driver";
/// How often what cannot be watched is looked at.
const PACE: Duration = Duration::from_millis(50);

/// A release, installed or not.
pub(crate) struct Release {
    pub(crate) namespace: String,
    pub(crate) driver: String,
    pub(crate) node: String,
    pub(crate) client: Client,
    values: PathBuf,
    _folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Release {
    /// A release that is not installed; what an earlier run has left of it is removed.
    pub(crate) async fn new(namespace: &str, driver: &str) -> Self {
        let alone = ALONE.lock().await;
        let cluster = Cluster::current();
        let folder = TempDir::new().unwrap();
        let values = folder.path().join("values.yaml");
        fs_err::write(&values, values_of_the_cluster().to_string()).unwrap();
        let release = Self {
            namespace: namespace.to_owned(),
            driver: driver.to_owned(),
            node: cluster.node.clone(),
            client: cluster.client().await,
            values,
            _folder: folder,
            _alone: alone,
        };
        let left =
            ["uninstall", NAME, "--namespace", namespace, "--no-hooks", "--ignore-not-found", "--wait"];
        run("helm", &left, "").await.unwrap();
        release.delete_slices().await;
        release
    }

    /// Installs with these arguments more, and waits until the plugin is ready.
    pub(crate) async fn install(&self, more: &[&str]) -> String {
        let driver = format!("driver.name={}", self.driver);
        let first = ["install", NAME, CHART, "--namespace", &self.namespace, "--set", &driver, "--wait"];
        self.with_values(&first, more).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Upgrades with these arguments more, keeps the other values, and waits until all pods are new.
    pub(crate) async fn upgrade(&self, more: &[&str]) -> Result<String, String> {
        let first = ["upgrade", NAME, CHART, "--namespace", &self.namespace, "--reuse-values", "--wait"];
        self.with_values(&first, more).await
    }

    /// Runs helm with the values that the cluster needs.
    pub(crate) async fn with_values(&self, first: &[&str], more: &[&str]) -> Result<String, String> {
        let values = self.values.display().to_string();
        let arguments = [first, &["--values", &values], more].concat();
        run("helm", &arguments, "").await
    }

    /// Runs helm for this release: the arguments stand around its name and namespace.
    pub(crate) async fn helm(&self, before: &[&str], after: &[&str]) -> Result<String, String> {
        run("helm", &[before, &[NAME], after, &["--namespace", &self.namespace]].concat(), "").await
    }

    /// `helm uninstall`, as users type it.
    pub(crate) async fn uninstall(&self) -> Result<String, String> {
        self.helm(&["uninstall"], &[]).await
    }

    /// What the chart has installed, hooks included.
    pub(crate) async fn objects(&self) -> String {
        let manifest = self.helm(&["get", "manifest"], &[]).await.unwrap();
        let hooks = self.helm(&["get", "hooks"], &[]).await.unwrap();
        format!("{manifest}\n---\n{hooks}")
    }

    /// Waits until nothing is left of an uninstalled release: of its objects, its slices, its files on the node.
    pub(crate) async fn nothing_is_left(&self, objects: &str) {
        let end = Instant::now() + GUARD;
        loop {
            let get = ["get", "--filename", "-", "--ignore-not-found", "--output", "name"];
            let mut left = run("kubectl", &[&get[..], &["--namespace", &self.namespace]].concat(), objects)
                .await
                .unwrap();
            left += &self
                .slices()
                .await
                .iter()
                .filter_map(|slice| slice.metadata.name.clone())
                .collect::<String>();
            left += &self.files().iter().map(|path| format!("{}\n", path.display())).collect::<String>();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left of the release:\n{left}");
            sleep(PACE).await;
        }
    }

    /// The driver's files and folders on the node.
    pub(crate) fn files(&self) -> BTreeSet<PathBuf> {
        let driver = self.driver.as_str();
        let of = |folder: &str, wanted: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
            entries
                .filter(|entry| wanted(&entry.file_name().to_string_lossy()))
                .map(|entry| entry.path())
                .collect()
        };
        let itself = |name: &str| name == driver;
        let begins = |name: &str| name.strip_prefix(driver).is_some_and(|rest| rest.starts_with('-'));
        let mut files = BTreeSet::new();
        files.extend(of("/run", &itself));
        files.extend(of("/var/lib/kubelet/plugins", &itself));
        files.extend(of("/var/lib/kubelet/plugins_registry", &begins));
        files.extend(of("/var/run/cdi", &begins));
        files
    }

    /// The driver's slices.
    pub(crate) async fn slices(&self) -> Vec<ResourceSlice> {
        let slices: Api<ResourceSlice> = Api::all(self.client.clone());
        let own = ListParams::default().fields(&format!("spec.driver={}", self.driver));
        slices.list(&own).await.unwrap().items
    }

    async fn delete_slices(&self) {
        let slices: Api<ResourceSlice> = Api::all(self.client.clone());
        let own = ListParams::default().fields(&format!("spec.driver={}", self.driver));
        slices.delete_collection(&DeleteParams::default(), &own).await.unwrap();
    }

    /// The name of the plugin's DaemonSet and ServiceAccount.
    pub(crate) fn plugin(&self) -> String {
        format!("{NAME}-kubelet-plugin")
    }

    /// The plugin's DaemonSet.
    pub(crate) async fn daemon_set(&self) -> DaemonSet {
        let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = self.plugin();
        let there = |set: Option<&DaemonSet>| set.is_some();
        wait(&sets, &name, "exist", there).await.expect("the condition is about one that exists")
    }
}

/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/helm/dra-driver");

/// The image of the test cluster, and where the fake node lies.
fn values_of_the_cluster() -> Value {
    let fake = std::env::var("DRA_FAKE_NODE");
    let fake = fake.expect("the cluster should have GPUs: cargo xtask cluster up --fake-node hgx-h100-8");
    let env =
        json!([{"name": "SYSFS_ROOT", "value": "/fake/sys"}, {"name": "PROCFS_ROOT", "value": "/fake/proc"}]);
    let extra = json!({
        "extraEnv": env,
        "extraVolumes": [{"name": "fake", "hostPath": {"path": Path::new(&fake)}}],
        "extraVolumeMounts": [{"name": "fake", "mountPath": "/fake", "readOnly": true}],
    });
    json!({
        "image": {"registry": "registry.local", "pullPolicy": "Never"},
        "nvidiaDriverRoot": "/run/nvidia/driver",
        "kubeletPlugin": extra,
        "tests": extra,
    })
}

/// Runs a program and returns what it prints, or what it complains of.
pub(crate) async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.kill_on_drop(true).spawn().unwrap_or_else(|error| panic!("start {program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    // One that does not read its input may have ended.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let line = format!("{program} {}", arguments.join(" "));
    let output =
        timeout(GUARD, child.wait_with_output()).await.unwrap_or_else(|_| panic!("`{line}` hangs")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("`{line}` failed:\n{said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Applies manifests to a namespace.
pub(crate) async fn apply(namespace: &str, manifests: &str) {
    let arguments = ["apply", "--server-side", "--namespace", namespace, "--filename", "-"];
    run("kubectl", &arguments, manifests).await.unwrap_or_else(|error| panic!("{error}"));
}
