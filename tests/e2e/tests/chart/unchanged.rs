//! Pods that were written for other drivers run as they are.

use e2e::api::{Space, delete, wait};
use e2e::gpu::{IMAGE, kubelet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::pods::{allocated, sees, uuids};
use crate::release::{Release, apply, run};

/// The pods of the user's guide that ask the device plugin for GPUs, byte for byte.
const GUIDE: &str = include_str!("guide-pods.yaml");
/// The labels by which they choose their node.
const LABELS: [(&str, &str); 2] = [("gpu", "h100"), ("node-type", "hybrid")];
/// The images that they name. The cluster's own image gets these names.
const IMAGES: [&str; 2] =
    ["docker.io/nvidia/cuda:12.3.0-base-ubuntu22.04", "docker.io/pytorch/pytorch:2.1-cuda12.1"];

#[tokio::test]
async fn pods_of_the_device_plugin_get_their_gpus() {
    let _kubelet = kubelet().await;
    let release = Release::new("chart-extended", "extended.example.com").await;
    let space = Space::create(release.client.clone(), "extended", json!({})).await;
    for image in IMAGES {
        let tag = ["--namespace", "k8s.io", "images", "tag", "--force", IMAGE, image];
        run("ctr", &tag, "").await.unwrap_or_else(|error| panic!("{error}"));
    }
    label(&release, |value| json!(value)).await;
    let resource = "deviceClasses.gpu.extendedResourceName=nvidia.com/gpu";
    let alias = "deviceClasses.alias.create=false";
    let notes = release.install(&["--create-namespace", "--set", alias, "--set", resource]).await;
    assert!(notes.contains("Pods that ask for nvidia.com/gpu get GPUs"), "{notes}");
    let (one, eight) = GUIDE.split_once("\n---\n").expect("the guide has two pods");

    apply(&space.name, one).await;
    assert_eq!(space.ended("gpu-test").await, "Succeeded");
    let log = space.log("gpu-test", "cuda").await;
    assert_eq!(log.matches("NVIDIA H100").count(), 1, "nvidia-smi should show one GPU:\n{log}");
    delete(&space.api::<Pod>(), "gpu-test").await;

    // Its image's own program is a shell, which ends at once, well.
    apply(&space.name, eight).await;
    wait(&space.api::<Pod>(), "gpu-training", "have run", |pod: Option<&Pod>| ended_well(pod)).await;
    let claims = allocated(&space).await;
    let [(_, devices)] = &claims[..] else { panic!("the pod should have one claim: {claims:?}") };
    assert_eq!(devices.len(), 8, "{devices:?}");
    delete(&space.api::<Pod>(), "gpu-training").await;

    label(&release, |_| Value::Null).await;
    for image in IMAGES {
        run("ctr", &["--namespace", "k8s.io", "images", "rm", image], "").await.unwrap();
    }
    let objects = release.objects().await;
    release.uninstall().await.unwrap_or_else(|error| panic!("{error}"));
    release.nothing_is_left(&objects).await;
    Space { client: release.client.clone(), name: release.namespace.clone() }.remove().await;
    space.remove().await;
}

/// Sets or removes the labels of the guide on the cluster's node.
async fn label(release: &Release, value: impl Fn(&str) -> Value) {
    let labels: serde_json::Map<String, Value> =
        LABELS.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
    let nodes: Api<Node> = Api::all(release.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    nodes.patch(&release.node, &PatchParams::default(), &patch).await.unwrap();
}

/// Whether the container has ended with status 0, be it that it was started again.
fn ended_well(pod: Option<&Pod>) -> bool {
    let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
    let states = statuses.into_iter().flatten().flat_map(|status| [&status.state, &status.last_state]);
    states.flatten().any(|state| state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0))
}

/// What users of NVIDIA's driver have: its class, its attributes, its configuration.
const NVIDIAS: &str = r#"
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata:
  name: two-h100
spec:
  spec:
    devices:
      requests:
      - name: gpus
        exactly:
          deviceClassName: gpu.nvidia.com
          count: 2
          selectors:
          - cel:
              expression: >-
                device.attributes['gpu.nvidia.com'].architecture == 'Hopper'
                && device.attributes['gpu.nvidia.com'].productName.lowerAscii().contains('h100')
                && device.attributes['gpu.nvidia.com'].cudaComputeCapability.compareTo(semver('9.0.0')) >= 0
                && device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('40Gi')) >= 0
      constraints:
      - requests: [gpus]
        matchAttribute: resource.kubernetes.io/numaNode
      config:
      - requests: [gpus]
        opaque:
          driver: gpu.nvidia.com
          parameters:
            apiVersion: resource.nvidia.com/v1beta1
            kind: GpuConfig
            sharing:
              strategy: TimeSlicing
              timeSlicingConfig: {interval: Default}
---
apiVersion: v1
kind: Pod
metadata:
  name: two-h100
spec:
  restartPolicy: Never
  resourceClaims:
  - name: gpus
    resourceClaimTemplateName: two-h100
  containers:
  - name: ctr
    image: registry.local/cuda:1
    imagePullPolicy: Never
    command: [sh, -c, "nvidia-smi -L; echo end"]
    resources:
      claims:
      - name: gpus
"#;

#[tokio::test]
async fn claims_for_nvidias_driver_get_their_gpus() {
    let _kubelet = kubelet().await;
    let release = Release::new("chart-drop-in", "gpu.nvidia.com").await;
    let space = Space::create(release.client.clone(), "drop-in", json!({})).await;
    release.install(&["--create-namespace", "--set", "deviceClasses.alias.create=false"]).await;

    apply(&space.name, NVIDIAS).await;
    assert_eq!(sees(&space, "two-h100", "ctr").await.len(), 2);
    assert_eq!(space.ended("two-h100").await, "Succeeded");
    assert_eq!(uuids(&space.log("two-h100", "ctr").await).len(), 2);

    delete(&space.api::<Pod>(), "two-h100").await;
    let objects = release.objects().await;
    release.uninstall().await.unwrap_or_else(|error| panic!("{error}"));
    release.nothing_is_left(&objects).await;
    Space { client: release.client.clone(), name: release.namespace.clone() }.remove().await;
    space.remove().await;
}
