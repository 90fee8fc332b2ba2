//! Who asks the driver to keep away from the GPUs, so that NVIDIA's driver can be exchanged: a label of the node, as
//! NVIDIA's driver manager sets it, or a file.
//!
//! The label is followed by a watch of this one Node's metadata, which costs nothing while nothing changes.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::WatchParams;
use kube::core::WatchEvent;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use dra_runtime::backoff::Backoff;

/// How often the file is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long a watch lasts, in seconds: so one whose connection died without a word is noticed within a minute.
const WATCH: std::ops::Range<u32> = 40..50;
/// How much longer a watch may last before it counts as dead.
const WATCH_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// A watch that ends sooner than this has failed, even if it says nothing.
const SHORTEST_WATCH: Duration = Duration::from_secs(5);
/// How long a watch may take to begin.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest wait after a watch that failed.
const RETRY: Duration = Duration::from_secs(10);
/// The value of the label at which the driver works; so it does without the label.
const STAY: &str = "true";

/// Whether somebody asks the driver to keep away from the GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// It is not known yet, because the label was not read.
    #[default]
    Unknown,
    /// Nobody does.
    ByNobody,
    /// Somebody does: who, and how it ends; for people.
    By(String),
}

/// What may ask.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the Node object.
    pub node: String,
    /// The label, if one is followed.
    pub label: Option<String>,
    /// The file.
    pub file: PathBuf,
}

/// Says who asks, whenever that changes, until `cancel`.
pub async fn follow(
    client: Client,
    settings: Settings,
    asked: watch::Sender<Asked>,
    cancel: CancellationToken,
) {
    let (value, values) = watch::channel(Label::Unread);
    let label = follow_label(client, &settings, value);
    let both = tell(&settings, values, asked);
    cancel.run_until_cancelled(async { tokio::join!(label, both) }).await;
}

/// What is known of the label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Label {
    Unread,
    Absent,
    Value(String),
}

async fn tell(settings: &Settings, mut values: watch::Receiver<Label>, asked: watch::Sender<Asked>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_there = false;
    loop {
        tokio::select! {
            Ok(()) = values.changed() => {}
            _ = ticks.tick() => is_there = tokio::fs::try_exists(&settings.file).await.unwrap_or(is_there),
        }
        let now = who_asks(settings, &values.borrow_and_update(), is_there);
        asked.send_if_modified(|before| {
            let differs = *before != now;
            *before = now;
            differs
        });
    }
}

fn who_asks(settings: &Settings, value: &Label, is_there: bool) -> Asked {
    match (&settings.label, value) {
        (Some(label), Label::Value(value)) if value != STAY => Asked::By(format!(
            "the node's label {label} is '{value}'; they are used again when it is '{STAY}' or removed"
        )),
        _ if is_there => Asked::By(format!(
            "there is a file {}; they are used again when it is removed",
            settings.file.display()
        )),
        (Some(_), Label::Unread) => Asked::Unknown,
        _ => Asked::ByNobody,
    }
}

async fn follow_label(client: Client, settings: &Settings, value: watch::Sender<Label>) {
    let Some(label) = &settings.label else { return };
    let nodes = Api::<Node>::all(client);
    let mut backoff = Backoff::default();
    let mut said = None;
    loop {
        let begun = Instant::now();
        match watch_once(&nodes, &settings.node, label, &value).await {
            Ok(()) => {
                said = None;
                if begun.elapsed() >= SHORTEST_WATCH {
                    backoff.reset();
                }
            }
            Err(error) if said.as_ref() != Some(&error) => {
                tracing::warn!(label, error, "the node's label is not followed; it is tried again");
                said = Some(error);
            }
            Err(_) => {}
        }
        sleep(backoff.next(RETRY)).await;
    }
}

/// Watches until the watch ends. What is known stays known: a link that is broken asks for nothing.
async fn watch_once(
    nodes: &Api<Node>,
    node: &str,
    label: &str,
    value: &watch::Sender<Label>,
) -> Result<(), String> {
    let seconds = fastrand::u32(WATCH);
    let params = WatchParams::default().fields(&format!("metadata.name={node}")).timeout(seconds);
    let end = Instant::now() + Duration::from_secs(seconds.into()) + WATCH_ENDS_WITHIN;
    // From "0" on: what the server has of the Node comes first, from its cache.
    let begun = timeout(ANSWER, nodes.watch_metadata(&params, "0")).await;
    let events = begun
        .map_err(|_elapsed| "the API server gives no answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let mut events = pin!(events);
    loop {
        let event = match timeout_at(end, events.next()).await {
            Ok(Some(event)) => event.map_err(|error| error.to_string())?,
            Ok(None) => return Ok(()),
            Err(_elapsed) => return Err("the watch was silent for too long".to_owned()),
        };
        let now = match event {
            WatchEvent::Added(node) | WatchEvent::Modified(node) => {
                let found = node.metadata.labels.and_then(|mut labels| labels.remove(label));
                found.map_or(Label::Absent, Label::Value)
            }
            WatchEvent::Deleted(_) => Label::Absent,
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => return Err(status.message),
        };
        value.send_if_modified(|before| {
            let differs = *before != now;
            *before = now;
            differs
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_asks_and_so_does_the_file() {
        let label = Some("nvidia.com/gpu.deploy.dra-driver".to_owned());
        let by_label = |value| {
            Asked::By(format!(
                "the node's label nvidia.com/gpu.deploy.dra-driver is '{value}'; they are used again when it is 'true' \
                 or removed"
            ))
        };
        let by_file =
            Asked::By("there is a file /run/d/yield; they are used again when it is removed".to_owned());
        let is = |value: &str| Label::Value(value.to_owned());
        let (unread, absent, nobody) = (Label::Unread, Label::Absent, Asked::ByNobody);
        let cases = [
            ("nothing", &label, absent.clone(), false, nobody.clone()),
            ("nothing is known yet", &label, unread.clone(), false, Asked::Unknown),
            ("nothing is known yet but the file", &label, unread.clone(), true, by_file.clone()),
            ("true", &label, is("true"), false, nobody.clone()),
            ("false", &label, is("false"), false, by_label("false")),
            ("NVIDIA's driver manager", &label, is("paused-for-driver-upgrade"), false, {
                by_label("paused-for-driver-upgrade")
            }),
            ("empty", &label, is(""), false, by_label("")),
            ("the file", &label, absent.clone(), true, by_file.clone()),
            ("the file, against the label", &label, is("true"), true, by_file.clone()),
            ("both", &label, is("false"), true, by_label("false")),
            ("no label is followed", &None, unread.clone(), false, nobody),
            ("no label is followed, and the file", &None, unread, true, by_file),
        ];
        for (what, label, value, is_there, wanted) in cases {
            let settings = Settings { node: "n".into(), label: label.clone(), file: "/run/d/yield".into() };
            assert_eq!(who_asks(&settings, &value, is_there), wanted, "{what}");
        }
    }
}
