//! Events that say why claims wait.
//!
//! There is one Event for each claim and pod, whose words change: its name follows from what it is about, so that another
//! replica, or this one after a restart, finds it again. The group `events.k8s.io` does not let the words of an Event
//! change, so the older API is used.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dra_runtime::lease::Leadership;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::index::{Index, Said, Subject, SubjectKind};
use crate::observe::metrics::{Metrics, WriteResult};

/// The Events' reason.
const REASON: &str = "CannotAllocate";
/// What was being done.
const ACTION: &str = "Allocate";
/// How many Events wait to be written.
const QUEUE: usize = 1024;
/// How many are written at the same time: over a slow link one by one would take minutes.
const AT_ONCE: usize = 8;
/// How long the API server may take for one.
const ANSWER: Duration = Duration::from_secs(10);
/// The API server takes no longer words, in bytes.
const LONGEST: usize = 1024;

/// Who speaks.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The driver's name.
    pub(super) driver: String,
    /// Which replica it is.
    pub(super) instance: String,
}

/// Where Events are handed over.
#[derive(Debug)]
pub(super) struct Announcer(mpsc::Sender<Said>);

impl Announcer {
    /// Hands an Event over. It comes back where too many wait.
    pub(super) fn say(&self, said: Said) -> Result<(), Said> {
        self.0.try_send(said).map_err(|error| match error {
            mpsc::error::TrySendError::Full(said) | mpsc::error::TrySendError::Closed(said) => said,
        })
    }
}

/// Starts the task that writes. It drops what was handed over when this replica does not lead any more.
pub(super) fn start(
    client: Client,
    source: Source,
    leadership: Leadership,
    (metrics, index): (Metrics, Arc<Mutex<Index>>),
    cancel: CancellationToken,
) -> (Announcer, JoinHandle<()>) {
    let (sender, mut queue) = mpsc::channel::<Said>(QUEUE);
    let writing = async move {
        let mut writes = JoinSet::new();
        while let Some(said) = queue.recv().await {
            while writes.len() >= AT_ONCE {
                writes.join_next().await;
            }
            if leadership.is_held() {
                let (client, source, metrics) = (client.clone(), source.clone(), metrics.clone());
                let index = Arc::clone(&index);
                writes.spawn(async move {
                    let result = write(&client, &source, &said).await;
                    metrics.wrote("event", result);
                    if result == WriteResult::Failed {
                        lock(&index).unsaid(&said.about);
                    }
                });
            }
        }
    };
    let writing = async move {
        cancel.run_until_cancelled(writing).await;
    };
    (Announcer(sender), tokio::spawn(writing))
}

async fn write(client: &Client, source: &Source, said: &Said) -> WriteResult {
    let api: Api<Event> = Api::namespaced(client.clone(), &said.about.name.namespace);
    let event = event(source, said, Timestamp::now());
    match timeout(ANSWER, upsert(&api, &event)).await {
        Ok(Ok(())) => WriteResult::Written,
        Ok(Err(error)) if has_namespace_gone(&error) => WriteResult::Pointless,
        Ok(Err(error)) => {
            tracing::warn!(%error, about = %said.about.name, "cannot write an Event");
            WriteResult::Failed
        }
        Err(_) => {
            tracing::warn!(about = %said.about.name, "no answer within {} s to an Event", ANSWER.as_secs());
            WriteResult::Failed
        }
    }
}

/// Changes the words of the Event that is there, or makes it.
async fn upsert(api: &Api<Event>, event: &Event) -> kube::Result<()> {
    let name = event.metadata.name.as_deref().unwrap_or_default();
    let words = json!({"message": event.message, "lastTimestamp": event.last_timestamp});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(words)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        done => return done.map(drop),
    }
    match api.create(&PostParams::default(), event).await {
        // The answer of an earlier try was lost.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        done => done.map(drop),
    }
}

/// Whether the API server takes no new object because the namespace ends, or because it is gone.
fn has_namespace_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_not_found() || causes.any(|cause| cause.reason == "NamespaceTerminating")
}

fn event(source: &Source, said: &Said, now: Timestamp) -> Event {
    let Subject { kind, name, uid } = &said.about;
    let api_version = match kind {
        SubjectKind::Claim => "resource.k8s.io/v1",
        SubjectKind::Pod => "v1",
    };
    let namespace = Some(name.namespace.to_string());
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(&said.about)),
            namespace: namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.as_str().to_owned()),
            namespace,
            name: Some(name.name.to_string()),
            uid: Some(uid.to_string()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(REASON.to_owned()),
        action: Some(ACTION.to_owned()),
        message: Some(shortened(&said.note)),
        source: Some(EventSource { component: Some(source.driver.clone()), host: None }),
        reporting_component: Some(source.driver.clone()),
        reporting_instance: Some(source.instance.clone()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

/// The name of the one Event about an object: the object's name, as far as there is room, and its UID.
fn event_name(about: &Subject) -> String {
    let room = 253 - "..cannot-allocate".len() - about.uid.len().min(64);
    let name: String = about.name.name.chars().take(room).collect();
    let uid: String = about.uid.chars().take(64).collect();
    format!("{}.{uid}.cannot-allocate", name.trim_end_matches(['.', '-']))
}

/// The words up to the end of a sentence or a part of one, as many as the API server takes.
fn shortened(note: &str) -> String {
    if note.len() <= LONGEST {
        return note.to_owned();
    }
    let mut end = LONGEST - "…".len();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    let cut = &note[..end];
    let at = cut.rfind(['.', ';', '\n']).filter(|at| *at > LONGEST / 2).unwrap_or(end);
    format!("{}…", note[..at].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Name;

    fn about(name: &str) -> Subject {
        let uid = "0a5d2f6e-5a53-4c4c-8a52-2c1f4f1c0b11".into();
        Subject { kind: SubjectKind::Claim, name: Name { namespace: "team".into(), name: name.into() }, uid }
    }

    #[test]
    fn an_object_has_one_event_whose_name_the_api_server_takes() {
        assert_eq!(
            event_name(&about("training")),
            "training.0a5d2f6e-5a53-4c4c-8a52-2c1f4f1c0b11.cannot-allocate"
        );
        let long = event_name(&about(&"x".repeat(253)));
        assert_eq!(long.len(), 253);
        let dotted = event_name(&about(&format!("{}.y", "x".repeat(198))));
        assert!(!dotted.contains(".."), "{dotted}");
    }

    /// The API server's answers to an Event in a namespace that is being deleted, to one in a namespace that is gone,
    /// and to one that the controller may not write.
    #[test]
    fn an_event_in_a_namespace_that_ends_is_pointless_and_no_failure() {
        let ends = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403,
            "message": "events \"a\" is forbidden: unable to create new content in namespace team because it is being \
                        terminated",
            "reason": "Forbidden",
            "details": {"name": "a", "kind": "events", "causes": [{
                "reason": "NamespaceTerminating", "message": "namespace team is being terminated",
                "field": "metadata.namespace",
            }]},
        });
        let gone = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404,
            "message": "namespaces \"team\" not found", "reason": "NotFound",
            "details": {"name": "team", "kind": "namespaces"},
        });
        let denied = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403,
            "message": "events is forbidden: User \"a\" cannot create resource \"events\" in API group \"\"",
            "reason": "Forbidden", "details": {"kind": "events"},
        });
        for (answer, pointless) in [(ends, true), (gone, true), (denied, false)] {
            let error = kube::Error::Api(serde_json::from_value(answer.clone()).unwrap());
            assert_eq!(has_namespace_gone(&error), pointless, "{answer}");
        }
    }

    #[test]
    fn long_words_end_at_a_part_of_a_sentence() {
        let short = "0/3 nodes: all in use.";
        assert_eq!(shortened(short), short);
        let part = "8 GPUs on node-a are in use (5 claims); ";
        let long = shortened(&part.repeat(50));
        assert!(long.len() <= LONGEST, "{}", long.len());
        assert!(long.ends_with("(5 claims)…"), "{long}");
        let endless = shortened(&"é".repeat(1000));
        assert!(endless.len() <= LONGEST && endless.ends_with("é…"), "{endless}");
    }
}
