//! The recording plugin (hack/cluster/recording-plugin): running it, commanding it, reading what it recorded.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::GUARD;

/// What the plugin is started with; the names are explained where the program reads them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The driver's name.
    pub driver: String,
    /// The sockets on which it registers.
    pub registry_sockets: Vec<PathBuf>,
    /// The socket of its services.
    pub plugin_socket: PathBuf,
    /// What it says about `plugin_socket`; empty is its path.
    pub endpoint: String,
    /// The plugin's type; empty is `DRAPlugin`.
    pub r#type: String,
    /// The versions that it advertises.
    pub versions: Vec<String>,
    /// The services that it serves.
    pub services: Vec<String>,
    /// Where it writes CDI specs.
    pub cdi: PathBuf,
    /// Where it writes its transcript.
    pub transcript: PathBuf,
    /// The script at the start.
    pub rules: Vec<Value>,
    /// The health list at the start.
    pub health: Vec<Value>,
}

impl Settings {
    /// A plugin for the kubelet whose folders these are: v1 alone, no health, no rules.
    #[must_use]
    pub fn new(driver: &str, registry: &Path, plugins: &Path, cdi: &Path) -> Self {
        let folder = plugins.join(driver);
        Self {
            driver: driver.to_owned(),
            registry_sockets: vec![registry.join(format!("{driver}-reg.sock"))],
            plugin_socket: folder.join("dra.sock"),
            endpoint: String::new(),
            r#type: String::new(),
            versions: vec!["v1.DRAPlugin".to_owned()],
            services: vec!["v1".to_owned()],
            cdi: cdi.to_owned(),
            transcript: folder.join("transcript.jsonl"),
            rules: Vec::new(),
            health: Vec::new(),
        }
    }
}

/// One call that the plugin recorded.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Call {
    /// Counts the calls in the order in which they came in, from 1.
    pub number: u64,
    /// The full method, `/package.Service/Method`.
    pub method: String,
    /// The `:authority` header.
    pub authority: String,
    /// The seconds that the caller gave, rounded.
    pub deadline: Option<i64>,
    /// The request.
    #[serde(default)]
    pub request: Value,
    /// The answer; for a stream the list of its messages.
    #[serde(default)]
    pub answer: Value,
    /// The gRPC code, where the call failed.
    #[serde(default)]
    pub code: String,
    /// The error's text, where the call failed.
    #[serde(default)]
    pub error: String,
}

impl Call {
    /// The last part of the method's name.
    #[must_use]
    pub fn short(&self) -> &str {
        self.method.rsplit('/').next().unwrap_or_default()
    }
}

/// One line of the plugin's standard output.
#[derive(Clone, Debug, Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    error: String,
    call: Option<Call>,
}

/// A running recording plugin; it is killed when this is dropped.
#[derive(Debug)]
pub struct Plugin {
    /// What it was started with.
    pub settings: Settings,
    child: Child,
    stdin: ChildStdin,
    events: watch::Receiver<Vec<Event>>,
}

impl Plugin {
    /// Starts the plugin and waits until its sockets are there.
    pub async fn start(settings: Settings) -> Self {
        let program = program();
        let folder = settings.transcript.parent().expect("the transcript lies in a folder");
        std::fs::create_dir_all(folder).expect("make the folder of the transcript");
        let path = settings.transcript.with_extension("settings.json");
        std::fs::write(&path, serde_json::to_vec(&settings).unwrap()).expect("write the plugin's settings");
        let mut child = Command::new(&program)
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("start the recording plugin {}: {e}", program.display()));
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let event: Event = serde_json::from_str(&line).expect("the plugin writes JSON events");
                sender.send_modify(|events| events.push(event));
            }
        });
        let plugin = Self { settings, child, stdin, events };
        plugin.until("be ready", |events| events.iter().any(|e| e.event == "ready")).await;
        plugin
    }

    /// Gives a command and waits until it is done.
    pub async fn command(&mut self, command: Value) {
        let done = |events: &[Event]| events.iter().filter(|e| e.event == "done").count();
        let before = done(&self.events.borrow());
        let mut line = command.to_string();
        line.push('\n');
        self.stdin.write_all(line.as_bytes()).await.expect("the plugin reads its commands");
        self.until(&format!("obey {command}"), |events| done(events) > before).await;
        let events = self.events.borrow();
        let last = events.iter().rfind(|e| e.event == "done").unwrap();
        assert!(last.error.is_empty(), "the plugin did not obey {command}: {}", last.error);
    }

    /// The calls that were answered so far, in the order in which they came in.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        recorded(&self.events.borrow())
    }

    /// Waits until the calls that were answered are as a test needs them, and returns them.
    pub async fn calls_until(&self, what: &str, condition: impl Fn(&[Call]) -> bool) -> Vec<Call> {
        self.until(what, |events| condition(&recorded(events))).await;
        self.calls()
    }

    /// Waits until the kubelet has said that the plugin is registered for the `times`th time.
    pub async fn registered(&self, times: usize) {
        self.calls_until(&format!("be registered {times} times"), |calls| {
            calls.iter().filter(|c| c.request["plugin_registered"] == true).count() >= times
        })
        .await;
    }

    /// Waits until a method is called for the `times`th time, answered or not.
    pub async fn called(&self, method: &str, times: usize) {
        self.until(&format!("be called {method} {times} times"), |events| {
            let calls = events.iter().filter(|e| e.event == "started");
            calls.filter_map(|e| e.call.as_ref()).filter(|c| c.short() == method).count() >= times
        })
        .await;
    }

    /// Stops the plugin, which removes its sockets, and returns all calls that it answered.
    pub async fn stop(mut self) -> Vec<Call> {
        self.command(json!({"do": "stop"})).await;
        timeout(GUARD, self.child.wait())
            .await
            .expect("the plugin ends")
            .expect("the plugin can be waited for");
        self.calls()
    }

    /// Kills the plugin: its sockets stay, as after a crash.
    pub async fn kill(mut self) -> Vec<Call> {
        self.child.kill().await.expect("kill the plugin");
        self.calls()
    }

    async fn until(&self, what: &str, condition: impl Fn(&[Event]) -> bool) {
        let mut events = self.events.clone();
        let result = timeout(GUARD, events.wait_for(|events| condition(events))).await;
        if !matches!(result, Ok(Ok(_))) {
            let ended = if result.is_ok() { "it ended" } else { "time ran out" };
            panic!(
                "the plugin {} did not {what}: {ended}; it recorded {:#?}",
                self.settings.driver,
                self.calls()
            );
        }
    }
}

fn recorded(events: &[Event]) -> Vec<Call> {
    let recorded = events.iter().filter(|e| e.event == "recorded");
    let mut calls: Vec<Call> = recorded.filter_map(|e| e.call.clone()).collect();
    calls.sort_by_key(|call| call.number);
    calls
}

/// The program: `DRA_RECORDING_PLUGIN`, else where `cargo xtask test` builds it.
fn program() -> PathBuf {
    env::var_os("DRA_RECORDING_PLUGIN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/recording-plugin"),
        PathBuf::from,
    )
}
