//! The plugin as a process beside a kubelet stand-in, with no API server at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fake_node::inject::{GpuSelector, Injection};
use fake_node::{CreateOptions, Description, Node};
use rustix::process::{Pid, Signal, kill_process};
use support::kubelet::{
    AllocationResult, Health, Kubelet, Pod, PodClaim, PrepareError, Registered, Settings, Timings,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const DRIVER: &str = "gpu.example.com";
const POOL: &str = "node-a/gpu";
/// When a test is called stuck.
const SOON: Duration = Duration::from_secs(30);

/// A folder with everything, and a stand-in. Paths of sockets are short, so it lies in `/tmp`.
struct Place {
    folder: TempDir,
    kubelet: Kubelet,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("k").tempdir_in("/tmp").unwrap();
        let brief = Duration::from_millis;
        let timings = Timings {
            reconcile: brief(10),
            registration_backoff: brief(10)..=brief(40),
            reconnect: brief(10)..=brief(40),
            reopen_health: brief(10),
            // Answers are due in half of that.
            call: Duration::from_secs(8),
            ..Timings::default()
        };
        let settings = Settings {
            cdi: vec![folder.path().join("cdi")],
            timings,
            ..Settings::new("node-a", folder.path().join("r"))
        };
        Self { kubelet: Kubelet::start(settings).await.unwrap(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A fake node with two GPUs.
    fn gpus(&self) -> Node {
        let description = Description::builtin("h100-nvl-2").unwrap();
        Node::create(&description, &self.path("node"), &CreateOptions::default()).unwrap()
    }

    /// Starts the plugin; nothing listens where its API server should be.
    fn plugin(&self, more: &[&str]) -> Plugin {
        let config = self.path("kubeconfig");
        let nowhere = r#"{"apiVersion":"v1","kind":"Config","current-context":"c",
            "clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:1"}}],
            "users":[{"name":"c","user":{}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"c"}}]}"#;
        std::fs::write(&config, nowhere).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dra-kubelet-plugin"));
        command.args(["run", "--driver-name", DRIVER, "--node-name", "node-a"]);
        command.args(["--admin-address", "127.0.0.1:0", "--kubeconfig"]).arg(config);
        for (flag, path) in [
            ("--driver-root", "node/driver"),
            ("--sysfs", "node/sys"),
            ("--procfs", "node/proc"),
            ("--kubelet-registry", "r"),
            ("--kubelet-plugins", "p"),
            ("--cdi-root", "cdi"),
            ("--state-root", "state"),
        ] {
            command.arg(flag).arg(self.path(path));
        }
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        Plugin(command.spawn().unwrap())
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let log = || std::fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(self.kubelet.wait(SOON, condition).await, "not {what}; the plugin's log:\n{}", log());
    }

    async fn registered(&self, plugins: usize) -> Vec<Registered> {
        let connected = || self.kubelet.plugins().iter().filter(|plugin| plugin.connected).count() == plugins;
        self.until("registered", connected).await;
        self.kubelet.plugins()
    }
}

struct Plugin(Child);

impl Plugin {
    /// Asks it to end, and says whether it did so in order.
    async fn stop(mut self) -> bool {
        let pid = Pid::from_raw(self.0.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        tokio::time::timeout(SOON, self.0.wait()).await.expect("it ends").unwrap().success()
    }
}

/// A pod whose claim nobody but the kubelet has heard of.
fn pod(claims: &[(&str, &str)]) -> Pod {
    let claim = |(name, uid): &(&str, &str)| PodClaim {
        pod_claim_name: (*name).to_owned(),
        name: (*name).to_owned(),
        uid: (*uid).to_owned(),
        reserved_for: vec!["pod-uid".to_owned()],
        results: vec![AllocationResult {
            driver: DRIVER.to_owned(),
            pool: POOL.to_owned(),
            device: "gpu-0000-01-00-0".to_owned(),
            request: "gpu".to_owned(),
            ..AllocationResult::default()
        }],
    };
    Pod {
        namespace: "team-a".to_owned(),
        name: "train".to_owned(),
        uid: "pod-uid".to_owned(),
        claims: claims.iter().map(claim).collect(),
        ..Pod::default()
    }
}

/// The first device of a node, by the rule for names.
fn device(node: &Node) -> String {
    format!("gpu-{}", node.state().unwrap().gpus[0].pci.to_string().replace([':', '.'], "-"))
}

fn mode(path: PathBuf) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn sockets(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The stand-in names the socket's path as the server, as the kubelet does.
#[tokio::test]
async fn it_is_registered_with_the_version_that_is_preferred_and_root_alone_may_connect() {
    let place = Place::new().await;
    place.gpus();
    let plugin = place.plugin(&[]);
    let registered = place.registered(1).await;
    assert_eq!(registered[0].driver, DRIVER);
    assert_eq!(registered[0].endpoint, place.path("p").join(DRIVER).join("dra.sock"));
    assert_eq!(registered[0].service, "v1.DRAPlugin");
    assert_eq!(mode(place.path("r").join(format!("{DRIVER}-reg.sock"))), 0o600);
    assert_eq!(mode(registered[0].endpoint.clone()), 0o600);
    assert_eq!(mode(place.path("p").join(DRIVER)), 0o700);
    assert!(plugin.stop().await);
    assert_eq!(sockets(&place.path("r")), Vec::<String>::new());
    assert_eq!(sockets(&place.path("p").join(DRIVER)), Vec::<String>::new());
}

#[tokio::test]
async fn it_is_registered_again_with_a_kubelet_that_was_restarted() {
    let place = Place::new().await;
    place.gpus();
    let _plugin = place.plugin(&[]);
    place.registered(1).await;
    place.kubelet.restart().await;
    place.registered(1).await;
}

#[tokio::test]
async fn it_takes_over_the_sockets_of_one_that_was_killed() {
    let place = Place::new().await;
    place.gpus();
    let mut killed = place.plugin(&[]);
    place.registered(1).await;
    killed.0.kill().await.unwrap();
    place.until("gone", || place.kubelet.plugins().iter().all(|plugin| !plugin.connected)).await;
    assert_eq!(sockets(&place.path("r")).len(), 1, "a killed plugin leaves its socket");
    let _plugin = place.plugin(&[]);
    place.registered(1).await;
}

#[tokio::test]
async fn a_socket_that_somebody_removed_is_made_anew() {
    let place = Place::new().await;
    place.gpus();
    let _plugin = place.plugin(&[]);
    place.registered(1).await;
    std::fs::remove_file(place.path("r").join(format!("{DRIVER}-reg.sock"))).unwrap();
    place.until("deregistered", || place.kubelet.plugins().is_empty()).await;
    place.registered(1).await;
}

#[tokio::test]
async fn the_dra_socket_is_made_anew_too_and_serves_though_a_health_stream_was_open() {
    let place = Place::new().await;
    let node = place.gpus();
    let plugin = place.plugin(&[]);
    let socket = place.registered(1).await.remove(0).endpoint;
    let healthy = || place.kubelet.health(DRIVER, POOL, &device(&node)) == Health::Healthy;
    place.until("healthy", healthy).await;
    std::fs::remove_dir_all(socket.parent().unwrap()).unwrap();
    place.until("made anew", || socket.exists()).await;
    let pod = pod(&[("gpu", "0b2c8b6e-53f1-4d57-9a53-0d3e1e2f4a5b")]);
    // The kubelet gives a call 45 s; a plugin that first waits for its old streams takes half of that.
    let answered = tokio::time::timeout(Duration::from_secs(15), async {
        place.registered(1).await;
        assert!(place.kubelet.prepare_pod(&pod).await.is_err(), "no API server knows the claim");
        place.kubelet.end_pod(&pod.uid).await.unwrap();
    });
    answered.await.expect("the new socket answers");
    place.until("healthy again", healthy).await;
    assert_eq!(mode(socket.parent().unwrap().to_owned()), 0o700);
    assert!(plugin.stop().await);
}

/// In a rolling update the new instance is registered beside the old one, and the kubelet goes on with the new one.
#[tokio::test]
async fn two_instances_overlap_under_the_uids_of_their_pods() {
    let place = Place::new().await;
    let node = place.gpus();
    let old = place.plugin(&["--pod-uid", "11111111-2222-3333-4444-555555555555"]);
    place.registered(1).await;
    let new = place.plugin(&["--pod-uid", "66666666-7777-8888-9999-000000000000"]);
    place.registered(2).await;
    assert!(old.stop().await);
    place.until("alone", || place.kubelet.plugins().len() == 1).await;
    let left = place.registered(1).await;
    assert!(left[0].endpoint.ends_with("dra-66666666-7777-8888-9999-000000000000.sock"), "{left:?}");
    place.until("healthy", || place.kubelet.health(DRIVER, POOL, &device(&node)) == Health::Healthy).await;
    assert!(new.stop().await);
}

#[tokio::test]
async fn the_health_of_devices_is_told_when_it_changes() {
    let place = Place::new().await;
    let node = place.gpus();
    let device = device(&node);
    let _plugin = place.plugin(&[]);
    place.registered(1).await;
    let health = || place.kubelet.device_health(DRIVER, POOL, &device);
    place.until("healthy", || health().health == Health::Healthy).await;
    node.inject(&Injection::Lost(GpuSelector::Slot(0))).unwrap();
    place.until("unhealthy", || health().health == Health::Unhealthy).await;
    assert!(!health().message.is_empty(), "no reason is given");
    node.inject(&Injection::Returned { gpu: GpuSelector::Slot(0), uuid: None }).unwrap();
    place.until("healthy again", || health().health == Health::Healthy).await;
}

/// Containers that are restarted after an upgrade get the files of the driver that is loaded then.
#[tokio::test]
async fn the_spec_of_the_drivers_files_is_there_from_the_start_and_follows_the_loaded_driver() {
    let place = Place::new().await;
    let mut node = place.gpus();
    let plugin = place.plugin(&[]);
    let spec = place.path("cdi").join(format!("{DRIVER}-driver.json"));
    let names = |version: &str| {
        let library = format!("libcuda.so.{version}\"");
        move |text: String| text.contains(&library)
    };
    let read = || std::fs::read_to_string(&spec).unwrap_or_default();
    let old = names(&node.state().unwrap().driver.version);
    place.until("written", || old(read())).await;
    node.unload_driver().unwrap();
    node.load_driver(Some("570.172.08")).unwrap();
    let new = names("570.172.08");
    place.until("of the new driver", || new(read()) && !old(read())).await;
    assert!(plugin.stop().await);
}

#[tokio::test]
async fn without_nvml_it_is_registered_and_unprepares_and_says_why_it_cannot_prepare() {
    let place = Place::new().await;
    let plugin = place.plugin(&[]);
    place.registered(1).await;
    let pod = pod(&[("gpu", "0b2c8b6e-53f1-4d57-9a53-0d3e1e2f4a5b")]);
    // An answer, not the end of the kubelet's patience.
    let error = place.kubelet.prepare_pod(&pod).await.unwrap_err();
    assert!(matches!(error, PrepareError::Claim { .. }), "{error:?}");
    place.kubelet.end_pod(&pod.uid).await.unwrap();
    assert!(plugin.stop().await);
}

#[tokio::test]
async fn a_driver_name_that_no_runtime_could_use_is_refused_at_the_start() {
    let place = Place::new().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_dra-kubelet-plugin"));
    command.args(["run", "--driver-name", "G", "--node-name", "node-a", "--kubelet-registry"]);
    command.arg(place.path("r")).arg("--kubelet-plugins").arg(place.path("p"));
    let output = tokio::time::timeout(SOON, command.output()).await.unwrap().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--driver-name"), "{said}");
}
