//! Pods as the API server gives them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use support::kubelet::{AllocationResult, Container, ContainerClaim, Pod, PodClaim, read_pod};

/// An API server that has the pod `ns/p` and, in its namespace, `claims`.
fn client(pod: Value, claims: Vec<Value>) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path();
        let found = match path.strip_prefix("/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims/") {
            Some(name) => claims.iter().find(|claim| claim["metadata"]["name"] == name).cloned(),
            None => (path == "/api/v1/namespaces/ns/pods/p").then(|| pod.clone()),
        };
        let (code, body) = match found {
            Some(object) => (200, object),
            None => {
                let message = format!("{path} not found");
                (
                    404,
                    json!({"kind": "Status", "apiVersion": "v1", "code": 404, "status": "Failure",
                    "reason": "NotFound", "message": message}),
                )
            }
        };
        std::future::ready(Response::builder().status(code).body(Body::from(body.to_string().into_bytes())))
    });
    kube::Client::new(service, "default")
}

fn a_pod(spec: Value, status: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "uid": "p-uid"},
        "spec": spec, "status": status})
}

fn a_claim(name: &str, owner: &str) -> Value {
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("{name}-uid"), "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}
        ]},
        "spec": {},
        "status": {
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "p-uid"}],
            "allocation": {"devices": {"results": [
                {"driver": "gpu.example.com", "pool": "node-a", "device": "gpu-0", "request": "gpu"},
                {"driver": "gpu.example.com", "pool": "node-a", "device": "gpu-1", "request": "any/small",
                    "shareID": "share", "adminAccess": true}
            ]}}
        }
    })
}

fn expected_claim(entry: &str, name: &str) -> PodClaim {
    let result = |device: &str, request: &str| AllocationResult {
        driver: "gpu.example.com".to_owned(),
        pool: "node-a".to_owned(),
        device: device.to_owned(),
        request: request.to_owned(),
        ..AllocationResult::default()
    };
    let shared = AllocationResult {
        share_id: Some("share".to_owned()),
        admin_access: true,
        ..result("gpu-1", "any/small")
    };
    PodClaim {
        pod_claim_name: entry.to_owned(),
        name: name.to_owned(),
        uid: format!("{name}-uid"),
        reserved_for: vec!["p-uid".to_owned()],
        results: vec![result("gpu-0", "gpu"), shared],
    }
}

fn uses(claim: &str, request: Option<&str>) -> ContainerClaim {
    ContainerClaim { claim: claim.to_owned(), request: request.map(str::to_owned) }
}

#[tokio::test]
async fn claims_by_name_by_template_and_of_extended_resources_are_found() {
    let spec = json!({
        "resourceClaims": [
            {"name": "named", "resourceClaimName": "shared"},
            {"name": "made", "resourceClaimTemplateName": "template"},
            {"name": "needless", "resourceClaimTemplateName": "template"}
        ],
        "initContainers": [{"name": "before", "resources": {"claims": [{"name": "named"}]}}],
        "containers": [
            {"name": "main", "resources": {"claims": [{"name": "made", "request": "gpu"}, {"name": "named"}]}},
            {"name": "aside"}
        ]
    });
    let status = json!({
        "resourceClaimStatuses": [
            {"name": "made", "resourceClaimName": "p-made-x7"},
            {"name": "needless"}
        ],
        "extendedResourceClaimStatus": {"resourceClaimName": "p-extended", "requestMappings": [
            {"containerName": "aside", "resourceName": "example.com/gpu", "requestName": "container-1-request-0"}
        ]}
    });
    let claims =
        vec![a_claim("shared", "other"), a_claim("p-made-x7", "p-uid"), a_claim("p-extended", "p-uid")];
    let pod = read_pod(&client(a_pod(spec, status), claims), "ns", "p").await.unwrap();
    let container = |name: &str, init, claims| Container { name: name.to_owned(), init, claims };
    let expected = Pod {
        namespace: "ns".to_owned(),
        name: "p".to_owned(),
        uid: "p-uid".to_owned(),
        claims: vec![
            expected_claim("named", "shared"),
            expected_claim("made", "p-made-x7"),
            expected_claim("", "p-extended"),
        ],
        containers: vec![
            container("before", true, vec![uses("named", None)]),
            container("main", false, vec![uses("made", Some("gpu")), uses("named", None)]),
            container("aside", false, vec![uses("", Some("container-1-request-0"))]),
        ],
    };
    assert_eq!(pod, expected);
}

#[tokio::test]
async fn failures_have_the_kubelets_words() {
    let spec = |claim| json!({"containers": [], "resourceClaims": [claim]});
    let by_name = || spec(json!({"name": "c", "resourceClaimName": "shared"}));
    let by_template = || spec(json!({"name": "c", "resourceClaimTemplateName": "template"}));
    let made = json!({"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "p-c-x7"}]});
    let cases = [
        (
            "no claim",
            by_name(),
            json!({}),
            "fetch ResourceClaim shared: /apis/resource.k8s.io/v1/namespaces/ns/resourceclaims/shared not found",
        ),
        ("not made yet", by_template(), json!({}), r#"pod "ns/p": ResourceClaim not created yet"#),
        (
            "made for another pod",
            by_template(),
            made,
            "ResourceClaim ns/p-c-x7 was not created for Pod ns/p (Pod is not owner)",
        ),
    ];
    for (name, spec, status, expected) in cases {
        let client = client(a_pod(spec, status), vec![a_claim("p-c-x7", "another")]);
        let error = read_pod(&client, "ns", "p").await.unwrap_err();
        assert_eq!(error.to_string(), expected, "{name}");
    }
    let error = read_pod(&client(json!({}), vec![]), "ns", "q").await.unwrap_err().to_string();
    assert!(error.starts_with("get pod ns/q: "), "{error}");
}
