//! Where the story plays: a test cluster, and the plugin in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use serde_json::{Value, json};

use super::{Is, say};
use crate::command;

/// The cluster's name.
const CLUSTER: &str = "demo";
/// The driver's name, the plugin's default.
pub(super) const DRIVER: &str = "eks-hybrid-dra";
/// The ServiceAccount of deploy/manifests/kubelet-plugin/rbac.yaml.
const ACCOUNT: [&str; 3] = ["dra-kubelet-plugin", "--namespace", "dra-driver"];
/// No step takes longer unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a wait looks.
const PACE: Duration = Duration::from_millis(50);

/// How much of a node there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// All of it: kubelet, containerd, containers.
    Node,
    /// A control plane, and a program in the kubelet's place.
    StandIn,
}

/// A cluster that runs.
#[derive(Debug)]
pub(super) struct Place {
    /// The workspace.
    pub(super) root: PathBuf,
    pub(super) level: Level,
    /// The node's name.
    pub(super) node: &'static str,
    /// The folder of the fake GPUs.
    fake: PathBuf,
    /// The demo's own files, which go with the cluster's.
    folder: PathBuf,
}

impl Place {
    /// Starts a cluster; one of an earlier demo is ended.
    pub(super) fn new(root: &Path, level: Level) -> Result<Self> {
        command::run(xtask()?.args(["cluster", "down", "--name", CLUSTER]))?;
        let mut up = xtask()?;
        up.args(["cluster", "up", "--name", CLUSTER, "--fake-node", "hgx-h100-8"]);
        if level == Level::StandIn {
            up.arg("--control-plane");
        }
        command::run(&mut up)?;
        let variable = |name: &str| -> Result<PathBuf> {
            Ok(command::output(exec()?.args(["printenv", name]))?.trim_end().into())
        };
        let folder = variable("DRA_CLUSTER_STATE")?.join("demo");
        fs::create_dir_all(&folder)?;
        let fake = variable("DRA_FAKE_NODE")?;
        Ok(Self { root: root.to_owned(), level, node: "node1", fake, folder })
    }

    /// Runs kubectl and returns what it prints. It finds kubectl-dra as its plugin `dra`.
    pub(super) fn kubectl<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        const SCRIPT: &str = r#"PATH="$0:$PATH" exec kubectl "$@""#;
        command::output(exec()?.args(["sh", "-c", SCRIPT]).arg(programs()?).args(arguments))
    }

    /// Runs kubectl and shows what it prints.
    pub(super) fn show<const N: usize>(&self, is: Is, arguments: [&str; N]) -> Result<()> {
        println!("\n  $ kubectl {}", arguments.join(" "));
        say(is, &self.kubectl(arguments)?);
        Ok(())
    }

    /// Runs kubectl and reads the objects that it lists.
    pub(super) fn list<const N: usize>(&self, arguments: [&str; N]) -> Result<Vec<Value>> {
        let text = command::output(exec()?.args(["kubectl", "--output=json"]).args(arguments))?;
        let mut list: Value = serde_json::from_str(&text).context("kubectl printed no JSON")?;
        Ok(match list["items"].take() {
            Value::Array(items) => items,
            _ => bail!("kubectl {} printed no list", arguments.join(" ")),
        })
    }

    /// Applies manifests.
    pub(super) fn apply(&self, name: &str, manifests: &str) -> Result<()> {
        let file = self.folder.join(name);
        fs::write(&file, manifests)?;
        self.kubectl(["apply", "--filename", &text(&file)]).map(|_| ())
    }

    /// Has `kubectl-dra convert` rewrite manifests: what it makes of them, and what it tells.
    pub(super) fn convert(&self, name: &str, manifests: &str) -> Result<(String, String)> {
        let file = self.folder.join(name);
        fs::write(&file, manifests)?;
        let mut convert = Command::new(programs()?.join("kubectl-dra"));
        let output =
            convert.args(["convert", "--file"]).arg(&file).output().context("cannot start kubectl-dra")?;
        let told = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "kubectl-dra convert failed:\n{told}");
        Ok((String::from_utf8(output.stdout)?, told))
    }

    /// Starts the plugin with the rights of its ServiceAccount and no others. It goes on when the demo ends.
    pub(super) fn start_plugin(&self) -> Result<()> {
        let view = self.kubectl(["config", "view", "--output=json"])?;
        let view: Value = serde_json::from_str(&view)?;
        let [account, flag, namespace] = ACCOUNT;
        let token = self.kubectl(["create", "token", account, flag, namespace, "--duration=24h"])?;
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "plugin",
            "clusters": [{"name": "demo", "cluster": view["clusters"][0]["cluster"]}],
            "users": [{"name": "plugin", "user": {"token": token.trim_end()}}],
            "contexts": [{"name": "plugin", "context": {"cluster": "demo", "user": "plugin"}}],
        });
        let file = self.folder.join("kubeconfig");
        fs::write(&file, kubeconfig.to_string())?;
        let mut flags = vec![
            ("--node-name", PathBuf::from(self.node)),
            ("--kubeconfig", file),
            ("--sysfs", self.fake.join("sys")),
            ("--procfs", self.fake.join("proc")),
            ("--log-format", "text".into()),
        ];
        match self.level {
            // Where NVIDIA's GPU operator has it.
            Level::Node => flags.push(("--driver-root", "/run/nvidia/driver".into())),
            Level::StandIn => {
                flags.push(("--driver-root", self.fake.join("driver")));
                flags.push(("--admin-address", "127.0.0.1:0".into()));
                for (flag, folder) in [
                    ("--kubelet-registry", "registry"),
                    ("--kubelet-plugins", "plugins"),
                    ("--cdi-root", "cdi"),
                    ("--state-root", "state"),
                ] {
                    flags.push((flag, self.folder.join(folder)));
                }
            }
        }
        let program = programs()?.join("dra-kubelet-plugin");
        let words = flags.iter().flat_map(|(flag, value)| [flag.to_string(), value.display().to_string()]);
        self.start("plugin", &program, ["run".to_owned()].into_iter().chain(words))
    }

    /// Starts the controller. It goes on when the demo ends.
    pub(super) fn start_controller(&self) -> Result<()> {
        let flags = [
            "run",
            "--lease=dra-driver/dra-controller",
            "--identity=demo",
            "--admin-address=127.0.0.1:0",
            "--explain-after=1s",
            "--log-format=text",
        ];
        self.start("controller", &programs()?.join("dra-controller"), flags.map(str::to_owned).into_iter())
    }

    /// Starts what stands in for the kubelet and containers, where there are none.
    pub(super) fn start_stand_in(&self) -> Result<()> {
        if self.level == Level::Node {
            return Ok(());
        }
        let devices = self.fake.join("dev");
        for node in fs::read_dir(&devices)? {
            let node = node?;
            if node.file_type()?.is_file() {
                // Only root can make device nodes; this one is everybody's.
                fs::remove_file(node.path())?;
                std::os::unix::fs::symlink("/dev/null", node.path())?;
            }
        }
        let program = programs()?.join("stand-in-node");
        let arguments = [self.node.to_owned(), text(&self.folder), text(&devices)];
        self.start("stand-in-node", &program, arguments.into_iter())?;
        until("the node is ready", || Ok((self.list(["get", "nodes"])?.len() == 1).then_some(())))
    }

    /// Starts a program that goes on when the demo ends, and ends with the cluster. Its output goes to a log.
    fn start(&self, name: &str, program: &Path, arguments: impl Iterator<Item = String>) -> Result<()> {
        // The variable makes it a part of the cluster to `cluster down`.
        const SCRIPT: &str = r#"
log="$1" name="$2"; shift 2
DRA_CLUSTER_PROCESS="$DRA_CLUSTER_STATE#$name" setsid --fork "$@" >"$log" 2>&1 </dev/null"#;
        let mut start = exec()?;
        start.args(["sh", "-c", SCRIPT, "sh"]).arg(self.log(name)).arg(name).arg(program).args(arguments);
        command::output(&mut start).map(|_| ())
    }

    /// The log of a program that was started.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// What the container of a pod has written, once it is all there.
    pub(super) fn container_log(&self, pod: &str) -> Result<String> {
        let stand_in = self.folder.join("pods").join(format!("{pod}.log"));
        until(&format!("the container of {pod} has written everything"), || {
            let log = match self.level {
                Level::Node => self.kubectl(["logs", "--namespace=ml-workloads", pod]).unwrap_or_default(),
                Level::StandIn => fs::read_to_string(&stand_in).unwrap_or_default(),
            };
            Ok(log.lines().any(|line| line == "end").then_some(log))
        })
    }

    /// The claims that the plugin has on record, by UID, and the CDI specs of claims.
    pub(super) fn prepared(&self) -> Result<Vec<String>> {
        let (state, cdi) = match self.level {
            Level::Node => (PathBuf::from("/run"), PathBuf::from("/var/run/cdi")),
            Level::StandIn => (self.folder.join("state"), self.folder.join("cdi")),
        };
        let find = "find \"$0\"/*/claims \"$1\" -name '*.json' ! -name '*-driver.json' 2>/dev/null || true";
        let found = command::output(exec()?.args(["sh", "-c", find]).arg(state).arg(cdi))?;
        Ok(found.lines().map(str::to_owned).collect())
    }

    /// What the plugin keeps of claims, as its own subcommand tells without asking it.
    pub(super) fn state(&self) -> Result<String> {
        let mut state = exec()?;
        state.arg(programs()?.join("dra-kubelet-plugin")).arg("state");
        if self.level == Level::StandIn {
            state.arg("--state-root").arg(self.folder.join("state"));
        }
        command::output(&mut state)
    }

    /// Ends the cluster and all that was started in it.
    pub(super) fn remove(&self) -> Result<()> {
        command::run(xtask()?.args(["cluster", "down", "--name", CLUSTER]))
    }

    pub(super) fn say_how_to_go_on(&self) {
        println!(
            "\nEverything runs on:\n  cargo xtask cluster exec --name {CLUSTER} -- kubectl get resourceslices,resourceclaims,pods -A\n  \
             {} inject {} --help    # break a GPU\n  tail -f {}\n  cargo xtask cluster down --name {CLUSTER}    # ends all of it",
            programs().map(|folder| folder.join("fake-node")).unwrap_or_default().display(),
            self.fake.display(),
            self.log("plugin").display(),
        );
    }

    /// Shows the ends of what tells why a step did not come true.
    pub(super) fn show_what_went_wrong(&self) {
        println!("\nThe story did not come true. The cluster's last events:");
        let events = self.kubectl(["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]);
        print_end(&events.unwrap_or_default());
        for program in ["plugin", "controller"] {
            println!("The end of the {program}'s log:");
            print_end(&fs::read_to_string(self.log(program)).unwrap_or_default());
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn print_end(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(15)..] {
        println!("    {line}");
    }
}

/// Looks until something is there.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            bail!("waited {} s in vain until {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(PACE);
    }
}

/// This program.
fn xtask() -> Result<Command> {
    Ok(Command::new(command::own_path()?))
}

/// A program in the cluster, still to be named.
fn exec() -> Result<Command> {
    let mut exec = xtask()?;
    exec.args(["cluster", "exec", "--name", CLUSTER, "--"]);
    Ok(exec)
}

/// Where cargo puts the programs that were built just now: beside this one.
fn programs() -> Result<PathBuf> {
    Ok(command::own_path()?.parent().map(Path::to_owned).unwrap_or_default())
}
