//! Kubernetes Events, sent from a bounded queue by a task of its own: nobody waits for the API server to say
//! something to the user.

use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::mpsc;

/// How many Events wait to be sent. More than a node ever has at a time; what comes on top is logged alone.
const QUEUE: usize = 256;

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
