//! Unpreparing the claims of pods.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dra_kubelet_proto::dra::v1;
use support::kubelet::PodClaim;
use tokio::{sync::Semaphore, time::timeout};
use tonic::Status;

use crate::{
    plugin::{Call, SOON, Script, unprepared},
    pods::{claim, pod},
    setup::Node,
};

const DRIVER: &str = "gpu.example.com";

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test]
async fn a_shared_claim_is_unprepared_when_its_last_pod_ends() {
    let node = Node::start().await;
    let plugin = node.registered("a", Script::new(DRIVER)).await;
    let shared = || claim("shared", &[DRIVER]);
    node.kubelet.prepare_pod(&pod("p1", vec![shared(), claim("own", &[DRIVER])])).await.unwrap();
    node.kubelet.prepare_pod(&pod("p2", vec![shared()])).await.unwrap();
    node.kubelet.end_pod("p1-uid").await.unwrap();
    assert_eq!(plugin.calls()[1..], [Call::Unprepare(names(&["own"]))]);
    node.kubelet.end_pod("p2-uid").await.unwrap();
    assert_eq!(plugin.calls()[2..], [Call::Unprepare(names(&["shared"]))]);
    node.kubelet.prepare_pod(&pod("p3", vec![shared()])).await.unwrap();
    assert_eq!(plugin.calls()[3..], [Call::Prepare(names(&["shared"]))]);
}

#[tokio::test]
async fn a_pod_ends_once() {
    let node = Node::start().await;
    let _plugin = node.registered("a", Script::new(DRIVER)).await;
    node.kubelet.prepare_pod(&pod("p", vec![claim("c", &[DRIVER])])).await.unwrap();
    node.kubelet.end_pod("p-uid").await.unwrap();
    let error = node.kubelet.end_pod("p-uid").await.unwrap_err();
    assert!(error.to_string().contains("p-uid"), "{error}");
}

#[tokio::test]
async fn failures_have_the_kubelets_words() {
    type Unprepare =
        fn(v1::NodeUnprepareResourcesRequest) -> Result<v1::NodeUnprepareResourcesResponse, Status>;
    fn answer(uid: &str, error: &str) -> Result<v1::NodeUnprepareResourcesResponse, Status> {
        let claims = [(uid.to_owned(), unprepared(error))].into();
        Ok(v1::NodeUnprepareResourcesResponse { claims })
    }
    let cases: [(&str, Unprepare, &str); 4] = [
        (
            "the claim's error",
            |_| answer("c-uid", "GPU 3 is busy"),
            "NodeUnprepareResources failed for ResourceClaim c: GPU 3 is busy",
        ),
        ("no answer", |_| Ok(Default::default()), "NodeUnprepareResources skipped 1 ResourceClaims"),
        (
            "an answer for another claim",
            |_| answer("x-uid", ""),
            "NodeUnprepareResources returned result for unknown claim UID x-uid",
        ),
        (
            "a gRPC error",
            |_| Err(Status::aborted("not now")),
            "NodeUnprepareResources: rpc error: code = Aborted desc = not now",
        ),
    ];
    for (name, unprepare, expected) in cases {
        let node = Node::start().await;
        let _plugin = node.registered("a", Script::new(DRIVER).unprepare(unprepare)).await;
        node.kubelet.prepare_pod(&pod("p", vec![claim("c", &[DRIVER])])).await.unwrap();
        let error = node.kubelet.end_pod("p-uid").await.unwrap_err();
        assert_eq!(error.to_string(), format!("unprepare dynamic resources: {expected}"), "{name}");
    }
}

#[tokio::test]
async fn a_pod_that_cannot_be_unprepared_is_tried_again() {
    let node = Node::start().await;
    let busy = Arc::new(AtomicBool::new(true));
    let good = Script::new(DRIVER).unprepare;
    let mut script = Script::new(DRIVER);
    let is_busy = Arc::clone(&busy);
    script.unprepare = Arc::new(move |request| match is_busy.load(Ordering::Relaxed) {
        true => Box::pin(async { Err(Status::unavailable("busy")) }),
        false => good(request),
    });
    let plugin = node.registered("a", script).await;
    let the_pod = pod("p", vec![claim("c", &[DRIVER])]);
    node.kubelet.prepare_pod(&the_pod).await.unwrap();
    assert!(node.kubelet.end_pod("p-uid").await.is_err());
    assert!(node.kubelet.wait(SOON, || plugin.calls().len() >= 4).await, "tried again");
    busy.store(false, Ordering::Relaxed);
    let next = pod("next", vec![PodClaim { uid: "new-uid".to_owned(), ..claim("c", &[DRIVER]) }]);
    let run = tokio::time::timeout(SOON, node.kubelet.run_pod(next)).await.unwrap();
    assert!(run.prepared.is_some());
}

#[tokio::test]
async fn a_claim_that_was_not_unprepared_stands_in_the_way_of_a_new_one_of_its_name() {
    let node = Node::start().await;
    let _plugin = node.registered("a", Script::new(DRIVER)).await;
    node.kubelet.prepare_pod(&pod("p", vec![claim("c", &[DRIVER])])).await.unwrap();
    let next = pod("next", vec![PodClaim { uid: "new-uid".to_owned(), ..claim("c", &[DRIVER]) }]);
    let error = node.kubelet.prepare_pod(&next).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "old ResourceClaim with same name c and different UID c-uid still exists (previous pod force-deleted?!)"
    );
}

#[tokio::test]
async fn a_pod_that_ends_during_prepare_is_prepared_to_the_end_and_then_unprepared() {
    let node = Node::start().await;
    let mut script = Script::new(DRIVER);
    let (answer, gate) = (Arc::clone(&script.prepare), Arc::new(Semaphore::new(0)));
    let held = Arc::clone(&gate);
    script.prepare = Arc::new(move |request| {
        let (answer, held) = (Arc::clone(&answer), Arc::clone(&held));
        Box::pin(async move {
            let _passed = held.acquire().await.unwrap();
            answer(request).await
        })
    });
    let plugin = node.registered("a", script).await;
    let kubelet = node.kubelet.clone();
    let run = tokio::spawn(async move { kubelet.run_pod(pod("p", vec![claim("c", &[DRIVER])])).await });
    assert!(node.kubelet.wait(SOON, || plugin.calls().len() == 1).await);
    let mut end = std::pin::pin!(node.kubelet.end_pod("p-uid"));
    assert!(timeout(Duration::ZERO, &mut end).await.is_err(), "the pod ended during its prepare");
    gate.add_permits(1);
    end.await.unwrap();
    assert!(run.await.unwrap().prepared.is_some());
    assert_eq!(plugin.calls()[1..], [Call::Unprepare(names(&["c"]))]);
}

#[tokio::test]
async fn without_the_driver_a_pod_does_not_end() {
    let node = Node::start().await;
    let plugin = node.registered("a", Script::new(DRIVER)).await;
    node.kubelet.prepare_pod(&pod("p", vec![claim("c", &[DRIVER])])).await.unwrap();
    plugin.withdraw();
    assert!(node.kubelet.wait(SOON, || node.kubelet.plugins().is_empty()).await);
    let error = node.kubelet.end_pod("p-uid").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "unprepare dynamic resources: DRA driver gpu.example.com is not registered"
    );
    let plugin = node.registered("a", Script::new(DRIVER)).await;
    assert!(node.kubelet.wait(SOON, || plugin.calls() == [Call::Unprepare(names(&["c"]))]).await);
}
