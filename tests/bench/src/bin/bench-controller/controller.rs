//! The controller as it ships, as a process.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::server::Server;

/// No step takes longer unless it hangs.
const GUARD: Duration = Duration::from_secs(300);
const PACE: Duration = Duration::from_millis(2);

pub(crate) struct Controller {
    child: Child,
    folder: TempDir,
}

impl Controller {
    /// Starts the program that `DRA_CONTROLLER` names.
    pub(crate) async fn start(server: &Server) -> Self {
        let program = PathBuf::from(std::env::var_os("DRA_CONTROLLER").expect("DRA_CONTROLLER"));
        let folder = TempDir::new().expect("make a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        fs_err::write(&kubeconfig, server.kubeconfig()).expect("write the kubeconfig");
        let log = fs_err::File::create(folder.path().join("log")).expect("make the log");
        let child = Command::new(program)
            .args(["run", "--admin-address=127.0.0.1:0", "--log-format=json", "--explain-after=1ms"])
            .args(["--driver-name", conformance::fleet::DRIVER, "--lease=kube-system/dra-controller"])
            .args(["--identity=bench", "--translate-parameters=false"])
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .stdin(Stdio::null())
            .stderr(log.into_parts().0)
            .kill_on_drop(true)
            .spawn()
            .expect("start the controller");
        let mut controller = Self { child, folder };
        while controller.address().is_none() {
            let ended = controller.child.try_wait().expect("look after the controller");
            assert!(ended.is_none(), "the controller has ended:\n{}", controller.log());
            sleep(PACE).await;
        }
        controller
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn address(&self) -> Option<String> {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.find_map(|line| Some(line["admin_address"].as_str()?.to_owned()))
    }

    pub(crate) async fn ask(&self, path: &str) -> String {
        let address = self.address().expect("it has started");
        let mut stream = TcpStream::connect(&address).await.expect("connect to the controller");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read the answer");
        answer
    }

    /// The sum of all samples of a metric that have a label.
    pub(crate) async fn sum(&self, name: &str, label: &str) -> f64 {
        let text = self.ask("/metrics").await;
        let fitting = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        fitting.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let end = Instant::now() + GUARD;
        while !condition().await {
            assert!(Instant::now() < end, "the controller did not {what}; its log:\n{}", self.log());
            sleep(PACE).await;
        }
    }

    /// Its memory, in bytes: what is resident now, and what was at most.
    pub(crate) fn memory(&self) -> (u64, u64) {
        memory(self.child.id().expect("the controller runs"))
    }

    /// How long processors have worked for it.
    pub(crate) fn cpu(&self) -> Duration {
        let pid = self.child.id().expect("the controller runs");
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).expect("read the process's state");
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let ticks: u64 = [11, 12].iter().filter_map(|field| fields.get(*field)?.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }
}

/// The memory of a process, in bytes: what is resident now, and what was at most.
pub(crate) fn memory(pid: u32) -> (u64, u64) {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).expect("read the process's state");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel names it");
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
        kib * 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}
