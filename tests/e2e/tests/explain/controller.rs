//! The controller as a process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use e2e::api::GUARD;
use e2e::gpu::program;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How often something is looked at.
const PACE: Duration = Duration::from_millis(50);

/// Who the controller is, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The driver's name.
    pub(crate) driver: String,
    /// The Lease, as namespace/name.
    pub(crate) lease: String,
    /// Which replica it is.
    pub(crate) identity: String,
    /// The kubeconfig, where it is not the tests' own.
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// A controller; it is killed when this is dropped.
pub(crate) struct Controller {
    settings: Settings,
    child: Child,
    folder: TempDir,
}

impl Controller {
    /// Starts one, and waits until it serves its metrics.
    pub(crate) async fn start(settings: Settings) -> Self {
        let folder = TempDir::new().unwrap();
        let log = fs_err::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program().with_file_name("dra-controller"));
        command
            .args(["run", "--admin-address=127.0.0.1:0", "--log-format=json", "--explain-after=300ms"])
            .args(["--driver-name", &settings.driver, "--lease", &settings.lease])
            .args(["--identity", &settings.identity])
            .stdin(Stdio::null())
            .stderr(log.into_parts().0)
            .kill_on_drop(true);
        if let Some(kubeconfig) = &settings.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let child = command.spawn().expect("start dra-controller");
        let controller = Self { settings, child, folder };
        controller.until("start", async || controller.address().is_some()).await;
        controller
    }

    /// Kills it, and starts another one in its place.
    pub(crate) async fn restart(mut self) -> Self {
        self.kill().await;
        Self::start(self.settings.clone()).await
    }

    /// Kills it, without a chance to give its Lease back.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("kill the controller");
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(&mut self) {
        let pid = self.child.id().expect("the controller runs");
        let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = timeout(GUARD, self.child.wait()).await.expect("the controller ends").unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn address(&self) -> Option<String> {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find_map(|line| Some(line["admin_address"].as_str()?.to_owned()))
    }

    /// What an admin endpoint answers.
    pub(crate) async fn ask(&self, path: &str) -> String {
        let address = self.address().expect("it has started");
        let mut stream = TcpStream::connect(&address).await.expect("connect to the controller");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// All samples of a metric: their labels and their values.
    pub(crate) async fn samples(&self, name: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        let text = self.ask("/metrics").await;
        text.lines().filter_map(|line| sample(line, name)).collect()
    }

    /// The value of the sample with these labels; none where there is no such sample.
    pub(crate) async fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.samples(name).await;
        let mut fitting = samples.into_iter().filter(|(known, _)| {
            labels.iter().all(|(label, value)| known.get(*label).is_some_and(|known| known == value))
        });
        let found = fitting.next().map(|(_, value)| value);
        assert!(fitting.next().is_none(), "several samples of {name} have {labels:?}");
        found
    }

    /// Waits until a metric has a value; `None` stands for no such sample.
    pub(crate) async fn until_value(&self, name: &str, labels: &[(&str, &str)], wanted: Option<f64>) {
        let what = format!("say {wanted:?} for {name} {labels:?}");
        self.until(&what, async || self.value(name, labels).await == wanted).await;
    }

    pub(crate) async fn until_ready(&self) {
        self.until("be ready", async || self.ask("/readyz").await.starts_with("HTTP/1.1 200")).await;
    }

    /// Waits until it is the one replica that acts.
    pub(crate) async fn until_leader(&self) {
        self.until_value("dra_controller_leader", &[], Some(1.0)).await;
    }

    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let end = Instant::now() + GUARD;
        while !condition().await {
            assert!(Instant::now() < end, "the controller did not {what}; its log:\n{}", self.log());
            sleep(PACE).await;
        }
    }
}

/// Labels and value, where a line is a sample of a metric.
fn sample(line: &str, name: &str) -> Option<(BTreeMap<String, String>, f64)> {
    let rest = line.strip_prefix(name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once("} ")?,
        None => ("", rest.strip_prefix(' ')?),
    };
    // Values of labels in these tests have no comma and no quotation mark.
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let labels = pairs.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned()));
    Some((labels.collect(), value.split(' ').next()?.parse().ok()?))
}
