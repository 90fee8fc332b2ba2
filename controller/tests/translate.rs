//! Old manifests become v1: the guide's, byte for byte, and tables of others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::time::Duration;

use dra_controller::allocate;
use dra_controller::cel::{Cache, Environment};
use dra_controller::translate::{Converted, convert};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const DRIVER: &str = "eks-hybrid-dra";
const GUIDE: &str = include_str!("data/guide-manifests.yaml");
const DEVICE_PLUGIN_PODS: &str = include_str!("data/guide-device-plugin-pods.yaml");

fn converted(text: &str) -> Converted {
    convert(text, DRIVER).unwrap_or_else(|errors| panic!("{errors:#?} of\n{text}"))
}

fn warnings(converted: &Converted) -> Vec<String> {
    converted.warnings.iter().map(ToString::to_string).collect()
}

fn errors(text: &str) -> Vec<String> {
    convert(text, DRIVER).expect_err(text).iter().map(ToString::to_string).collect()
}

/// Reads an object as a type of v1, of which it has no other fields.
fn strictly<T: DeserializeOwned + Serialize>(value: &Value) {
    let read: T = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), *value, "fields that v1 lacks");
}

/// Reads every document as the API server of today would.
fn all_strictly(converted: &Converted) {
    for value in converted.values() {
        match (value["apiVersion"].as_str().unwrap(), value["kind"].as_str().unwrap()) {
            ("resource.k8s.io/v1", "DeviceClass") => strictly::<DeviceClass>(value),
            ("resource.k8s.io/v1", "ResourceClaim") => strictly::<ResourceClaim>(value),
            ("resource.k8s.io/v1", "ResourceClaimTemplate") => strictly::<ResourceClaimTemplate>(value),
            ("batch/v1", "Job") => strictly::<Job>(value),
            ("v1", "ConfigMap") => strictly::<ConfigMap>(value),
            other => panic!("{other:?} was not expected"),
        }
    }
}

/// A node with the GPU of docs/reference/attributes.md, as the plugin publishes it.
fn slice(memory: &str, cuda: &str) -> Value {
    json!({
        "metadata": {"name": "node-a-gpu"},
        "spec": {
            "driver": DRIVER,
            "nodeName": "node-a",
            "pool": {"name": "node-a/gpu", "generation": 1, "resourceSliceCount": 1},
            "devices": [{
                "name": "gpu-0000-1b-00-0",
                "attributes": {
                    "type": {"string": "gpu"},
                    "uuid": {"string": "GPU-9f3c1c5e-7d0b-4a57-8f1e-2b6c0a9d4e13"},
                    "productName": {"string": "NVIDIA H100 80GB HBM3"},
                    "driverVersion": {"version": "570.170.1"},
                    "cudaDriverVersion": {"version": cuda},
                },
                "capacity": {"memory": {"value": memory}, "multiprocessors": {"value": "132"}},
            }],
        },
    })
}

/// What the allocator gives the claim of a template on the node.
fn allocated(class: &Value, template: &Value, slice: &Value) -> Value {
    let case = json!({
        "classes": [class],
        "slices": [slice],
        "claims": [{"metadata": {"name": "claim", "namespace": "ml-workloads", "uid": "1"}, "spec": template["spec"]["spec"]}],
        "node": {"metadata": {"name": "node-a"}},
    });
    let reply = allocate::answer(case.to_string().as_bytes(), &Cache::default(), Duration::from_secs(10));
    serde_json::to_value(reply).unwrap()
}

#[test]
fn the_manifests_of_the_guide_become_v1() {
    let converted = converted(GUIDE);
    insta::assert_snapshot!("guide", converted.yaml().unwrap());
    insta::assert_snapshot!("guide_warnings", warnings(&converted).join("\n") + "\n");
    all_strictly(&converted);
    // What is printed says the same.
    let again = convert(&converted.yaml().unwrap(), DRIVER).unwrap();
    assert_eq!(again.values().collect::<Vec<_>>(), converted.values().collect::<Vec<_>>());
}

#[test]
fn the_claim_of_the_guide_gets_a_gpu_that_is_enough_and_no_other() {
    let converted = converted(GUIDE);
    let documents: Vec<&Value> = converted.values().collect();
    let named = |kind: &str, name: &str| {
        documents
            .iter()
            .find(|document| document["kind"] == kind && document["metadata"]["name"] == name)
            .unwrap()
    };
    let class = named("DeviceClass", "gpu-compute-class");
    let template = named("ResourceClaimTemplate", "ml-training-claim");
    let expressions: Vec<&str> = [
        &class["spec"]["selectors"],
        &template["spec"]["spec"]["devices"]["requests"][0]["exactly"]["selectors"],
    ]
    .into_iter()
    .flat_map(|selectors| selectors.as_array().unwrap())
    .map(|selector| selector["cel"]["expression"].as_str().unwrap())
    .collect();
    assert_eq!(expressions.len(), 3, "{expressions:?}");
    for expression in expressions {
        Environment::default().compile(expression).unwrap();
    }
    // Memory, the newest CUDA of its driver, whether it fits.
    let cases = [
        ("81559Mi", "12.8.0", true),
        ("81559Mi", "12.2.0", true),
        ("16Gi", "12.10.0", true),
        ("16383Mi", "12.8.0", false),
        ("81559Mi", "12.1.0", false),
        ("81559Mi", "11.8.0", false),
    ];
    for (memory, cuda, fits) in cases {
        let answer = allocated(class, template, &slice(memory, cuda));
        assert_eq!(answer.get("results").is_some(), fits, "{memory}, CUDA {cuda}: {answer:#}");
        assert_eq!(answer.get("noFit").is_some(), !fits, "{memory}, CUDA {cuda}: {answer:#}");
    }
    // The class for CPUs selects nothing, and no error.
    let cpu = named("DeviceClass", "cpu-compute-class");
    let mut asks = (*template).clone();
    asks["spec"]["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] = "cpu-compute-class".into();
    let answer = allocated(cpu, &asks, &slice("81559Mi", "12.8.0"));
    assert!(answer.get("noFit").is_some(), "{answer:#}");
}

#[test]
fn what_needs_no_change_keeps_its_text() {
    let converted = converted(DEVICE_PLUGIN_PODS);
    let printed = converted.yaml().unwrap();
    assert_eq!(printed.strip_prefix("---\n").unwrap(), DEVICE_PLUGIN_PODS);
    assert_eq!(warnings(&converted), Vec::<String>::new());
}
