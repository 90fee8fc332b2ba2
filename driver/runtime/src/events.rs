//! Kubernetes Events, sent from a bounded queue by a task of its own: nobody waits for the API server to say
//! something to the user.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event as ApiEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many Events wait to be sent. More than a node ever has at a time; what comes on top is logged alone.
const QUEUE: usize = 256;
/// For how long the same Event is not sent again.
const SAME: Duration = Duration::from_secs(60);
/// After what time without it an Event that comes again is a new one.
const FORGET: Duration = Duration::from_secs(600);
/// Where Events about cluster-scoped objects are.
const NO_NAMESPACE: &str = "default";
/// How many sent Events are remembered, to know the same again.
const REMEMBERED: usize = 1024;
/// How long the API server may take for an Event.
const ANSWER: Duration = Duration::from_secs(10);
/// How often an Event is tried, and the waits between. After that its news is old.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The API server takes no longer notes (in bytes).
const LONGEST_NOTE: usize = 1024;

/// An Event about an object.
#[derive(Clone, Debug)]
pub struct Event {
    /// What it is about. Its namespace is the Event's; cluster-scoped objects have theirs in `default`.
    pub about: ObjectReference,
    /// Whether it is a warning.
    pub warning: bool,
    /// CamelCase, from a closed list of the caller's.
    pub reason: &'static str,
    /// CamelCase: what was being done.
    pub action: &'static str,
    /// For people. It names only objects of the namespace of `about`.
    pub note: String,
}

/// Where Events are handed over. Clones hand over to the same queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Event>,
}

impl Events {
    /// A queue, and its end for the task that sends.
    #[must_use]
    pub fn queue() -> (Self, mpsc::Receiver<Event>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue }, receiver)
    }

    /// Hands an Event over. Never waits: when the queue is full, the Event is logged alone.
    pub fn send(&self, event: Event) {
        if let Err(error) = self.queue.try_send(event) {
            tracing::warn!(%error, "Event not sent");
        }
    }
}

/// Sends Events until `cancel`, or until the last [`Events`] is gone. `controller` is the DRA driver's name,
/// `instance` what tells its programs apart, such as the node's name.
///
/// One that cannot be sent is tried again for about half a minute and then dropped with a line in the log. The
/// same Event is sent once a minute at most; when it comes again later, the one that is there counts up.
pub async fn run(
    client: Client,
    mut queue: mpsc::Receiver<Event>,
    controller: String,
    instance: String,
    cancel: CancellationToken,
) {
    let mut sent = Sent::default();
    let sending = async {
        while let Some(event) = queue.recv().await {
            let Some(again) = sent.take(&event, Instant::now()) else { continue };
            let to_send = to_send(&event, &controller, &instance, again.as_ref());
            if let Some(name) = send(&client, &event, to_send, again.is_some()).await {
                sent.note(&event, name, again.map_or(1, |again| again.count), Instant::now());
            }
        }
    };
    cancel.run_until_cancelled(sending).await;
}

/// The Event as the API has it: a new one, or the one that is there with its new count.
fn to_send(event: &Event, controller: &str, instance: &str, again: Option<&Again>) -> ApiEvent {
    let now = Timestamp::now();
    let subject = event.about.name.as_deref().unwrap_or(controller);
    let name =
        again.map_or_else(|| format!("{subject}.{:x}", now.as_nanosecond()), |again| again.name.clone());
    let namespace = event.about.namespace.clone().unwrap_or_else(|| NO_NAMESPACE.to_owned());
    let series = again.map(|again| EventSeries { count: again.count, last_observed_time: MicroTime(now) });
    ApiEvent {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        regarding: Some(event.about.clone()),
        type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(event.reason.to_owned()),
        action: Some(event.action.to_owned()),
        note: Some(shortened(&event.note).to_owned()),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(controller.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        series,
        ..ApiEvent::default()
    }
}

/// Sends with patience. The name under which the Event is there then.
async fn send(client: &Client, event: &Event, to_send: ApiEvent, mut again: bool) -> Option<String> {
    let namespace = event.about.namespace.as_deref().unwrap_or(NO_NAMESPACE);
    let api: Api<ApiEvent> = Api::namespaced(client.clone(), namespace);
    let name = to_send.metadata.name.clone().unwrap_or_default();
    let mut wait = FIRST_WAIT;
    let mut last = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            // Many nodes may have been turned away at the same moment.
            tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        let try_once = async {
            if again {
                let series = Patch::Merge(serde_json::json!({"series": to_send.series}));
                api.patch(&name, &PatchParams::default(), &series).await.map(drop)
            } else {
                api.create(&PostParams::default(), &to_send).await.map(drop)
            }
        };
        match tokio::time::timeout(ANSWER, try_once).await {
            Ok(Ok(())) => return Some(name),
            // A try whose answer was lost.
            Ok(Err(kube::Error::Api(status))) if !again && status.is_already_exists() => return Some(name),
            // Events are deleted after an hour.
            Ok(Err(kube::Error::Api(status))) if again && status.is_not_found() => again = false,
            Ok(Err(error)) => {
                last = error.to_string();
                if is_final(&error) {
                    break;
                }
            }
            Err(_) => last = format!("no answer within {} s", ANSWER.as_secs()),
        }
    }
    let (reason, note) = (event.reason, &event.note);
    tracing::warn!(error = last, reason, note, "Event not sent");
    None
}

/// Whether the API server has decided: without the right, or in a namespace that goes, no try helps.
fn is_final(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => (400..500).contains(&status.code) && status.code != 429,
        _ => false,
    }
}

/// The note's beginning, as long as the API server takes it.
fn shortened(note: &str) -> &str {
    let mut end = note.len().min(LONGEST_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    &note[..end]
}

/// An Event that was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Again {
    /// Its name in the API.
    name: String,
    /// How often it has been seen, this time included.
    count: i32,
}

/// What was sent lately.
#[derive(Debug, Default)]
struct Sent(HashMap<Key, Known>);

/// What makes Events the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    namespace: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    warning: bool,
    reason: &'static str,
    note: String,
}

#[derive(Debug)]
struct Known {
    name: String,
    count: i32,
    sent: Instant,
    seen: Instant,
}

impl Sent {
    /// Whether the Event has to be sent: not if it was a moment ago. The answer inside says which one counts up.
    fn take(&mut self, event: &Event, now: Instant) -> Option<Option<Again>> {
        self.0.retain(|_, known| now.duration_since(known.seen) < FORGET);
        let Some(known) = self.0.get_mut(&Key::of(event)) else { return Some(None) };
        known.count = known.count.saturating_add(1);
        known.seen = now;
        if now.duration_since(known.sent) < SAME {
            return None;
        }
        Some(Some(Again { name: known.name.clone(), count: known.count }))
    }

    fn note(&mut self, event: &Event, name: String, count: i32, now: Instant) {
        let key = Key::of(event);
        if self.0.len() < REMEMBERED || self.0.contains_key(&key) {
            self.0.insert(key, Known { name, count, sent: now, seen: now });
        }
    }
}

impl Key {
    fn of(event: &Event) -> Self {
        let ObjectReference { namespace, kind, name, uid, .. } = event.about.clone();
        Self {
            namespace,
            kind,
            name,
            uid,
            warning: event.warning,
            reason: event.reason,
            note: event.note.clone(),
        }
    }
}

/// A reference to a Node object, as the kubelet makes it: with the name in place of the UID, which is how
/// `kubectl describe node` finds the Events.
#[must_use]
pub fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, note: &str) -> Event {
        Event {
            about: node_reference(name),
            warning: true,
            reason: "GPUFault",
            action: "WatchingGPUs",
            note: note.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_event_is_sent_once_a_minute_and_counts_up() {
        let mut sent = Sent::default();
        let start = Instant::now();
        let new = Some(None);
        let again = |name: &str, count| Some(Some(Again { name: name.into(), count }));
        // Seconds since the start, node, note, what is sent.
        let cases = [
            (0, "one", "lost", new.clone()),
            (0, "one", "lost", None),
            (1, "two", "lost", new.clone()),
            (1, "one", "xid", new.clone()),
            (59, "one", "lost", None),
            (60, "one", "lost", again("one/lost", 4)),
            (119, "one", "lost", None),
            (120, "one", "lost", again("one/lost", 6)),
            (601, "one", "xid", new.clone()),
            (719, "one", "lost", again("one/lost", 7)),
            (1319, "one", "lost", new),
        ];
        for (second, node, note, wanted) in cases {
            let now = start + Duration::from_secs(second);
            let event = event(node, note);
            let taken = sent.take(&event, now);
            assert_eq!(taken, wanted, "{second} s: {node}, {note}");
            if let Some(again) = taken {
                sent.note(&event, format!("{node}/{note}"), again.map_or(1, |again| again.count), now);
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut sent = Sent::default();
        let now = Instant::now();
        for number in 0..2 * REMEMBERED {
            let event = event("one", &number.to_string());
            assert_eq!(sent.take(&event, now), Some(None));
            sent.note(&event, "name".into(), 1, now);
        }
        assert_eq!(sent.0.len(), REMEMBERED);
    }

    #[test]
    fn a_note_is_cut_between_letters() {
        let cases = [
            ("short".to_owned(), 5),
            ("x".repeat(LONGEST_NOTE), LONGEST_NOTE),
            ("x".repeat(5000), LONGEST_NOTE),
            (format!("{}é", "x".repeat(LONGEST_NOTE - 1)), LONGEST_NOTE - 1),
        ];
        for (note, length) in cases {
            assert_eq!(shortened(&note).len(), length);
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_no_reason_to_wait() {
        let (events, mut queue) = Events::queue();
        for number in 0..2 * QUEUE {
            events.send(event("one", &number.to_string()));
        }
        drop(events);
        let mut kept = 0;
        while queue.recv().await.is_some() {
            kept += 1;
        }
        assert_eq!(kept, QUEUE);
    }
}
