//! Events that the driver's programs send reach a real API server, where `kubectl describe` finds them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use dra_runtime::client::{ClientOptions, client};
use dra_runtime::events::{self, Event, Events, node_reference};
use e2e::api::{GUARD, unique};
use k8s_openapi::api::core::v1::{Event as Found, ObjectReference};
use kube::api::ListParams;
use kube::{Api, Client};
use support::cluster::Cluster;
use support::transport::{Action, Matching, Script, Verb};
use tokio_util::sync::CancellationToken;

const CONTROLLER: &str = "gpu.example.com";

async fn own_client() -> Client {
    let kubeconfig = std::env::var_os("KUBECONFIG").map(Into::into);
    client(&ClientOptions { kubeconfig }, "dra-kubelet-plugin/test").await.unwrap()
}

/// A sender of Events, which runs until it is dropped.
fn sender(client: Client, instance: &str) -> (Events, tokio_util::sync::DropGuard) {
    let (events, queue) = Events::queue();
    let cancel = CancellationToken::new();
    tokio::spawn(events::run(client, queue, CONTROLLER.into(), instance.into(), cancel.clone()));
    (events, cancel.drop_guard())
}

fn event(about: ObjectReference, note: &str) -> Event {
    Event { about, warning: true, reason: "GPUFault", action: "WatchingGPUs", note: note.into() }
}

/// The Events of a node, found as `kubectl describe node` does, as soon as they are as wanted.
async fn of_node(client: &Client, node: &str, wanted: impl Fn(&[Found]) -> bool) -> Vec<Found> {
    let api: Api<Found> = Api::all(client.clone());
    let fields = format!("involvedObject.kind=Node,involvedObject.name={node},involvedObject.uid={node}");
    let listed = async {
        loop {
            let found = api.list(&ListParams::default().fields(&fields)).await.unwrap().items;
            if wanted(&found) {
                return found;
            }
        }
    };
    tokio::time::timeout(GUARD, listed).await.expect("the Events do not come")
}

#[tokio::test]
async fn a_node_is_described_with_its_events() {
    let cluster = Cluster::current();
    let node = unique("node");
    let (events, _running) = sender(own_client().await, &node);
    // The same twice, which is sent once.
    for device in ["gpu-0000-1b-00-0", "gpu-0000-1b-00-0", "gpu-0000-43-00-0"] {
        events.send(event(node_reference(&node), &format!("{device} (reset): XID 95")));
    }
    let client = cluster.client().await.unwrap();
    let mut found = of_node(&client, &node, |found| found.len() >= 2).await;
    found.sort_by_key(|event| event.message.clone());
    let messages: Vec<_> = found.iter().map(|event| event.message.as_deref().unwrap()).collect();
    assert_eq!(messages, ["gpu-0000-1b-00-0 (reset): XID 95", "gpu-0000-43-00-0 (reset): XID 95"]);
    for event in &found {
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.reason.as_deref(), Some("GPUFault"));
        assert_eq!(event.action.as_deref(), Some("WatchingGPUs"));
        assert_eq!(event.reporting_component.as_deref(), Some(CONTROLLER));
        assert_eq!(event.reporting_instance.as_deref(), Some(node.as_str()));
    }
}

#[tokio::test]
async fn an_event_survives_a_link_that_breaks() {
    let cluster = Cluster::current();
    let node = unique("node");
    let script = Script::new();
    let broken = script.on(Matching::verb(Verb::Create).resource("events"), Action::Drop);
    let scripted = support::transport::client(cluster.config().await.unwrap(), &script).unwrap();
    let (events, _running) = sender(scripted, &node);
    events.send(event(node_reference(&node), "gpu-0000-1b-00-0 (lost): no answer"));
    let creates = || script.requests_to(&Matching::verb(Verb::Create).resource("events")).len();
    let tried = async {
        while creates() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, tried).await.expect("nothing is sent");
    broken.end();
    let client = cluster.client().await.unwrap();
    let found = of_node(&client, &node, |found| !found.is_empty()).await;
    assert_eq!(found.len(), 1);
    assert!(creates() >= 2);
}
