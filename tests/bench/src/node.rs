//! A plugin with many GPUs that a stand-in registers in the kubelet's place; its DRA socket is called directly.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use e2e::api::unique;
use e2e::cluster::Cluster;
use fake_node::{CreateOptions, Description};
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use rustix::process::{Pid, Signal, kill_process};
use support::kubelet::{Kubelet, Settings};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How many GPUs the node of the prepares has: as many as claims are prepared at once. No real node has as many.
pub(crate) const GPUS: u8 = 64;
/// How many a real node has.
pub(crate) const REAL: u8 = 8;
/// No step takes longer unless it hangs.
const GUARD: Duration = Duration::from_secs(60);

/// How often the stand-in looks for plugins. The kubelet does each second, and the first slices wait for it: so the
/// plugin's part alone is measured.
const AT_ONCE: Duration = Duration::from_millis(2);

/// The plugin's node.
pub(crate) struct Node {
    /// The driver's name.
    pub(crate) driver: String,
    /// The name of the cluster's node.
    pub(crate) name: String,
    client: Client,
    gpus: u8,
    fake: fake_node::Node,
    /// On the node's /run, which is memory, as in production.
    folder: TempDir,
    child: Option<Child>,
    kubelet: Kubelet,
}

/// Memory of a process in megabytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    pub(crate) anonymous: f64,
}

impl Memory {
    /// What a process takes now.
    pub(crate) fn of(process: Pid) -> Self {
        let status = Path::new("/proc").join(process.as_raw_nonzero().to_string()).join("status");
        let status = fs_err::read_to_string(status).expect("read the plugin's status");
        let of = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel has the line");
            let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
            crate::numbers::megabytes(kibibytes * 1024)
        };
        Self { resident: of("VmRSS:"), anonymous: of("RssAnon:") }
    }
}

impl Node {
    pub(crate) async fn new(cluster: &Cluster, client: Client, gpus: u8) -> Self {
        let folder = TempDir::new_in("/run").expect("make a folder for the plugin");
        let one = Description::builtin("h100-nvl-2").expect("there is this description").state();
        let mut state = one.clone();
        state.gpus = (0..gpus)
            .map(|number| {
                let mut gpu = one.gpus[0].clone();
                gpu.pci.bus = number + 1;
                gpu.uuid = format!("GPU-00000000-0000-0000-0000-{number:012}");
                gpu.serial = format!("{:013}", 1_650_000_000_000_u64 + u64::from(number));
                gpu.minor = u32::from(number);
                gpu.bridged_to = Vec::new();
                gpu
            })
            .collect();
        let path = folder.path().join("node");
        let fake = fake_node::Node::create_from(&state, &path, &CreateOptions::default());
        let fake = fake.expect("make the fake node");
        let driver = format!("{}.example.com", unique("bench"));
        // So that a kubeconfig costs nothing when the clock runs.
        let config = e2e::gpu::kubeconfig(&client).await.to_string();
        fs_err::write(folder.path().join("kubeconfig"), config).expect("write the kubeconfig");
        let mut settings = Settings::new(&cluster.node, folder.path().join("registry"));
        settings.timings.reconcile = AT_ONCE;
        let kubelet = Kubelet::start(settings).await.expect("start the stand-in");
        Self { driver, name: cluster.node.clone(), client, gpus, fake, folder, child: None, kubelet }
    }

    /// Starts the plugin several times, and returns the times until its slices were in the API. It runs then.
    pub(crate) async fn starts(&mut self, times: usize) -> Vec<Duration> {
        let mut took = Vec::new();
        for _ in 1..times {
            took.push(self.start().await);
            self.stop().await;
        }
        took.push(self.start().await);
        took
    }

    /// Starts the plugin, and returns the time until its slices are in the API.
    async fn start(&mut self) -> Duration {
        let log = fs_err::File::create(self.folder.path().join("log")).expect("open the plugin's log");
        let mut command = Command::new(e2e::gpu::program());
        command.arg("run");
        let folder = |name: &str| self.folder.path().join(name).into_os_string();
        for (flag, value) in [
            ("--driver-name", self.driver.clone().into()),
            ("--node-name", self.name.clone().into()),
            ("--kubeconfig", folder("kubeconfig")),
            ("--driver-root", self.fake.driver_root().into_os_string()),
            ("--sysfs", self.fake.sysfs().into_os_string()),
            ("--procfs", self.fake.procfs().into_os_string()),
            ("--kubelet-registry", folder("registry")),
            ("--kubelet-plugins", folder("plugins")),
            ("--cdi-root", folder("cdi")),
            ("--state-root", folder("state")),
            ("--admin-address", "127.0.0.1:0".into()),
        ] {
            command.arg(flag).arg::<std::ffi::OsString>(value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.into_file());
        let began = Instant::now();
        self.child = Some(command.kill_on_drop(true).spawn().expect("start the plugin"));
        let api = self.slices();
        loop {
            let slices = api.list(&self.own()).await.expect("list the slices").items;
            let devices = slices.iter().filter_map(|slice| slice.spec.devices.as_ref()).map(Vec::len);
            if devices.sum::<usize>() == usize::from(self.gpus) {
                return began.elapsed();
            }
            assert!(began.elapsed() < GUARD, "the plugin does not publish:\n{}", self.log());
        }
    }

    /// Stops the plugin, and removes its slices as the kubelet would.
    async fn stop(&mut self) {
        let mut child = self.child.take().expect("the plugin was started");
        kill_process(pid(&child), Signal::TERM).expect("ask the plugin to end");
        tokio::time::timeout(GUARD, child.wait()).await.expect("the plugin ends").expect("wait for it");
        let deleted = self.slices().delete_collection(&DeleteParams::default(), &self.own()).await;
        deleted.expect("delete the slices");
    }

    /// Stops the plugin for good.
    pub(crate) async fn end(mut self) {
        self.stop().await;
        self.kubelet.stop().await;
    }

    /// The socket on which claims are prepared.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("plugins").join(&self.driver).join("dra.sock")
    }

    /// The pool of its devices.
    pub(crate) fn pool(&self) -> String {
        format!("{}/gpu", self.name)
    }

    /// The names of its devices.
    pub(crate) fn devices(&self) -> Vec<String> {
        let state = self.fake.state().expect("read the fake node");
        let name = |pci: String| format!("gpu-{}", pci.replace([':', '.'], "-"));
        state.gpus.iter().map(|gpu| name(gpu.pci.to_string())).collect()
    }

    /// What the plugin's process takes now.
    pub(crate) fn memory(&self) -> Memory {
        Memory::of(pid(self.child.as_ref().expect("the plugin was started")))
    }

    /// The plugin's log until now.
    pub(crate) fn log(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn slices(&self) -> Api<ResourceSlice> {
        Api::all(self.client.clone())
    }

    fn own(&self) -> ListParams {
        ListParams::default().fields(&format!("spec.driver={}", self.driver))
    }
}

fn pid(child: &Child) -> Pid {
    let id = child.id().expect("the plugin runs");
    Pid::from_raw(id.try_into().expect("process ids are small")).expect("process ids are positive")
}
