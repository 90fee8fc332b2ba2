//! Starts a cluster: files, namespaces, components, and the wait until it is ready. Whatever goes wrong,
//! everything is taken down again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use serde_json::Value;

use crate::binaries::Level;
use crate::cluster::cgroups::Layout;
use crate::cluster::components::{
    self, API_SERVICE, Component, ComponentName, NODE, NODE_ADDRESS, component,
};
use crate::cluster::state::{Cluster, Settings, last_lines};
use crate::cluster::{certificates, files, inside, preconditions, processes, stop};
use crate::command;

/// What a fake node is made with.
#[derive(Debug)]
pub(crate) struct FakeNode {
    /// The program `fake-node`.
    pub(crate) program: PathBuf,
    /// NVIDIA's own, which takes the placeholder's place; none where it cannot be had.
    pub(crate) nvidia_smi: Option<PathBuf>,
}

/// No wait for a component is longer.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a wait looks.
const PACE: Duration = Duration::from_millis(50);

/// Starts the cluster of these settings with these images; on failure nothing of it is left but its logs.
pub(crate) fn all(
    cluster: &Cluster,
    settings: &Settings,
    fake_node: Option<&FakeNode>,
    images: &[PathBuf],
) -> Result<()> {
    let mut start = Start::new(cluster, settings)?;
    let Err(error) = start.run(fake_node, images) else { return Ok(()) };

    let kept = stop::keep_logs(cluster);
    let taken_down = stop::take_down(cluster);
    for (_, child) in &mut start.children {
        // It has been ended; this only takes it off the kernel's table.
        let _ = child.wait();
    }
    let logs = match kept {
        Ok(folder) => format!("all logs are in {}", folder.display()),
        Err(error) => format!("the logs could not be kept: {error:#}"),
    };
    match taken_down {
        Ok(()) => bail!("{error:#}\nEverything is taken down again; {logs}"),
        Err(left) => bail!("{error:#}\nNot everything could be taken down: {left:#}; {logs}"),
    }
}

/// Starts one component of a cluster that runs, and waits until it serves.
pub(crate) fn one(cluster: &Cluster, settings: &Settings, name: ComponentName) -> Result<()> {
    let mut start = Start::new(cluster, settings)?;
    start.spawn(name)?;
    start.wait_quietly(name.text(), |start| start.serves(name))
}

struct Start<'a> {
    cluster: &'a Cluster,
    settings: &'a Settings,
    interrupted: Arc<AtomicBool>,
    began: Instant,
    /// What was started, by the name of its log.
    children: Vec<(&'static str, Child)>,
}

impl<'a> Start<'a> {
    fn new(cluster: &'a Cluster, settings: &'a Settings) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in preconditions::TERMINATION {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))
                .context("cannot be told of signals")?;
        }
        Ok(Self { cluster, settings, interrupted, began: Instant::now(), children: Vec::new() })
    }

    fn run(&mut self, fake_node: Option<&FakeNode>, images: &[PathBuf]) -> Result<()> {
        let is_node = self.settings.wish.level == Level::Node;
        self.cluster.save(self.settings)?;
        write_files(self.cluster, self.settings)?;
        if let Some(programs) = fake_node {
            make_fake_node(self.cluster, self.settings, programs)?;
        }
        if is_node {
            Layout::of_this_machine()?.create(&self.settings.cgroup)?;
            self.namespaces()?;
        }

        self.spawn(ComponentName::Etcd)?;
        // The API server waits for etcd by itself.
        self.spawn(ComponentName::KubeApiserver)?;
        if is_node {
            self.spawn(ComponentName::Containerd)?;
        }
        self.wait_for(ComponentName::Etcd)?;
        if is_node {
            self.wait_for(ComponentName::Containerd)?;
            inside::import(self.cluster, self.settings, images)?;
        }
        self.wait_for(ComponentName::KubeApiserver)?;
        self.spawn(ComponentName::KubeControllerManager)?;
        self.spawn(ComponentName::KubeScheduler)?;
        if is_node {
            self.spawn(ComponentName::Kubelet)?;
        }
        self.wait_for(ComponentName::KubeScheduler)?;
        self.wait_for(ComponentName::KubeControllerManager)?;
        if is_node {
            self.wait_for(ComponentName::Kubelet)?;
            self.wait("node Ready", Self::node_is_ready)?;
        }
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        self.wait("default ServiceAccount", |start| start.get(account).is_some())?;
        fs::write(self.cluster.ready_file(), "")?;
        Ok(())
    }

    /// Starts the first process of the node's namespaces, and waits until it has made them.
    fn namespaces(&mut self) -> Result<()> {
        let folder = &self.cluster.folder;
        let ready = folder.join("namespaces-ready");
        let script = self.cluster.configuration().join("init.sh");
        let mut unshare = detached(self.cluster, processes::NAMESPACES)?;
        unshare.args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        unshare.args(["--propagation", "private", "bash"]).arg(script);
        unshare.env("FOLDER", folder).env("NODE_ADDRESS", NODE_ADDRESS).env("API_SERVICE", API_SERVICE);
        if self.settings.wish.fake_node.is_some() {
            unshare.env("DRIVER_ROOT", self.cluster.fake_node().join("driver"));
        }
        let child = unshare.spawn().with_context(|| format!("cannot start `{}`", command::line(&unshare)))?;
        self.children.push((processes::NAMESPACES, child));
        self.wait("namespaces", |_| ready.exists())
    }

    fn spawn(&mut self, name: ComponentName) -> Result<()> {
        let child = spawn(self.cluster, self.settings, name)?;
        self.children.push((name.text(), child));
        Ok(())
    }

    fn wait_for(&mut self, name: ComponentName) -> Result<()> {
        self.wait(name.text(), |start| start.serves(name))
    }

    /// Whether a component answers those who need it.
    fn serves(&self, name: ComponentName) -> bool {
        let ports = &self.settings.ports;
        let Ok(Some(process)) = processes::component(&self.cluster.folder, name) else { return false };
        match name {
            ComponentName::Etcd => process.listens_on(ports.etcd),
            ComponentName::Containerd => process.sees_socket(components::CONTAINERD_SOCKET),
            // To ask costs more than to look whether anybody would answer.
            ComponentName::KubeApiserver => {
                process.listens_on(ports.api_server) && self.get("/readyz").is_some()
            }
            ComponentName::KubeControllerManager => process.listens_on(ports.controller_manager),
            ComponentName::KubeScheduler => process.listens_on(ports.scheduler),
            ComponentName::Kubelet => process.listens_on(components::KUBELET_PORT),
        }
    }

    fn node_is_ready(&self) -> bool {
        let Some(node) = self.get(&format!("/api/v1/nodes/{NODE}")) else { return false };
        let node: Value = serde_json::from_str(&node).unwrap_or_default();
        let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }

    /// What the API server answers at this path; none where it does not.
    fn get(&self, path: &str) -> Option<String> {
        let mut kubectl = inside::command(self.cluster, self.settings, "kubectl").ok()?;
        command::output(kubectl.args(["--request-timeout=2s", "get", "--raw", path])).ok()
    }

    /// As [`Self::wait_quietly`], and says how long it has taken.
    fn wait(&mut self, what: &str, is_ready: impl Fn(&Self) -> bool) -> Result<()> {
        self.wait_quietly(what, is_ready)?;
        println!("  {:>5.1} s  {what}", self.began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits for `what` while all that was started lives.
    fn wait_quietly(&mut self, what: &str, is_ready: impl Fn(&Self) -> bool) -> Result<()> {
        let waiting = Instant::now();
        loop {
            ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted while waiting for {what}");
            self.all_alive()?;
            if is_ready(self) {
                return Ok(());
            }
            ensure!(
                waiting.elapsed() < PATIENCE,
                "{what} is not ready after {} s{}",
                PATIENCE.as_secs(),
                self.last_words(what)
            );
            std::thread::sleep(PACE);
        }
    }

    fn all_alive(&mut self) -> Result<()> {
        for (name, child) in &mut self.children {
            if let Some(status) = child.try_wait().with_context(|| format!("cannot look after {name}"))? {
                let words = self.cluster.log(name);
                bail!("{name} ended ({status}){}", quoted_log(&words));
            }
        }
        Ok(())
    }

    fn last_words(&self, what: &str) -> String {
        let known = self.children.iter().find(|(name, _)| *name == what).map(|(name, _)| *name);
        let likely =
            known.unwrap_or(if what == "node Ready" { "kubelet" } else { "kube-controller-manager" });
        quoted_log(&self.cluster.log(likely))
    }
}

/// The end of a log, in the form in which it closes a message.
fn quoted_log(log: &Path) -> String {
    let lines = last_lines(log, 15);
    if lines.is_empty() {
        return "; its log is empty".to_owned();
    }
    format!("; its log ends:\n    {}", lines.join("\n    "))
}

/// Starts one component, detached from this process; its output goes to its log.
pub(crate) fn spawn(cluster: &Cluster, settings: &Settings, name: ComponentName) -> Result<Child> {
    let Component { name, program, arguments } = component(name, cluster, settings);
    ensure!(
        program.is_file(),
        "{} is not there any more; `cargo xtask cluster down` and up",
        program.display()
    );
    let mut command = detached(cluster, name.text())?;
    command.args(inside::enter(cluster, settings)?);
    // Relative to the component's own folder: containerd's shim lies beside it.
    let beside = program.parent().unwrap_or(Path::new("/"));
    command.env("PATH", preconditions::search_path(&[beside]));
    command.arg(&program).args(arguments);
    command.spawn().with_context(|| format!("cannot start `{}`", command::line(&command)))
}

/// A command line to be completed with a program, which will run in a session of its own.
fn detached(cluster: &Cluster, component: &str) -> Result<Command> {
    fs::create_dir_all(cluster.logs())?;
    let path = cluster.log(component);
    let log = fs::OpenOptions::new().create(true).append(true).open(&path)?;
    let (name, value) = processes::mark(&cluster.folder, component);
    let mut command = Command::new("setsid");
    command
        .env_clear()
        .env("PATH", preconditions::search_path(&[]))
        .env("HOME", &cluster.folder)
        .env(name, value);
    command.stdin(Stdio::null()).stdout(log.file().try_clone()?).stderr(log.into_parts().0).current_dir("/");
    Ok(command)
}

fn write_files(cluster: &Cluster, settings: &Settings) -> Result<()> {
    for folder in ["log", "kubeconfig", "config/cni"] {
        fs::create_dir_all(cluster.folder.join(folder))?;
    }
    if settings.wish.level == Level::Node {
        for folder in ["kubelet", "containerd", "var-lib", "var-log/pods", "var-log/containers"] {
            fs::create_dir_all(cluster.folder.join(folder))?;
        }
        fs::write(cluster.configuration().join("init.sh"), include_str!("init.sh"))?;
    }
    certificates::create(&cluster.certificates())?;
    for file in files::files(cluster, settings) {
        fs::write(&file.path, &file.text)?;
    }
    Ok(())
}

/// Makes the fake node's files.
fn make_fake_node(cluster: &Cluster, settings: &Settings, programs: &FakeNode) -> Result<()> {
    let description = settings.wish.fake_node.as_deref().unwrap_or_default();
    let FakeNode { program, nvidia_smi } = programs;
    let (mark, value) = processes::mark(&cluster.folder, "fake-node");
    let mut create = Command::new(program);
    create.env(mark, value);
    create.args(["create", description, "--dir"]).arg(cluster.fake_node());
    command::output(&mut create)?;
    if let Some(nvidia_smi) = nvidia_smi {
        fs::copy(nvidia_smi, cluster.fake_node().join("driver/usr/bin/nvidia-smi"))?;
    }
    Ok(())
}
