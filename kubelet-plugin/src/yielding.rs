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

use crate::backoff::Backoff;

/// How often the file is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long a watch lasts, in seconds, and what the server may take longer to end it.
const WATCH: std::ops::Range<u32> = 240..290;
const WATCH_ENDS_WITHIN: Duration = Duration::from_secs(30);
/// How long a watch may take to begin.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest wait after a watch that failed.
const RETRY: Duration = Duration::from_secs(10);
/// The value of the label at which the driver works; so it does without the label.
const STAY: &str = "true";

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
    asked: watch::Sender<Option<String>>,
    cancel: CancellationToken,
) {
    let (value, values) = watch::channel(None);
    let label = follow_label(client, &settings, value);
    let both = tell(&settings, values, asked);
    cancel.run_until_cancelled(async { tokio::join!(label, both) }).await;
}

async fn tell(
    settings: &Settings,
    mut values: watch::Receiver<Option<String>>,
    asked: watch::Sender<Option<String>>,
) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_there = false;
    loop {
        tokio::select! {
            Ok(()) = values.changed() => {}
            _ = ticks.tick() => is_there = tokio::fs::try_exists(&settings.file).await.unwrap_or(is_there),
        }
        let now = who_asks(settings, values.borrow_and_update().as_deref(), is_there);
        asked.send_if_modified(|before| {
            let differs = *before != now;
            *before = now;
            differs
        });
    }
}

/// Who asks, and how it ends; for people.
fn who_asks(settings: &Settings, value: Option<&str>, is_there: bool) -> Option<String> {
    match (&settings.label, value) {
        (Some(label), Some(value)) if value != STAY => Some(format!(
            "the node's label {label} is '{value}'; they are used again when it is '{STAY}' or removed"
        )),
        _ if is_there => Some(format!(
            "there is a file {}; they are used again when it is removed",
            settings.file.display()
        )),
        _ => None,
    }
}

async fn follow_label(client: Client, settings: &Settings, value: watch::Sender<Option<String>>) {
    let Some(label) = &settings.label else { return };
    let nodes = Api::<Node>::all(client);
    let mut backoff = Backoff::default();
    let mut said = None;
    loop {
        match watch_once(&nodes, &settings.node, label, &value).await {
            Ok(()) => {
                said = None;
                backoff.reset();
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
    value: &watch::Sender<Option<String>>,
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
                node.metadata.labels.and_then(|mut labels| labels.remove(label))
            }
            WatchEvent::Deleted(_) => None,
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
            format!(
                "the node's label nvidia.com/gpu.deploy.dra-driver is '{value}'; they are used again when it is 'true' \
                 or removed"
            )
        };
        let by_file = "there is a file /run/d/yield; they are used again when it is removed".to_owned();
        let cases = [
            ("nothing", &label, None, false, None),
            ("true", &label, Some("true"), false, None),
            ("false", &label, Some("false"), false, Some(by_label("false"))),
            ("NVIDIA's driver manager", &label, Some("paused-for-driver-upgrade"), false, {
                Some(by_label("paused-for-driver-upgrade"))
            }),
            ("empty", &label, Some(""), false, Some(by_label(""))),
            ("the file", &label, None, true, Some(by_file.clone())),
            ("the file, against the label", &label, Some("true"), true, Some(by_file.clone())),
            ("both", &label, Some("false"), true, Some(by_label("false"))),
            ("no label is followed", &None, Some("false"), false, None),
            ("no label is followed, and the file", &None, None, true, Some(by_file)),
        ];
        for (what, label, value, is_there, wanted) in cases {
            let settings = Settings { node: "n".into(), label: label.clone(), file: "/run/d/yield".into() };
            assert_eq!(who_asks(&settings, value, is_there), wanted, "{what}");
        }
    }
}
