//! What a GPU costs a pod, on the real kubelet: the time from its creation until its container has listed its GPUs, less
//! the same for a pod that has no claim.

use std::time::{Duration, Instant};

use e2e::gpu::{Gpus, IMAGE};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::node::Memory;

/// How many pairs of pods.
const PAIRS: usize = 20;
const GUARD: Duration = Duration::from_secs(120);

/// After this time without calls the plugin is idle.
const IDLE: Duration = Duration::from_secs(5);

/// What a plugin with eight GPUs takes when it is idle, and the differences of pairs of pods that came one after the
/// other.
pub(crate) async fn measure() -> (Memory, Vec<Duration>) {
    let gpus = Gpus::new("bench-pods").await;
    tokio::time::sleep(IDLE).await;
    let idle = Memory::of(gpus.pid());
    let requests = json!([gpus.request("gpu")]);
    let template =
        json!({"metadata": {"name": "one"}, "spec": {"spec": {"devices": {"requests": requests}}}});
    e2e::api::make::<ResourceClaimTemplate>(&gpus.space.api(), template).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen for containers");
    let mut differences = Vec::new();
    for pair in 0..PAIRS {
        let without = time(&gpus, &listener, &format!("without-{pair}"), false).await;
        let with = time(&gpus, &listener, &format!("with-{pair}"), true).await;
        // Noise can make a pair's second pod the faster one.
        differences.push(with.saturating_sub(without));
    }
    gpus.finish().await;
    (idle, differences)
}

/// The time from a pod's creation until its container reports.
async fn time(gpus: &Gpus, listener: &TcpListener, name: &str, claim: bool) -> Duration {
    let port = listener.local_addr().expect("the listener has an address").port();
    let look = if claim { "nvidia-smi -L" } else { "echo none" };
    let mut container = json!({
        "name": "main", "image": IMAGE, "command": ["sh", "-c", format!("{look} | nc 127.0.0.1 {port}")],
    });
    let mut claims = Value::Array(Vec::new());
    if claim {
        container["resources"] = json!({"claims": [{"name": "gpu"}]});
        claims = json!([{"name": "gpu", "resourceClaimTemplateName": "one"}]);
    }
    // On the node's network, so that no pod waits for another's address.
    let spec = json!({"hostNetwork": true, "resourceClaims": claims, "containers": [container]});
    let began = Instant::now();
    gpus.space.pod(name, "", spec).await;
    let mut said = String::new();
    let report = async {
        let (mut connection, _) = listener.accept().await.expect("accept a container's connection");
        connection.read_to_string(&mut said).await.expect("read what the container says");
        began.elapsed()
    };
    let took = timeout(GUARD, report).await.unwrap_or_else(|_| panic!("the pod {name} does not report"));
    assert_eq!(said.starts_with("GPU 0: "), claim, "{name}: {said}");
    gpus.space.delete::<Pod>(name).await;
    took
}
