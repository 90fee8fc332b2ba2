//! What is seen of the hardware, told: metrics, and Events about faults on the Node object.

use std::time::Duration;

use dra_driver::node::View;
use dra_runtime::events::{Event, Events, node_reference};
use tokio_util::sync::CancellationToken;

use super::Node;
use crate::metrics::Metrics;

/// How often GPUs' figures are read.
const FIGURES: Duration = Duration::from_secs(10);
/// How long GPUs have for their figures. Those of one that takes longer are not shown.
const ANSWER: Duration = Duration::from_secs(2);

/// Tells of the hardware until `cancel`: what changes at once, figures every ten seconds. No scrape waits for a
/// GPU.
pub async fn run(
    node: Node,
    node_name: String,
    pool: String,
    metrics: Metrics,
    events: Events,
    cancel: CancellationToken,
) {
    let changes = tell_changes(&node, &node_name, &pool, &metrics, &events);
    let figures = tell_figures(&node, &pool, &metrics);
    cancel.run_until_cancelled(async { tokio::join!(changes, figures) }).await;
}

async fn tell_changes(node: &Node, node_name: &str, pool: &str, metrics: &Metrics, events: &Events) {
    let mut changes = node.changes();
    let mut before = View::default();
    loop {
        let view = changes.borrow_and_update().clone();
        if view.was_asked() {
            metrics.view(pool, &view);
            for event in events_of(&before, &view, node_name) {
                events.send(event);
            }
            before = (*view).clone();
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn tell_figures(node: &Node, pool: &str, metrics: &Metrics) {
    let mut next = tokio::time::interval(FIGURES);
    next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        next.tick().await;
        let of_task = node.clone();
        // A read that panics is worth no more than one that fails.
        let read = tokio::task::spawn_blocking(move || of_task.figures(ANSWER)).await.unwrap_or_default();
        metrics.figures(pool, &read);
    }
}

/// The Events that tell how one view became the other: faults that came and went, GPUs that were exchanged, NVML
/// that came and went.
#[must_use]
pub fn events_of(before: &View, after: &View, node_name: &str) -> Vec<Event> {
    let event = |warning, reason, note| Event {
        about: node_reference(node_name),
        warning,
        reason,
        action: "WatchingGPUs",
        note,
    };
    let mut events = Vec::new();
    if let (None, Some(yielding)) = (&before.yielding, &after.yielding) {
        let note = format!("The driver keeps away from the GPUs: {}", yielding.reason);
        events.push(event(false, "Yielding", note));
    }
    match (&before.without_nvml, &after.without_nvml) {
        _ if after.yielding.is_some() => {}
        (None, Some(reason)) => {
            events.push(event(true, "NVMLUnavailable", format!("NVML cannot be used: {reason}")));
        }
        (Some(_), None) => {
            let gpus = after.inventory.gpus.len();
            events.push(event(
                false,
                "NVMLAvailable",
                format!("NVML can be used again and lists {gpus} GPUs"),
            ));
        }
        (None | Some(_), _) => {}
    }
    for gpu in &after.inventory.gpus {
        let Some(device) = gpu.name.as_deref() else { continue };
        let known = before.gpu(device).and_then(|known| known.uuid.as_deref());
        if let (Some(old), Some(new)) = (known, gpu.uuid.as_deref())
            && old != new
        {
            events.push(event(true, "GPUReplaced", format!("{device}: {new} sits in the slot of {old} now")));
        }
        let (had, has) = (before.faults_of(device), after.faults_of(device));
        for fault in has.iter().filter(|fault| had.iter().all(|known| known.cause != fault.cause)) {
            let class = fault.class.as_str();
            events.push(event(true, "GPUFault", format!("{device} ({class}): {}", fault.message)));
        }
        if has.is_empty() && !had.is_empty() {
            events.push(event(false, "GPURecovered", format!("{device} is well again")));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use dra_driver::health::{Class, Fault};
    use dra_driver::inventory::Gpu;
    use dra_driver::node::Yielding;

    use super::*;

    const DEVICE: &str = "gpu-0000-1b-00-0";

    fn view(uuid: &str, causes: &[&str]) -> View {
        let mut view = View::default();
        view.inventory.gpus.push(Gpu {
            name: Some(DEVICE.into()),
            uuid: Some(uuid.into()),
            ..Gpu::default()
        });
        let fault = |cause: &&str| Fault {
            class: Class::Reset,
            cause: (*cause).to_owned(),
            message: format!("{cause} happened"),
            since: jiff::Timestamp::UNIX_EPOCH,
        };
        if !causes.is_empty() {
            view.faults.insert(DEVICE.into(), causes.iter().map(fault).collect());
        }
        view
    }

    fn yielding(view: View) -> View {
        let yielding = Some(Yielding { reason: "who asks".into(), since: jiff::Timestamp::UNIX_EPOCH });
        View { without_nvml: Some("who asks".into()), yielding, ..view }
    }

    fn without(reason: &str) -> View {
        View { without_nvml: Some(reason.into()), ..View::default() }
    }

    #[test]
    fn what_changes_is_told_once() {
        let fault = "Warning GPUFault gpu-0000-1b-00-0 (reset): xid-95 happened";
        let more = "Warning GPUFault gpu-0000-1b-00-0 (reset): recovery-action happened";
        let well = "Normal GPURecovered gpu-0000-1b-00-0 is well again";
        let away = "Warning NVMLUnavailable NVML cannot be used: no driver";
        let back = "Normal NVMLAvailable NVML can be used again and lists 1 GPUs";
        let replaced = "Warning GPUReplaced gpu-0000-1b-00-0: GPU-2 sits in the slot of GPU-1 now";
        let cases = [
            ("nothing", view("GPU-1", &[]), view("GPU-1", &[]), vec![]),
            ("the first look at a healthy node", View::default(), view("GPU-1", &[]), vec![]),
            ("the first look at a sick node", View::default(), view("GPU-1", &["xid-95"]), vec![fault]),
            ("a fault", view("GPU-1", &[]), view("GPU-1", &["xid-95"]), vec![fault]),
            ("a fault stays", view("GPU-1", &["xid-95"]), view("GPU-1", &["xid-95"]), vec![]),
            (
                "one more",
                view("GPU-1", &["xid-95"]),
                view("GPU-1", &["xid-95", "recovery-action"]),
                vec![more],
            ),
            ("one less", view("GPU-1", &["xid-95", "lost"]), view("GPU-1", &["xid-95"]), vec![]),
            ("the last one goes", view("GPU-1", &["xid-95"]), view("GPU-1", &[]), vec![well]),
            ("exchanged", view("GPU-1", &["xid-95"]), view("GPU-2", &[]), vec![replaced, well]),
            ("the driver goes: nobody is well", view("GPU-1", &["xid-95"]), without("no driver"), vec![away]),
            ("the driver comes", without("no driver"), view("GPU-1", &[]), vec![back]),
            ("it keeps away", view("GPU-1", &["xid-95"]), yielding(view("GPU-1", &["xid-95"])), {
                vec!["Normal Yielding The driver keeps away from the GPUs: who asks"]
            }),
            ("it keeps away, without a driver", without("no driver"), yielding(without("no driver")), {
                vec!["Normal Yielding The driver keeps away from the GPUs: who asks"]
            }),
            ("it comes back", yielding(view("GPU-1", &[])), view("GPU-1", &[]), vec![back]),
            ("another reason", without("no library"), without("no driver"), vec![]),
        ];
        for (what, before, after, wanted) in cases {
            let told: Vec<String> = events_of(&before, &after, "node-1")
                .into_iter()
                .map(|event| {
                    assert_eq!(event.about, node_reference("node-1"));
                    let kind = if event.warning { "Warning" } else { "Normal" };
                    format!("{kind} {} {}", event.reason, event.note)
                })
                .collect();
            assert_eq!(told, wanted, "{what}");
        }
    }
}
