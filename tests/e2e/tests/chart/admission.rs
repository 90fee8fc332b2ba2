//! A node's plugin writes ResourceSlices of its own node alone, whatever its token is used for.

use e2e::api::{Space, delete, make_global, uid, unique};
use e2e::gpu::kubelet;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::release::Release;

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// One of the plugin's on the cluster's node.
    Own,
    /// One of the plugin's on another node.
    OfAnother,
    /// One that is bound to no node.
    OfNone,
}

/// What is done with it.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create(fn(node: &str, driver: &str) -> Value),
    Update(fn(slice: &mut ResourceSlice)),
    Delete,
}

fn slice(of: Value, driver: &str, pool: &str) -> Value {
    let mut spec = json!({
        "driver": driver,
        "pool": {"name": pool, "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "gpu"}],
    });
    e2e::api::merge(&mut spec, of);
    json!({"metadata": {"generateName": "admission-"}, "spec": spec})
}

#[tokio::test]
async fn a_plugin_writes_slices_of_its_own_node_alone() {
    let _kubelet = kubelet().await;
    let release = Release::new("chart-admission", "admission.example.com").await;
    release.install(&["--create-namespace", "--set", "deviceClasses.alias.create=false"]).await;
    let other = unique("other");
    make_global::<Node>(&release.client, json!({"metadata": {"name": other}})).await;
    let plugins = [Token::Own, Token::OfAnother, Token::OfNone];
    let mut clients = Vec::new();
    for token in plugins {
        clients.push((token, client(&release, token, &other).await));
    }
    let published = loop {
        if let Some(slice) = release.slices().await.pop() {
            break slice;
        }
        tokio::task::yield_now().await;
    };

    let own = "may write ResourceSlices whose spec.nodeName is that node alone";
    let pools = "may write ResourceSlices of pools whose name begins with";
    let drivers = "may write ResourceSlices of the driver admission.example.com alone";
    let unbound = "the token is not bound to a pod on a node";
    let good: fn(&str, &str) -> Value =
        |node, driver| slice(json!({"nodeName": node}), driver, &format!("{node}/gpu-extra"));
    for (name, token, act, denied) in [
        ("its own slice", Token::Own, Act::Create(good), None),
        ("the slice of another node", Token::OfAnother, Act::Create(good), Some(own)),
        ("a slice by a token of no node", Token::OfNone, Act::Create(good), Some(unbound)),
        (
            "a slice for all nodes",
            Token::Own,
            Act::Create(|node, driver| slice(json!({"allNodes": true}), driver, &format!("{node}/x"))),
            Some(own),
        ),
        (
            "a slice for nodes by a selector",
            Token::Own,
            Act::Create(|node, driver| {
                let term = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
                let selector = json!({"nodeSelectorTerms": [term]});
                slice(json!({"nodeSelector": selector}), driver, &format!("{node}/x"))
            }),
            Some(own),
        ),
        (
            "a slice in a pool of another node",
            Token::Own,
            Act::Create(|node, driver| slice(json!({"nodeName": node}), driver, &format!("{node}0/gpu"))),
            Some(pools),
        ),
        (
            "a slice of another driver",
            Token::Own,
            Act::Create(|node, _| slice(json!({"nodeName": node}), "gpu.nvidia.com", &format!("{node}/gpu"))),
            Some(drivers),
        ),
        ("a change of its own slice", Token::Own, Act::Update(|slice| slice.spec.pool.generation += 1), None),
        (
            "a change of the slice of another node",
            Token::OfAnother,
            Act::Update(|slice| slice.spec.pool.generation += 1),
            Some(own),
        ),
        ("the deletion of its own slice", Token::Own, Act::Delete, None),
        ("the deletion of the slice of another node", Token::OfAnother, Act::Delete, Some(own)),
        ("a deletion by a token of no node", Token::OfNone, Act::Delete, Some(unbound)),
    ] {
        let client = clients.iter().find(|(one, _)| *one == token).unwrap().1.clone();
        let result = attempt(client, act, &release, &published).await;
        match (result, denied) {
            (Ok(()), None) => {}
            (Err(kube::Error::Api(status)), Some(reason)) => {
                assert_eq!(status.code, 403, "{name}: {status:?}");
                assert!(status.message.contains(reason), "{name}: {}", status.message);
            }
            (result, denied) => panic!("{name}: {result:?}, though it should end with {denied:?}"),
        }
    }

    delete(&Api::<Node>::all(release.client.clone()), &other).await;
    let objects = release.objects().await;
    release.uninstall().await.unwrap_or_else(|error| panic!("{error}"));
    release.nothing_is_left(&objects).await;
    Space { client: release.client.clone(), name: release.namespace.clone() }.remove().await;
}

/// Does it, but for keeping the outcome.
async fn attempt(client: Client, act: Act, release: &Release, published: &ResourceSlice) -> kube::Result<()> {
    let slices: Api<ResourceSlice> = Api::all(client);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let name = published.metadata.name.as_deref().unwrap();
    match act {
        Act::Create(make) => {
            let slice = serde_json::from_value(make(&release.node, &release.driver)).unwrap();
            slices.create(&dry, &slice).await.map(drop)
        }
        Act::Update(change) => {
            let mut slice = published.clone();
            change(&mut slice);
            slices.replace(name, &dry, &slice).await.map(drop)
        }
        Act::Delete => {
            slices.delete(name, &DeleteParams { dry_run: true, ..DeleteParams::default() }).await.map(drop)
        }
    }
}

/// A client with a token of the plugin's ServiceAccount.
async fn client(release: &Release, token: Token, other: &str) -> Client {
    let node = match token {
        Token::Own => Some(release.node.as_str()),
        Token::OfAnother => Some(other),
        Token::OfNone => None,
    };
    let mut request = json!({"spec": {"audiences": []}});
    if let Some(node) = node {
        let found = Api::<Node>::all(release.client.clone()).get(node).await.unwrap();
        request["spec"]["boundObjectRef"] =
            json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid(&found)});
    }
    let request: TokenRequest = serde_json::from_value(request).unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(release.client.clone(), &release.namespace);
    let made =
        accounts.create_token_request(&release.plugin(), &PostParams::default(), &request).await.unwrap();
    let secret = made.status.expect("a token was issued").token.expect("it has a text");
    let mut config = Kubeconfig::read().unwrap();
    for user in &mut config.auth_infos {
        let info = user.auth_info.as_mut().unwrap();
        info.client_certificate = None;
        info.client_key = None;
        info.token = Some(secret.clone().into());
    }
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    // It is one of a plugin's, not the administrator's.
    let slices: Api<ResourceSlice> = Api::all(client.clone());
    slices.list(&ListParams::default()).await.unwrap();
    assert!(Api::<Node>::all(client.clone()).list(&ListParams::default()).await.is_err());
    client
}
