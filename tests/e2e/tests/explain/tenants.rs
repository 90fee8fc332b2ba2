//! Tenants do not read each other: what is written into a namespace names nothing of another one.

use e2e::api::{Space, make, make_global};
use e2e::gpu::program;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::scene::{Scene, request};

#[tokio::test]
async fn two_tenants_never_see_each_others_names() {
    let scene = Scene::new("tenants").await;
    let node = scene.node("tenants").await;
    let class = scene.class("tenants", None).await;
    let device = |name: &str| scene.device(name, "tenants", json!({}));
    scene.slice("gpus", &node, json!({"devices": [device("gpu-0"), device("gpu-1")]})).await;

    // The other tenant has both devices.
    let other = Space::create(scene.space.client.clone(), "competitor", json!({})).await;
    let claim = json!({
        "metadata": {"name": "merger-model"},
        "spec": {"devices": {"requests": [request(&class, json!({"count": 2}))]}},
    });
    make::<ResourceClaim>(&other.api(), claim).await;
    let holder = json!({
        "tolerations": [{"operator": "Exists"}],
        "resourceClaims": [{"name": "gpus", "resourceClaimName": "merger-model"}],
    });
    other.pod("merger-training", "true", holder).await;
    let allocated = |claim: Option<&ResourceClaim>| {
        claim.and_then(|claim| claim.status.as_ref()?.allocation.as_ref()).is_some()
    };
    e2e::api::wait(&other.api::<ResourceClaim>(), "merger-model", "be allocated", allocated).await;

    scene.wants("ours", &class, json!({})).await;
    let told = scene.blocked("ours", &class, "in_use").await;
    let secrets = [other.name.as_str(), "merger-model", "merger-training"];
    let hides = |what: &str, text: &str| {
        for secret in secrets {
            assert!(!text.contains(secret), "{what} names {secret}: {text}");
        }
    };
    hides("the Event", &told);
    hides("the log", &scene.controller.log());

    // Whoever may see all claims is told whose they are; the tenant itself is not.
    let full = scene.explain(&["claim", "ours"]).await.to_string();
    assert!(full.contains("merger-model"), "{full}");
    let kubeconfig = tenant(&scene).await;
    let mut command = Command::new(program().with_file_name("kubectl-dra"));
    command.args(["explain", "claim", "ours", "--namespace", &scene.space.name]);
    command.args(["--driver-name", &scene.driver]).env("KUBECONFIG", kubeconfig.path());
    let output = timeout(e2e::api::GUARD, command.output()).await.expect("kubectl-dra ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    hides("kubectl-dra", &said);
    assert!(said.contains("in use"), "{said}");

    let roles: Api<ClusterRole> = Api::all(scene.space.client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(scene.space.client.clone());
    roles.delete(&scene.space.name, &DeleteParams::default()).await.unwrap();
    bindings.delete(&scene.space.name, &DeleteParams::default()).await.unwrap();
    let pods: Api<Pod> = other.api();
    pods.delete("merger-training", &DeleteParams::default().grace_period(0)).await.unwrap();
    other.remove().await;
    scene.remove().await;
}

/// A kubeconfig of a user who may read all of its own namespace, and slices, classes and nodes of the cluster.
async fn tenant(scene: &Scene) -> tempfile::NamedTempFile {
    let (space, client) = (&scene.space, &scene.space.client);
    let reads = |groups: &[&str], resources: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": ["get", "list"]});
    let subject = json!([{"kind": "ServiceAccount", "name": "tenant", "namespace": space.name}]);
    let bound = |kind: &str| {
        json!({
            "metadata": {"name": space.name}, "subjects": subject,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": space.name},
        })
    };
    make::<ServiceAccount>(&space.api(), json!({"metadata": {"name": "tenant"}})).await;
    let own = [
        reads(&["resource.k8s.io"], &["resourceclaims"]),
        reads(&["", "events.k8s.io"], &["pods", "events"]),
    ];
    make::<Role>(&space.api(), json!({"metadata": {"name": space.name}, "rules": own})).await;
    make::<RoleBinding>(&space.api(), bound("Role")).await;
    let all = [reads(&["resource.k8s.io"], &["resourceslices", "deviceclasses"]), reads(&[""], &["nodes"])];
    make_global::<ClusterRole>(client, json!({"metadata": {"name": space.name}, "rules": all})).await;
    make_global::<ClusterRoleBinding>(client, bound("ClusterRole")).await;

    let secret = json!({
        "metadata": {"name": "tenant", "annotations": {"kubernetes.io/service-account.name": "tenant"}},
        "type": "kubernetes.io/service-account-token",
    });
    let secrets: Api<Secret> = space.api();
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let filled = |secret: Option<&Secret>| {
        secret.and_then(|secret| secret.data.as_ref()).is_some_and(|data| data.contains_key("token"))
    };
    let secret = e2e::api::wait(&secrets, "tenant", "be filled", filled).await.unwrap();
    let token = String::from_utf8(secret.data.unwrap()["token"].0.clone()).unwrap();

    // The tests' own cluster, with this user.
    let own = std::env::var_os("KUBECONFIG").expect("the cluster's kubeconfig");
    let own: serde_json::Value = serde_saphyr::from_str(&fs_err::read_to_string(own).unwrap()).unwrap();
    let cluster = &own["clusters"][0];
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tenant",
        "clusters": [cluster],
        "contexts": [{"name": "tenant", "context": {"cluster": cluster["name"], "user": "tenant"}}],
        "users": [{"name": "tenant", "user": {"token": token}}],
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), config.to_string()).unwrap();
    file
}
