//! Manifests in the documentation are manifests that the API server takes, and pods in the guides get their GPUs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeMap;

use docs::{Block, Page, pages};
use e2e::api::Space;
use e2e::cluster::Cluster;
use e2e::gpu::{Gpus, kubectl, kubelet};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde_json::json;

/// The namespace in the documentation.
const NAMESPACE: &str = "ml-workloads";

/// The blocks of a page that are manifests. What has a mark after `yaml` is something else, and tested in `tests/docs`.
fn manifests(page: &Page) -> Vec<Block> {
    let is_manifest = |block: &Block| block.language == "yaml" && block.marks.is_empty();
    page.blocks().into_iter().filter(is_manifest).collect()
}

/// A claim with selectors that stand alone in the documentation.
fn claim(selectors: &str) -> String {
    let head = "\
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata:
  name: selectors
spec:
  devices:
    requests:
    - name: gpu
      exactly:
        deviceClassName: gpu-compute-class
";
    let indented: Vec<String> = selectors.lines().map(|line| format!("        {line}")).collect();
    format!("{head}{}\n", indented.join("\n"))
}

#[tokio::test]
async fn the_api_server_takes_every_manifest() {
    let client = Cluster::current().client().await;
    let space = Space::create(client, "documentation", json!({})).await;
    let dry = ["apply", "--server-side", "--dry-run=server", "--force-conflicts"];
    let dry = [&dry[..], &["--namespace", &space.name, "--filename", "-"]].concat();
    let mut taken = 0;
    for page in pages().unwrap() {
        for block in manifests(&page) {
            // What is wrong is said by kubectl; where, by this.
            println!("{}:{}", page.path, block.line);
            let text = block.text.replace(NAMESPACE, &space.name);
            let text = if text.starts_with("selectors:") { claim(&text) } else { text };
            kubectl(&dry, &text).await;
            taken += 1;
        }
    }
    assert!(taken >= 5, "only {taken} manifests were found");
    space.remove().await;
}

#[tokio::test]
async fn pods_with_claims_in_the_guides_get_a_gpu() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::with("h100-nvl-2", "guides").await;
    for (page, pod) in
        [("quickstart.md", "look"), ("eks-hybrid-nodes.md", "look"), ("from-device-plugin.md", "by-claim")]
    {
        let page = docs::page(&format!("docs/{page}")).unwrap();
        let blocks = manifests(&page);
        let with_pod = |block: &&Block| block.text.contains(&format!("\n  name: {pod}\n"));
        let block = blocks.iter().find(with_pod).unwrap_or_else(|| panic!("{}: no pod {pod}", page.path));
        // The node of the cluster has no such label.
        gpus.apply(&block.text.replace("  nodeSelector:\n    node-type: hybrid\n", "")).await;
        assert_eq!(gpus.space.ended(pod).await, "Succeeded", "{}", page.path);
        let log = gpus.space.log(pod, &container(&gpus, pod).await).await;
        let listed = log.lines().filter(|line| line.starts_with("GPU ")).count();
        assert_eq!(listed, 1, "{}: {log}", page.path);
        gpus.space.delete::<Pod>(pod).await;
    }
    gpus.finish().await;
}

/// Feature gates of the running API server, with whether each is on, as its metrics have them. Nobody has set any: the
/// cluster has upstream's defaults.
async fn gates(client: &Client) -> BTreeMap<String, bool> {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = client.request_text(request).await.unwrap();
    let gates = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("kubernetes_feature_enabled{name=\"")?;
        let (name, rest) = rest.split_once('"')?;
        let value = rest.rsplit(' ').next()?;
        Some((name.to_owned(), value == "1"))
    });
    gates.collect()
}

#[tokio::test]
async fn the_features_of_this_release_are_those_of_the_table() {
    let client = Cluster::current().client().await;
    let version = client.apiserver_version().await.unwrap();
    let release = format!("{}.{}", version.major, version.minor);
    let gates = gates(&client).await;
    assert!(gates.len() > 50, "the API server names only {} gates", gates.len());
    let page = docs::page("docs/kubernetes-versions.md").unwrap();
    let table = page.tables().into_iter().find(|table| table.head.iter().any(|cell| cell.text == release));
    let table = table.unwrap_or_else(|| panic!("the page has no column for {release}"));
    let column = table.head.iter().position(|cell| cell.text == release).unwrap();
    let mut compared = 0;
    for row in &table.rows {
        let told = !row[column].text.starts_with("no");
        for gate in &row.last().unwrap().code {
            let is = gates.get(gate).copied().unwrap_or_default();
            assert_eq!(told, is, "line {}: {gate} in {release}", row[column].line);
            compared += 1;
        }
    }
    assert!(compared > 5, "only {compared} gates were compared");
}

/// The name of a pod's container.
async fn container(gpus: &Gpus, pod: &str) -> String {
    let pod = gpus.space.api::<Pod>().get(pod).await.unwrap();
    pod.spec.unwrap().containers.swap_remove(0).name
}
