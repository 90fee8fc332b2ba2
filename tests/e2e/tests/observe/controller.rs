//! The controller beside the plugin, as Prometheus meets it.

use std::process::Stdio;

use e2e::api::GUARD;
use e2e::gpu::{Gpus, program};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep};

/// How often its log is looked at.
const PACE: Duration = Duration::from_millis(50);

/// A controller for the scene's driver. Dropping it ends it.
pub(crate) struct Controller {
    child: Child,
    folder: TempDir,
    address: String,
}

impl Controller {
    /// Starts one, and waits until it says where its metrics are.
    pub(crate) async fn start(gpus: &Gpus) -> Self {
        let folder = TempDir::new().unwrap();
        let log = fs_err::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program().with_file_name("dra-controller"))
            .args(["run", "--identity=dra-driver-controller-0", "--admin-address=127.0.0.1:0"])
            .args(["--log-format=json", "--explain-after=300ms"])
            .args(["--driver-name", &gpus.driver, "--device-classes", &gpus.class])
            .arg(format!("--lease={}/dra-driver-controller", gpus.space.name))
            .stdin(Stdio::null())
            .stderr(log.into_parts().0)
            .kill_on_drop(true)
            .spawn()
            .expect("start dra-controller");
        let mut controller = Self { child, folder, address: String::new() };
        let end = Instant::now() + GUARD;
        loop {
            if let Some(address) = controller.said() {
                controller.address = address;
                return controller;
            }
            let ended = controller.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{}", controller.log());
            sleep(PACE).await;
        }
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The address that its log tells.
    fn said(&self) -> Option<String> {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find_map(|line| Some(line["admin_address"].as_str()?.to_owned()))
    }

    /// Where it serves its metrics.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What its metrics say now.
    pub(crate) async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).await.expect("connect to the controller");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Ends it at once.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("kill the controller");
    }
}
