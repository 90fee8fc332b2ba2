//! What every later test relies on: pods run in the test cluster, reach the API server, and get from a DRA plugin
//! the devices that were allocated to them and no others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::path::Path;

use e2e::api::{Space, delete, gone, make, make_global, unique, wait};
use e2e::cluster::Cluster;
use e2e::plugin::{Plugin, Settings};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

#[tokio::test]
async fn a_pod_on_the_hosts_network_runs_and_its_log_is_read() {
    let space = Space::create(Cluster::current().client().await, "host-network", json!({})).await;
    space.pod("greeter", "echo hello from $(hostname)", json!({"hostNetwork": true})).await;
    assert_eq!(space.ended("greeter").await, "Succeeded");
    assert!(space.log("greeter", "main").await.starts_with("hello from "));
    space.remove().await;
}

#[tokio::test]
async fn a_pod_with_its_own_network_reaches_the_api_server() {
    let space = Space::create(Cluster::current().client().await, "own-network", json!({})).await;
    space.pod("caller", "nc -w 10 10.96.0.1 443 </dev/null && ip -o addr show eth0", json!({})).await;
    assert_eq!(space.ended("caller").await, "Succeeded", "{}", space.log("caller", "main").await);
    let log = space.log("caller", "main").await;
    assert!(log.contains("inet "), "the pod has an address of its own: {log}");
    space.remove().await;
}

/// The pod writes to the device that it got (a second name of /dev/null), opens the one whose number no kernel
/// driver serves, tries to make its way to a number that it did not get, and says what it sees.
const LOOK_AT_DEVICES: &str = r#"
env | grep ^GOT_
echo data > /dev/recorded1 && echo wrote to /dev/recorded1
cat /dev/silent1
mknod /tmp/forbidden c 195 0 && cat /tmp/forbidden
ls /dev | grep -e recorded -e silent
"#;

#[tokio::test]
async fn a_pod_gets_the_device_that_was_allocated_and_no_other() {
    let cluster = Cluster::current();
    let client = cluster.client().await;
    let space = Space::create(client.clone(), "template", json!({})).await;
    let driver = format!("{}.example.com", unique("template"));

    let mut settings = Settings::new(
        &driver,
        Path::new("/var/lib/kubelet/plugins_registry"),
        Path::new("/var/lib/kubelet/plugins"),
        Path::new("/var/run/cdi"),
    );
    settings.rules = vec![json!({"method": "NodePrepareResources", "devices": [{
        "requests": ["one"], "pool": cluster.node, "device": "device-1",
        "cdi": [format!("{driver}/device=device-1")],
        "nodes": [
            {"path": "/dev/recorded1", "hostPath": "/dev/null"},
            {"path": "/dev/silent1", "type": "c", "major": 195, "minor": 1},
        ],
    }]})];
    let plugin = Plugin::start(settings).await;
    plugin.registered(1).await;

    let device =
        |index: i64| json!({"name": format!("device-{index}"), "attributes": {"index": {"int": index}}});
    make_global::<ResourceSlice>(
        &client,
        json!({"metadata": {"name": driver}, "spec": {
            "driver": driver, "nodeName": cluster.node,
            "pool": {"name": cluster.node, "generation": 1, "resourceSliceCount": 1},
            "devices": [device(0), device(1)],
        }}),
    )
    .await;
    make_global::<DeviceClass>(
        &client,
        json!({"metadata": {"name": driver}, "spec": {"selectors": [
            {"cel": {"expression": format!("device.driver == {driver:?}")}},
        ]}}),
    )
    .await;
    make::<ResourceClaimTemplate>(
        &space.api(),
        json!({"metadata": {"name": "second"}, "spec": {"spec": {"devices": {"requests": [{
            "name": "one", "exactly": {"deviceClassName": driver, "selectors": [
                {"cel": {"expression": format!("device.attributes[{driver:?}].index == 1")}},
            ]},
        }]}}}}),
    )
    .await;

    let mut spec = json!({"resourceClaims": [{"name": "device", "resourceClaimTemplateName": "second"}]});
    spec["containers"] = json!([{
        "name": "main", "image": e2e::api::IMAGE, "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", format!("{{ {LOOK_AT_DEVICES} }} 2>&1; sleep 600")],
        "resources": {"claims": [{"name": "device"}]},
    }]);
    space.pod("user", "", spec).await;
    wait(&space.api::<Pod>(), "user", "run", |pod: Option<&Pod>| e2e::api::phase(pod) == Some("Running"))
        .await;
    let claims: Api<ResourceClaim> = space.api();
    let claim = claims.list(&ListParams::default()).await.unwrap().items.remove(0);
    let (claim_name, claim_uid) = (claim.metadata.name.clone().unwrap(), e2e::api::uid(&claim));
    let log =
        e2e::api::log_until(&space, "user", "main", "the last line", |log| log.contains("\nsilent1")).await;
    assert_eq!(
        log.lines().collect::<Vec<_>>(),
        [
            &format!("GOT_device_1={driver}/device=device-1"),
            "wrote to /dev/recorded1",
            "cat: can't open '/dev/silent1': No such device or address",
            "cat: can't open '/tmp/forbidden': Operation not permitted",
            "recorded1",
            "silent1",
        ]
    );

    space.delete::<Pod>("user").await;
    gone(&claims, &claim_name, &claim_uid).await;
    let calls = plugin.stop().await;
    let nodes: Vec<(&str, &Value)> = calls
        .iter()
        .filter(|c| c.method.starts_with("/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/"))
        .map(|c| (c.short(), &c.request["claims"]))
        .collect();
    let expected = json!([{"namespace": space.name, "uid": claim_uid, "name": claim_name}]);
    assert_eq!(nodes, [("NodePrepareResources", &expected), ("NodeUnprepareResources", &expected)]);

    delete::<ResourceSlice>(&Api::all(client.clone()), &driver).await;
    delete::<DeviceClass>(&Api::all(client), &driver).await;
    space.remove().await;
}
