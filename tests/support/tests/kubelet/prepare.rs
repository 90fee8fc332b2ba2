//! Preparing the claims of pods.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dra_kubelet_proto::{dra::v1, names::DRA_V1BETA1};
use support::kubelet::{Container, ContainerClaim, PodClaim};
use tokio::sync::Barrier;
use tonic::Status;

use crate::{
    plugin::{Call, SOON, Script, device, prepared},
    pods::{claim, pod},
    setup::Node,
};

const DRIVER: &str = "gpu.example.com";
const OTHER: &str = "other.example.com";

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn uses(claim: &str, request: Option<&str>) -> ContainerClaim {
    ContainerClaim { claim: claim.to_owned(), request: request.map(str::to_owned) }
}

#[tokio::test]
async fn one_call_has_all_claims_of_a_pod_and_each_container_gets_its_devices() {
    let node = Node::start().await;
    let script = Script::new(DRIVER).prepare(|_| {
        let two = prepared(vec![device(&["a"], &["v/gpu=0", "v/gpu=1"]), device(&["b"], &["v/gpu=2"])]);
        let all = prepared(vec![device(&[], &["v/gpu=3"]), device(&["b"], &[])]);
        let claims = [("one-uid".to_owned(), two), ("two-uid".to_owned(), all)];
        Ok(v1::NodePrepareResourcesResponse { claims: claims.into() })
    });
    let plugin = node.registered("a", script).await;
    let cases: [(&str, Vec<ContainerClaim>, &[&str]); 6] = [
        ("no claim", vec![], &[]),
        ("a whole claim", vec![uses("my-one", None)], &["v/gpu=0", "v/gpu=1", "v/gpu=2"]),
        ("one request", vec![uses("my-one", Some("b"))], &["v/gpu=2"]),
        ("a device for all requests", vec![uses("my-two", Some("c"))], &["v/gpu=3"]),
        (
            "both claims, in the pod's order",
            vec![uses("my-two", None), uses("my-one", Some("a"))],
            &["v/gpu=0", "v/gpu=1", "v/gpu=3"],
        ),
        (
            "a request twice",
            vec![uses("my-one", Some("b")), uses("my-one", Some("b"))],
            &["v/gpu=2", "v/gpu=2"],
        ),
    ];
    let mut the_pod = pod("p", vec![claim("one", &[DRIVER]), claim("two", &[DRIVER])]);
    the_pod.containers = cases
        .iter()
        .map(|(name, claims, _)| Container { name: (*name).to_owned(), init: false, claims: claims.clone() })
        .collect();
    let answer = node.kubelet.prepare_pod(&the_pod).await.unwrap();
    assert_eq!(plugin.calls(), [Call::Prepare(names(&["one", "two"]))]);
    for ((name, _, expected), container) in cases.iter().zip(&answer.containers) {
        assert_eq!(container.name, *name);
        assert_eq!(container.cdi_devices, *expected, "{name}");
    }
}

#[tokio::test]
async fn failures_have_the_kubelets_words() {
    type Prepare = fn(v1::NodePrepareResourcesRequest) -> Result<v1::NodePrepareResourcesResponse, Status>;
    fn ok(_: v1::NodePrepareResourcesRequest) -> Result<v1::NodePrepareResourcesResponse, Status> {
        Ok(v1::NodePrepareResourcesResponse::default())
    }
    let unallocated = PodClaim { results: Vec::new(), ..claim("c", &[]) };
    let cases: [(&str, PodClaim, Prepare, &str); 7] = [
        (
            "the claim's error",
            claim("c", &[DRIVER]),
            |_| {
                let error = "GPU 3 fell off the bus".to_owned();
                let answer = v1::NodePrepareResourceResponse { devices: vec![], error };
                Ok(v1::NodePrepareResourcesResponse { claims: [("c-uid".to_owned(), answer)].into() })
            },
            "NodePrepareResources failed for ResourceClaim c: GPU 3 fell off the bus",
        ),
        ("no answer", claim("c", &[DRIVER]), ok, "NodePrepareResources skipped 1 ResourceClaims"),
        (
            "an answer for another claim",
            claim("c", &[DRIVER]),
            |_| {
                let claims = [("x-uid".to_owned(), prepared(vec![]))].into();
                Ok(v1::NodePrepareResourcesResponse { claims })
            },
            "NodePrepareResources returned result for unknown claim UID x-uid",
        ),
        (
            "a gRPC error",
            claim("c", &[DRIVER]),
            |_| Err(Status::resource_exhausted("too many")),
            "NodePrepareResources: rpc error: code = ResourceExhausted desc = too many",
        ),
        ("no such driver", claim("c", &[OTHER]), ok, "DRA driver other.example.com is not registered"),
        (
            "one of two drivers is missing",
            claim("c", &[DRIVER, OTHER]),
            ok,
            "DRA driver other.example.com is not registered",
        ),
        ("not allocated", unallocated, ok, "ResourceClaim c: not allocated"),
    ];
    for (name, claim, prepare, expected) in cases {
        let node = Node::start().await;
        let _plugin = node.registered("a", Script::new(DRIVER).prepare(prepare)).await;
        let error = node.kubelet.prepare_pod(&pod("p", vec![claim])).await.unwrap_err();
        assert_eq!(error.to_string(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_pod_for_which_the_claim_is_not_reserved_is_refused_without_a_call() {
    let node = Node::start().await;
    let plugin = node.registered("a", Script::new(DRIVER)).await;
    let mut the_pod = pod("p", vec![claim("good", &[DRIVER]), claim("bad", &[DRIVER])]);
    the_pod.claims[1].reserved_for = names(&["someone-else"]);
    let error = node.kubelet.prepare_pod(&the_pod).await.unwrap_err();
    assert_eq!(error.to_string(), "pod p (p-uid) is not allowed to use ResourceClaim bad (bad-uid)");
    assert_eq!(plugin.calls(), []);
}

#[tokio::test]
async fn a_plugin_that_crashed_is_not_waited_for() {
    let node = Node::start().await;
    let mut plugin = node.registered("a", Script::new(DRIVER)).await;
    plugin.crash();
    let lost = || !node.kubelet.plugins()[0].connected;
    assert!(node.kubelet.wait(SOON, lost).await);
    let error =
        node.kubelet.prepare_pod(&pod("p", vec![claim("c", &[DRIVER])])).await.unwrap_err().to_string();
    assert!(
        error.starts_with("NodePrepareResources: rpc error: code = Unavailable desc = connection error:"),
        "{error}"
    );
}

#[tokio::test]
async fn a_claim_of_two_drivers_is_prepared_by_both() {
    let node = Node::start().await;
    let first = node.registered("a", Script::new(DRIVER)).await;
    let second = node.registered("b", Script::new(OTHER)).await;
    let the_pod = pod("p", vec![claim("both", &[OTHER, DRIVER]), claim("one", &[DRIVER])]);
    let answer = node.kubelet.prepare_pod(&the_pod).await.unwrap();
    assert_eq!(first.calls(), [Call::Prepare(names(&["both", "one"]))]);
    assert_eq!(second.calls(), [Call::Prepare(names(&["both"]))]);
    assert_eq!(
        answer.containers[0].cdi_devices,
        ["gpu.example.com/gpu=both", "other.example.com/gpu=both", "gpu.example.com/gpu=one"]
    );
}

/// The kubelet adds the devices of every answer, and does not compare them with those that it has.
#[tokio::test]
async fn when_the_second_driver_fails_the_first_is_called_again_and_its_devices_come_twice() {
    let node = Node::start().await;
    let first = node.registered("a", Script::new(DRIVER)).await;
    let tries = AtomicUsize::new(0);
    let good = Script::new(OTHER).prepare;
    let mut script = Script::new(OTHER);
    script.prepare = Arc::new(move |request| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => Box::pin(async { Err(Status::unavailable("starting")) }),
        _ => good(request),
    });
    let _second = node.registered("b", script).await;
    let run = node.kubelet.run_pod(pod("p", vec![claim("c", &[DRIVER, OTHER])])).await;
    let failures: Vec<_> = run.failures.iter().map(ToString::to_string).collect();
    assert_eq!(failures, ["NodePrepareResources: rpc error: code = Unavailable desc = starting"]);
    assert_eq!(first.calls().len(), 2);
    assert_eq!(
        run.prepared.unwrap().containers[0].cdi_devices,
        ["gpu.example.com/gpu=c", "gpu.example.com/gpu=c", "other.example.com/gpu=c"]
    );
}

#[tokio::test]
async fn a_claim_that_is_prepared_is_not_prepared_for_the_next_pod() {
    let node = Node::start().await;
    let plugin = node.registered("a", Script::new(DRIVER)).await;
    let first = node.kubelet.prepare_pod(&pod("p1", vec![claim("c", &[DRIVER])])).await.unwrap();
    let second = node.kubelet.prepare_pod(&pod("p2", vec![claim("c", &[DRIVER])])).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(plugin.calls(), [Call::Prepare(names(&["c"]))]);
}

#[tokio::test]
async fn after_a_restart_a_claim_is_prepared_again() {
    let node = Node::start().await;
    let plugin = node.registered("a", Script::new(DRIVER)).await;
    let the_pod = pod("p", vec![claim("c", &[DRIVER])]);
    node.kubelet.prepare_pod(&the_pod).await.unwrap();
    node.kubelet.restart().await;
    node.kubelet.wait_registered(DRIVER, SOON).await.unwrap();
    assert_eq!(plugin.log(|log| (log.infos, log.notified.len())), (2, 2), "registered anew");
    node.kubelet.prepare_pod(&the_pod).await.unwrap();
    assert_eq!(plugin.calls(), [Call::Prepare(names(&["c"])), Call::Prepare(names(&["c"]))]);
    node.kubelet.end_pod("p-uid").await.unwrap();
    assert_eq!(plugin.calls()[2..], [Call::Unprepare(names(&["c"]))]);
}

#[tokio::test]
async fn the_old_version_is_spoken_with_a_plugin_that_prefers_it() {
    let node = Node::start().await;
    let plugin = node.registered("a", Script::new(DRIVER).versions(&[DRA_V1BETA1])).await;
    let answer = node.kubelet.prepare_pod(&pod("p", vec![claim("c", &[DRIVER])])).await.unwrap();
    assert_eq!(plugin.calls(), [Call::PrepareOld(names(&["c"]))]);
    assert_eq!(answer.containers[0].cdi_devices, ["old.example.com/gpu=c"]);
}

#[tokio::test]
async fn a_call_says_that_it_may_take_45_seconds() {
    let node = Node::start().await;
    let plugin = node.registered("a", Script::new(DRIVER)).await;
    node.kubelet.prepare_pod(&pod("p", vec![claim("c", &[DRIVER])])).await.unwrap();
    node.kubelet.end_pod("p-uid").await.unwrap();
    let deadlines = plugin.log(|log| log.deadlines.clone());
    assert_eq!(deadlines.len(), 2);
    for deadline in deadlines {
        // The gRPC protocol: a number, then n, u, m, S for nano-, micro-, milliseconds and seconds.
        let (number, unit) = deadline.split_at(deadline.len() - 1);
        let scale = match unit {
            "n" => 1e-9,
            "u" => 1e-6,
            "m" => 1e-3,
            "S" => 1.0,
            _ => f64::NAN,
        };
        let seconds = number.parse::<f64>().unwrap() * scale;
        assert!((40.0..=45.0).contains(&seconds), "{deadline}");
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_fails() {
    let node = Node::with(|settings| settings.timings.call = std::time::Duration::from_millis(100)).await;
    let mut script = Script::new(DRIVER);
    script.prepare = Arc::new(|_| Box::pin(std::future::pending()));
    let _plugin = node.registered("a", script).await;
    let error = node.kubelet.prepare_pod(&pod("p", vec![claim("c", &[DRIVER])])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "NodePrepareResources: rpc error: code = DeadlineExceeded desc = context deadline exceeded"
    );
}

/// The plugin answers none of the calls before all have come.
#[tokio::test]
async fn twenty_pods_are_prepared_at_once() {
    let node = Node::start().await;
    let barrier = Arc::new(Barrier::new(20));
    let good = Script::new(DRIVER).prepare;
    let mut script = Script::new(DRIVER);
    script.prepare = Arc::new(move |request| {
        let (barrier, answer) = (Arc::clone(&barrier), good(request));
        Box::pin(async move {
            barrier.wait().await;
            answer.await
        })
    });
    let plugin = node.registered("a", script).await;
    let pods: Vec<_> = (0..20)
        .map(|number| {
            let (kubelet, name) = (node.kubelet.clone(), format!("c{number}"));
            tokio::spawn(async move {
                let the_pod = pod(&name, vec![claim(&name, &[DRIVER])]);
                (kubelet.prepare_pod(&the_pod).await, name)
            })
        })
        .collect();
    for task in pods {
        let (answer, name) = tokio::time::timeout(SOON, task).await.unwrap().unwrap();
        assert_eq!(answer.unwrap().containers[0].cdi_devices, [format!("gpu.example.com/gpu={name}")]);
    }
    assert_eq!(plugin.calls().len(), 20);
}

#[tokio::test]
async fn a_pod_waits_for_its_driver() {
    let node = Node::start().await;
    let kubelet = node.kubelet.clone();
    let run = tokio::spawn(async move { kubelet.run_pod(pod("p", vec![claim("c", &[DRIVER])])).await });
    // The first failure is certain: there is no plugin.
    let _plugin = node.registered("a", Script::new(DRIVER)).await;
    let run = tokio::time::timeout(SOON, run).await.unwrap().unwrap();
    assert_eq!(run.failures[0].to_string(), "DRA driver gpu.example.com is not registered");
    assert!(run.prepared.is_some());
}
