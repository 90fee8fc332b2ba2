//! The driver is removed from a cluster: refused while pods use it, and then without a trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use e2e::api::{GUARD, Space, gone, make, uid};
use e2e::gpu::{Gpus, kubelet, program};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

/// The DaemonSet's name.
const SET: &str = "plugin";

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_goes_when_no_pod_uses_it_and_takes_everything_along() {
    let _kubelet = kubelet().await;
    let mut gpus = Gpus::new("uninstall").await;
    let set = daemon_set(&gpus.space).await;
    let named = format!("DAEMON_SET={}/{SET}", gpus.space.name);
    gpus.stop().await;
    gpus.start_under(&["env".into(), named.into()]).await;
    gpus.claim("held", json!({"requests": [gpus.request("gpu")]})).await;
    let pod = gpus.pod("holder", "held").await;
    gpus.runs("holder").await;

    let refused = uninstall(&gpus, &[]).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let name = gpus.space.name.clone();
    assert!(said.contains(&format!("claim {name}/held of pod holder")), "{said}");
    assert!(said.contains("uninstall.force=true"), "{said}");
    gpus.space.api::<DaemonSet>().get(SET).await.expect("nothing was removed");

    // One that comes back leaves all as it is.
    gpus.stop().await;
    let traces = traces(&gpus);
    assert!(traces.iter().all(|path| path.exists()), "{traces:?}\n{}", gpus.log());
    assert_eq!(gpus.slices().await.len(), 1);
    let named = format!("DAEMON_SET={name}/{SET}");
    gpus.start_under(&["env".into(), named.into()]).await;

    let classes = format!("--device-classes={},gpu-compute-class.{}", gpus.class, gpus.driver);
    let forced = uninstall(&gpus, &["--force", &classes]).await;
    assert!(forced.status.success(), "{}", String::from_utf8_lossy(&forced.stderr));
    gone(&gpus.space.api::<DaemonSet>(), SET, &uid(&set)).await;
    gone(&gpus.space.api::<Pod>(), "holder", &uid(&pod)).await;
    gpus.stop().await;
    assert!(traces.iter().all(|path| !path.exists()), "{traces:?}\n{}", gpus.log());
    assert_eq!(gpus.slices().await, []);
    let Gpus { space, .. } = gpus;
    space.remove().await;
}

/// What the plugin has on the node.
fn traces(gpus: &Gpus) -> [PathBuf; 3] {
    let driver = &gpus.driver;
    [
        Path::new("/run").join(driver),
        Path::new("/var/lib/kubelet/plugins").join(driver),
        Path::new("/var/run/cdi").join(format!("{driver}-driver.json")),
    ]
}

/// A DaemonSet that stands for the one which would run the plugin, and the plugin's right to look at it.
async fn daemon_set(space: &Space) -> DaemonSet {
    let role = json!({
        "metadata": {"name": SET},
        "rules": [{"apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": [SET], "verbs": ["get"]}],
    });
    let binding = json!({
        "metadata": {"name": SET},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": SET},
        "subjects": [{"kind": "ServiceAccount", "name": "dra-kubelet-plugin", "namespace": "dra-driver"}],
    });
    make(&space.api::<Role>(), role).await;
    make(&space.api::<RoleBinding>(), binding).await;
    let set = json!({
        "metadata": {"name": SET},
        "spec": {
            "selector": {"matchLabels": {"app": SET}},
            "template": {
                "metadata": {"labels": {"app": SET}},
                "spec": {
                    "nodeSelector": {"none-has-this-label": "true"},
                    "containers": [{"name": "main", "image": "registry.local/test:1"}],
                },
            },
        },
    });
    make(&space.api::<DaemonSet>(), set).await
}

async fn uninstall(gpus: &Gpus, more: &[&str]) -> Output {
    let mut command = Command::new(program().with_file_name("dra-controller"));
    command
        .args(["uninstall", "--driver-name", &gpus.driver, "--timeout=30s"])
        .arg(format!("--daemon-set={}/{SET}", gpus.space.name))
        .args(more)
        .stdin(Stdio::null());
    timeout(GUARD, command.output()).await.expect("it ends").expect("start dra-controller")
}
