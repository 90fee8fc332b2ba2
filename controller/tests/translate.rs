//! Old manifests become v1: the guide's, byte for byte, and tables of others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::time::Duration;

use dra_controller::allocate;
use dra_controller::cel::{Cache, Environment};
use dra_controller::translate::{Converted, convert};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate};
use proptest::prelude::*;
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

/// A ConfigMap and a claim template that names it.
fn with_data(data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: params, namespace: team}}\n{data}\n---\n\
         apiVersion: resource.k8s.io/v1alpha2\nkind: ResourceClaimTemplate\nmetadata: {{name: claim, namespace: team}}\n\
         spec: {{spec: {{resourceClassName: gpu-compute-class, parametersRef: {{name: params}}}}}}\n"
    )
}

#[test]
fn parameters_are_a_request_with_selectors() {
    let memory =
        |size: &str| format!("device.capacity['eks-hybrid-dra'].memory.compareTo(quantity('{size}')) >= 0");
    let cuda = |version: &str| {
        format!("device.attributes['eks-hybrid-dra'].cudaDriverVersion.compareTo(semver('{version}')) >= 0")
    };
    let cases = [
        ("data: {}", 1, vec![]),
        ("", 1, vec![]),
        ("data: {gpu-count: '8'}", 8, vec![]),
        ("data: {gpu-count: '32'}", 32, vec![]),
        ("data: {gpu-memory: 40G}", 1, vec![memory("40G")]),
        ("data: {cuda-version: '12'}", 1, vec![cuda("12.0.0")]),
        ("data: {cuda-version: ' 12.10 '}", 1, vec![cuda("12.10.0")]),
        (
            "data: {cuda-version: '12.4.1', gpu-memory: 1Ti, gpu-count: '2'}",
            2,
            vec![memory("1Ti"), cuda("12.4.1")],
        ),
        ("data: {device-class: gpu-compute-class}", 1, vec![]),
    ];
    for (data, count, expressions) in cases {
        let converted = converted(&with_data(data));
        let template = converted.values().last().unwrap();
        let exactly = &template["spec"]["spec"]["devices"]["requests"][0]["exactly"];
        assert_eq!(exactly["count"], count, "{data}");
        assert_eq!(exactly["deviceClassName"], "gpu-compute-class", "{data}");
        let selectors: Vec<Value> =
            expressions.iter().map(|expression| json!({"cel": {"expression": expression}})).collect();
        assert_eq!(
            exactly.get("selectors").cloned().unwrap_or_else(|| json!([])),
            Value::from(selectors),
            "{data}"
        );
        all_strictly(&converted);
    }
}

#[test]
fn wrong_parameters_are_told_with_name_key_value_and_fix() {
    let cases = [
        ("data: {gpu-cout: '1'}", "data.gpu-cout: this key is not known; did you mean gpu-count?"),
        ("data: {gpu_memory: 16Gi}", "data.gpu_memory: this key is not known; did you mean gpu-memory?"),
        (
            "data: {colour: red}",
            "data.colour: this key is not known; known are cuda-version, device-class, gpu-count",
        ),
        ("binaryData: {gpu-count: MQ==}", "binaryData.gpu-count: this key is not known"),
        (
            "data: {gpu-count: 1}",
            "data.gpu-count: 1 is no text, which values of a ConfigMap have to be: write it in quotes",
        ),
        ("data: {cuda-version: 12.2}", "data.cuda-version: 12.2 is no text"),
        (
            "data: {gpu-count: '0'}",
            "data.gpu-count: \"0\" is no number of GPUs: write a whole number from 1 to 32",
        ),
        ("data: {gpu-count: '33'}", "\"33\" is no number of GPUs"),
        ("data: {gpu-count: '-1'}", "\"-1\" is no number of GPUs"),
        ("data: {gpu-count: '+1'}", "\"+1\" is no number of GPUs"),
        ("data: {gpu-count: one}", "\"one\" is no number of GPUs"),
        ("data: {gpu-count: '99999999999999999999'}", "is no number of GPUs"),
        ("data: {gpu-memory: 16GB}", "data.gpu-memory: \"16GB\" is no amount of memory: write \"16G\""),
        ("data: {gpu-memory: 16 GiB}", "\"16 GiB\" is no amount of memory: write \"16Gi\""),
        (
            "data: {gpu-memory: lots}",
            "\"lots\" is no amount of memory: write a number and a unit, such as \"16Gi\"",
        ),
        ("data: {gpu-memory: '16'}", "\"16\" is no amount of memory: it means 16 bytes"),
        ("data: {gpu-memory: '-16Gi'}", "\"-16Gi\" is no amount of memory"),
        ("data: {gpu-memory: \"1Gi')) || true || x.y(('\"}", "is no amount of memory"),
        (
            "data: {cuda-version: 12.x}",
            "data.cuda-version: \"12.x\" is no version of CUDA: write one to three numbers",
        ),
        ("data: {cuda-version: 1.2.3.4}", "\"1.2.3.4\" is no version of CUDA"),
        ("data: {cuda-version: ''}", "\"\" is no version of CUDA"),
        ("data: {device-class: GPU}", "data.device-class: \"GPU\" is no name of a DeviceClass"),
    ];
    for (data, expected) in cases {
        let told = errors(&with_data(data));
        let [told] = told.as_slice() else { panic!("{data}: {told:?}") };
        assert!(told.starts_with("ConfigMap team/params, "), "{told}");
        assert!(told.contains(expected), "{data}: {told}");
    }
    // All that is wrong is told at once.
    assert_eq!(errors(&with_data("data: {gpu-count: '0', gpu-memory: x, cuda-version: y}")).len(), 3);
}

#[test]
fn amounts_that_no_gpu_has_are_warned_of() {
    let cases = [
        ("79Gi", None),
        ("80G", None),
        ("80Gi", Some("80Gi is more than an H100 80GB has, which is 81559Mi: write 80G")),
        ("141Gi", Some("141Gi is more than an H200 has, which is 143771Mi: write 141G")),
        ("81Gi", None),
        ("200Gi", Some("200Gi is more than any GPU has")),
    ];
    for (size, expected) in cases {
        let told = warnings(&converted(&with_data(&format!("data: {{gpu-memory: {size}}}"))));
        let about: Vec<&String> = told.iter().filter(|told| told.contains("gpu-memory")).collect();
        match expected {
            Some(expected) => {
                assert!(matches!(about[..], [one] if one.contains(expected)), "{size}: {told:?}")
            }
            None => assert!(about.is_empty(), "{size}: {told:?}"),
        }
    }
}

#[test]
fn what_cannot_be_converted_is_an_error_that_names_document_field_and_fix() {
    let class = "apiVersion: resource.k8s.io/v1alpha2\nkind: ResourceClaim\nmetadata: {name: c, namespace: team}\nspec: ";
    let cases = [
        (
            format!("{class}{{resourceClassName: gpu, parametersRef: {{name: gone}}}}"),
            "ResourceClaim team/c, spec.parametersRef: ConfigMap team/gone is not in the input. Add it to the input",
        ),
        (
            format!("{class}{{resourceClassName: gpu, parametersRef: {{kind: GpuParameters, name: p}}}}"),
            "ResourceClaim team/c, spec.parametersRef: parameters of kind GpuParameters cannot be read",
        ),
        (format!("{class}{{}}"), "ResourceClaim team/c, spec.resourceClassName: it names no class"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {resourceClaims: [{name: a, source: {claim: x}}]}".to_owned(),
            "Pod p, spec.resourceClaims[0].source.claim: there is no such field",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {resourceClaims: [{name: a, resourceClaimName: y, source: {resourceClaimName: x}}]}".to_owned(),
            "it stands beside source as well, with another name",
        ),
        (
            format!("apiVersion: v1\nkind: Pod\n---\n{class}: ["),
            "the document at line",
        ),
    ];
    for (text, expected) in cases {
        let told = errors(&text);
        let [told] = told.as_slice() else { panic!("{text}: {told:?}") };
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn all_that_makes_pods_is_rewritten() {
    let pod = "{containers: [{name: c, image: i, env: [{name: A, value: 'yes'}]}], resourceClaims: [{name: gpu, source: {resourceClaimName: mine}}]}";
    let template = format!("{{selector: {{}}, template: {{spec: {pod}}}}}");
    let cases = [
        ("v1", "Pod", pod.to_owned(), "/spec"),
        ("batch/v1", "Job", template.clone(), "/spec/template/spec"),
        (
            "batch/v1",
            "CronJob",
            format!("{{schedule: '* * * * *', jobTemplate: {{spec: {template}}}}}"),
            "/spec/jobTemplate/spec/template/spec",
        ),
        ("apps/v1", "Deployment", template.clone(), "/spec/template/spec"),
        ("apps/v1", "StatefulSet", template.clone(), "/spec/template/spec"),
        ("apps/v1", "DaemonSet", template.clone(), "/spec/template/spec"),
        ("apps/v1", "ReplicaSet", template, "/spec/template/spec"),
    ];
    for (version, kind, spec, path) in cases {
        let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n");
        let converted = converted(&text);
        let value = converted.values().next().unwrap();
        let spec = value.pointer(path).unwrap();
        assert_eq!(spec["resourceClaims"], json!([{"name": "gpu", "resourceClaimName": "mine"}]), "{kind}");
        // Texts that look like something else stay texts.
        let again = convert(&converted.yaml().unwrap(), DRIVER).unwrap();
        assert_eq!(again.values().next().unwrap(), value, "{kind}");
        assert_eq!(spec["containers"][0]["env"][0]["value"], "yes", "{kind}");
        // A list of it is treated in the same way.
        let listed = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {}",
            serde_json::from_str::<Value>(&convert(&text, DRIVER).unwrap().json().unwrap()).unwrap()
        );
        assert!(convert(&listed, DRIVER).is_ok(), "{kind}");
    }
}

#[test]
fn newer_old_versions_become_v1() {
    let flat = "devices: {requests: [{name: gpu, deviceClassName: gpu-compute-class, count: 2, allocationMode: ExactCount}], constraints: [{matchAttribute: a/b}]}";
    let exactly = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu-compute-class", "count": 2, "allocationMode": "ExactCount"}});
    for (version, text, expected) in [
        ("v1alpha3", format!("{{controller: c, {flat}}}"), exactly.clone()),
        ("v1beta1", format!("{{{flat}}}"), exactly.clone()),
        (
            "v1beta1",
            "{devices: {requests: [{name: gpu, firstAvailable: [{name: a, deviceClassName: gpu}]}]}}"
                .to_owned(),
            json!({"name": "gpu", "firstAvailable": [{"name": "a", "deviceClassName": "gpu"}]}),
        ),
        (
            "v1beta2",
            "{devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu}}]}}".to_owned(),
            json!({"name": "gpu", "exactly": {"deviceClassName": "gpu"}}),
        ),
    ] {
        let head = format!("apiVersion: resource.k8s.io/{version}\nkind: ");
        let claim = converted(&format!(
            "{head}ResourceClaim\nmetadata: {{name: x, uid: '1', resourceVersion: '2'}}\nspec: {text}\nstatus: {{}}\n"
        ));
        let value = claim.values().next().unwrap();
        assert_eq!(value["spec"]["devices"]["requests"], json!([expected]), "{version}");
        assert_eq!(value["metadata"], json!({"name": "x"}), "{version}: what the server wrote goes");
        all_strictly(&claim);
        let template = converted(&format!(
            "{head}ResourceClaimTemplate\nmetadata: {{name: x}}\nspec: {{spec: {text}}}\n"
        ));
        assert_eq!(
            template.values().next().unwrap()["spec"]["spec"]["devices"]["requests"],
            json!([expected])
        );
        all_strictly(&template);
        let class = converted(&format!(
            "{head}DeviceClass\nmetadata: {{name: x}}\nspec: {{selectors: [{{cel: {{expression: 'true'}}}}]}}\n"
        ));
        all_strictly(&class);
    }
}

#[test]
fn classes_know_their_driver_and_their_parameters() {
    let class = |spec: &str| {
        format!(
            "apiVersion: resource.k8s.io/v1alpha2\nkind: ResourceClass\nmetadata: {{name: gpu-compute-class}}\n{spec}\n"
        )
    };
    let config =
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: p, namespace: s}\ndata: {gpu-memory: 40Gi}\n";
    let expressions = |text: &str| -> Vec<String> {
        let converted = converted(text);
        all_strictly(&converted);
        let class = converted.values().next().unwrap();
        let selectors = class["spec"]["selectors"].as_array().unwrap();
        selectors.iter().map(|selector| selector["cel"]["expression"].as_str().unwrap().to_owned()).collect()
    };
    let gpus = "device.driver == 'eks-hybrid-dra' && device.attributes['eks-hybrid-dra'].type == 'gpu'";
    let memory = "device.capacity['eks-hybrid-dra'].memory.compareTo(quantity('40Gi')) >= 0";
    // As the API had it: at the top.
    let top = class("driverName: eks-hybrid-dra\nparametersRef: {kind: ConfigMap, name: p, namespace: s}");
    assert_eq!(expressions(&(top + config)), [gpus, memory]);
    let other = class("driverName: gpu.example.com");
    assert_eq!(expressions(&other), ["device.driver == 'gpu.example.com'"]);
    let told = warnings(&converted(&other));
    assert!(told.iter().any(|told| told.contains("--driver-name gpu.example.com")), "{told:?}");
    let told = errors(
        &(class("driverName: eks-hybrid-dra\nparametersRef: {name: p, namespace: s}")
            + &config.replace("gpu-memory: 40Gi", "gpu-count: '2'")),
    );
    assert!(told[0].contains("data.gpu-count: a class says which devices, not how many"), "{told:?}");
    let told = errors(&class("driverName: \"x' || true\""));
    assert!(told[0].contains("is no driver's name"), "{told:?}");
}

#[test]
fn immediate_allocation_and_claims_in_unknown_kinds_are_warned_of() {
    let immediate = "apiVersion: resource.k8s.io/v1alpha2\nkind: ResourceClaim\nmetadata: {name: c}\nspec: {resourceClassName: gpu, allocationMode: Immediate}\n";
    let told = warnings(&converted(immediate));
    assert!(told[0].starts_with("ResourceClaim c, spec.allocationMode: "), "{told:?}");
    let custom = "apiVersion: kubeflow.org/v1\nkind: PyTorchJob\nmetadata: {name: t}\nspec: {pytorchReplicaSpecs: {Worker: {template: {spec: {resourceClaims: [{name: g, source: {resourceClaimTemplateName: x}}]}}}}}\n";
    let converted = converted(custom);
    assert_eq!(converted.yaml().unwrap(), format!("---\n{custom}"), "it is left as it is");
    let told = warnings(&converted);
    assert!(
        told[0].contains("spec.pytorchReplicaSpecs.Worker.template.spec.resourceClaims[0].source"),
        "{told:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in a file is converted or an error.
    #[test]
    fn nothing_panics(text in "(apiVersion: (v1|resource.k8s.io/v1alpha2|resource.k8s.io/v1beta1)\n|kind: (Pod|List|ResourceClass|ResourceClaimTemplate|ConfigMap)\n|metadata: [a-z{\\[1]?\n|spec:( [a-z1{\\[]*)?\n|  spec:\n|items: \\[.?\\]?\n|---\n|data: .*\n|[ -~\n]{0,20}){0,12}") {
        if let Ok(converted) = convert(&text, DRIVER) {
            let _ = converted.yaml();
            let _ = converted.json();
        }
    }

    /// Changed fields of the guide's manifests: any line gone, doubled, or with other words in it.
    #[test]
    fn no_change_of_the_guide_panics(line in 0..90_usize, words in "[ -~]{0,12}", kind in 0..3_u8) {
        let mut lines: Vec<String> = GUIDE.lines().map(str::to_owned).collect();
        let line = line % lines.len();
        match kind {
            0 => drop(lines.remove(line)),
            1 => lines.insert(line, words),
            _ => lines[line] = lines[line].split_once(':').map_or(words.clone(), |(key, _)| format!("{key}: {words}")),
        }
        if let Ok(converted) = convert(&lines.join("\n"), DRIVER) {
            let printed = converted.yaml().unwrap();
            let again = convert(&printed, DRIVER).unwrap_or_else(|errors| panic!("{errors:?} of\n{printed}"));
            prop_assert_eq!(again.values().collect::<Vec<_>>(), converted.values().collect::<Vec<_>>());
        }
    }

    /// Documents of others keep their text.
    #[test]
    fn foreign_documents_pass_through(name in "[a-z]{1,8}", value in "[ -~]{0,30}", comment in "[ -~]{0,20}") {
        let quoted = serde_json::to_string(&value).unwrap();
        let text = format!("# {comment}\napiVersion: example.com/v1\nkind: Thing\nmetadata:\n  name: {name} # {comment}\nspec: {{value: {quoted}, mode: 0644}}\n");
        prop_assert_eq!(converted(&text).yaml().unwrap(), format!("---\n{text}"));
    }
}
