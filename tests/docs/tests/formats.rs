//! Blocks that no API server and no helm reads: configuration of nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeMap;

use docs::pages;
use serde::Deserialize;
use serde_json::Value;

/// `NodeConfig` of `nodeadm`, as far as the documentation uses it
/// (`api/v1alpha1/nodeconfig_types.go` of <https://github.com/aws/eks-hybrid>, August 2026).
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NodeConfig {
    api_version: String,
    kind: String,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    cluster: BTreeMap<String, String>,
    #[serde(default)]
    hybrid: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    kubelet: Kubelet,
    #[serde(default)]
    containerd: Containerd,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kubelet {
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Containerd {
    #[serde(default)]
    config: String,
}

/// A piece of an endpoint of a ServiceMonitor, with the fields that the documentation uses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Endpoint {
    metric_relabelings: Vec<Relabeling>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Relabeling {
    source_labels: Vec<String>,
    target_label: String,
}

fn known<T>(map: &BTreeMap<String, T>, names: &[&str]) {
    let unknown: Vec<&String> = map.keys().filter(|name| !names.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "nodeadm knows no {unknown:?}");
}

#[test]
fn every_block_of_yaml_is_of_a_kind_that_some_test_reads() {
    let (mut node_configs, mut containerd) = (0, 0);
    for page in pages().unwrap() {
        for block in page.blocks().into_iter().filter(|block| block.language == "yaml") {
            let place = format!("{}:{}", page.path, block.line);
            println!("{place}");
            let marks: Vec<&str> = block.marks.iter().map(String::as_str).collect();
            match marks[..] {
                // Read by helm, and by tests/e2e/tests/documentation.rs.
                ["values"] | [] => {}
                ["nodeadm"] => {
                    node_configs += 1;
                    let config: NodeConfig = serde_saphyr::from_str(&block.text).unwrap();
                    let is = (config.api_version.as_str(), config.kind.as_str());
                    assert_eq!(is, ("node.eks.aws/v1alpha1", "NodeConfig"));
                    known(&config.spec.cluster, &["name", "region"]);
                    known(&config.spec.hybrid, &["ssm"]);
                    known(
                        config.spec.hybrid.get("ssm").unwrap_or(&BTreeMap::new()),
                        &["activationCode", "activationId"],
                    );
                    assert!(config.spec.kubelet.flags.iter().all(|flag| flag.starts_with("--")));
                    containerd += usize::from(!config.spec.containerd.config.is_empty());
                    whole_section(&config.spec.containerd.config);
                }
                ["servicemonitor"] => {
                    let endpoint: Endpoint = serde_saphyr::from_str(&block.text).unwrap();
                    let complete =
                        |one: &Relabeling| !one.source_labels.is_empty() && !one.target_label.is_empty();
                    assert!(endpoint.metric_relabelings.iter().all(complete));
                }
                _ => panic!("{place}: no test reads {marks:?}"),
            }
        }
        for block in page.blocks().into_iter().filter(|block| block.language == "toml") {
            let parsed: Result<Value, _> = toml::from_str(&block.text);
            parsed.unwrap_or_else(|error| panic!("{}:{}: {error}", page.path, block.line));
        }
    }
    assert!(node_configs > 0 && containerd > 0);
}

/// containerd 1.7 replaces the CRI plugin's section by that of an imported file, so such a file has to say all that
/// `nodeadm`'s own has (`internal/containerd/config.template.toml` of <https://github.com/aws/eks-hybrid>, August 2026).
fn whole_section(config: &str) {
    if config.is_empty() {
        return;
    }
    let config: Value = toml::from_str(config).unwrap();
    let section = &config["plugins"]["io.containerd.grpc.v1.cri"];
    for (place, expected) in [
        ("/enable_cdi", Value::Bool(true)),
        ("/containerd/default_runtime_name", "runc".into()),
        ("/containerd/discard_unpacked_layers", true.into()),
        ("/containerd/runtimes/runc/runtime_type", "io.containerd.runc.v2".into()),
        ("/containerd/runtimes/runc/options/SystemdCgroup", true.into()),
        ("/registry/config_path", "/etc/containerd/certs.d:/etc/docker/certs.d".into()),
        ("/cni/bin_dir", "/opt/cni/bin".into()),
        ("/cni/conf_dir", "/etc/cni/net.d".into()),
    ] {
        assert_eq!(section.pointer(place), Some(&expected), "{place}");
    }
    assert!(section["sandbox_image"].as_str().is_some_and(|image| image.contains("/eks/pause:")));
}
