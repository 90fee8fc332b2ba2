//! Kubernetes Events, sent from a bounded queue by a task of its own: nobody waits for the API server to say
//! something to the user.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event as ToSend, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many Events wait to be sent. More than a node ever has at a time; what comes on top is logged alone.
const QUEUE: usize = 256;
/// For how long the same Event is not sent again.
const SAME: Duration = Duration::from_secs(60);
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
/// One that cannot be sent is tried again for about half a minute and then dropped with a line in the log.
pub async fn run(
    client: Client,
    mut queue: mpsc::Receiver<Event>,
    controller: String,
    instance: String,
    cancel: CancellationToken,
) {
    let recorder = Recorder::new(client, Reporter { controller, instance: Some(instance) });
    let mut sent = Sent::default();
    let sending = async {
        while let Some(event) = queue.recv().await {
            if sent.is_new(&event, Instant::now()) {
                send(&recorder, event).await;
            }
        }
    };
    cancel.run_until_cancelled(sending).await;
}

async fn send(recorder: &Recorder, event: Event) {
    let to_send = ToSend {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.to_owned(),
        note: Some(shortened(&event.note).to_owned()),
        action: event.action.to_owned(),
        secondary: None,
    };
    let mut wait = FIRST_WAIT;
    let mut last = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            // Many nodes may have been turned away at the same moment.
            tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        match tokio::time::timeout(ANSWER, recorder.publish(&to_send, &event.about)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                last = error.to_string();
                if is_final(&error) {
                    break;
                }
            }
            Err(_) => last = format!("no answer within {} s", ANSWER.as_secs()),
        }
    }
    let (reason, note) = (event.reason, event.note);
    tracing::warn!(error = last, reason, note, "Event not sent");
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

/// What was sent lately.
#[derive(Debug, Default)]
struct Sent(HashMap<String, Instant>);

impl Sent {
    /// Whether the Event was not sent lately. Notes it as sent.
    fn is_new(&mut self, event: &Event, now: Instant) -> bool {
        let about = &event.about;
        let key = format!(
            "{} {} {} {} {} {} {}",
            about.kind.as_deref().unwrap_or_default(),
            about.namespace.as_deref().unwrap_or_default(),
            about.name.as_deref().unwrap_or_default(),
            about.uid.as_deref().unwrap_or_default(),
            event.warning,
            event.reason,
            event.note
        );
        self.0.retain(|_, at| now.duration_since(*at) < SAME);
        if self.0.contains_key(&key) {
            return false;
        }
        if self.0.len() < REMEMBERED {
            self.0.insert(key, now);
        }
        true
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
    async fn the_same_event_is_sent_once_a_minute() {
        let mut sent = Sent::default();
        let start = Instant::now();
        // Seconds since the start, node, note, whether it is sent.
        let cases = [
            (0, "one", "lost", true),
            (0, "one", "lost", false),
            (1, "two", "lost", true),
            (1, "one", "xid", true),
            (59, "one", "lost", false),
            (60, "one", "lost", true),
            (119, "one", "lost", false),
        ];
        for (second, node, note, wanted) in cases {
            let now = start + Duration::from_secs(second);
            assert_eq!(sent.is_new(&event(node, note), now), wanted, "{second} s: {node}, {note}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut sent = Sent::default();
        let now = Instant::now();
        for number in 0..2 * REMEMBERED {
            assert!(sent.is_new(&event("one", &number.to_string()), now));
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
