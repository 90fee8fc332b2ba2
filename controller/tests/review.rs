//! Admission reviews as API servers send them, and their answers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use dra_controller::webhook::review::{Verdict, answer};
use proptest::prelude::*;
use serde_json::{Value, json};

const DRIVER: &str = "gpu.example.com";
const OURS: &str = "config.eks-hybrid-dra/v1alpha1";

/// A review, as the API server sends it.
fn review(resource: &str, version: &str, operation: &str, object: Value, old: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "resource.k8s.io", "version": version, "kind": "Any"},
            "resource": {"group": "resource.k8s.io", "version": version, "resource": resource},
            "name": "thing",
            "namespace": "team",
            "operation": operation,
            "userInfo": {"username": "ada", "groups": ["system:authenticated"]},
            "object": object,
            "oldObject": old,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
}

fn config(driver: &str, parameters: Value) -> Value {
    json!({"requests": ["gpu"], "opaque": {"driver": driver, "parameters": parameters}})
}

fn good() -> Value {
    config(DRIVER, json!({"apiVersion": OURS, "kind": "GpuConfig"}))
}

fn bad() -> Value {
    config(DRIVER, json!({"apiVersion": OURS, "kind": "GpuConfig", "sharing": {"strategy": "Mps"}}))
}

fn mps() -> Value {
    config(DRIVER, json!({"apiVersion": OURS, "kind": "GpuConfig", "sharing": {"strategy": "MPS"}}))
}

fn claim(configs: Value) -> Value {
    json!({"metadata": {"name": "thing"}, "spec": {"devices": {"requests": [{"name": "gpu"}], "config": configs}}})
}

fn template(configs: Value) -> Value {
    json!({"metadata": {"name": "thing"}, "spec": {"metadata": {}, "spec": {"devices": {"config": configs}}}})
}

fn class(configs: Value) -> Value {
    json!({"metadata": {"name": "thing"}, "spec": {"selectors": [], "config": configs}})
}

/// What the answer says: the verdict and its texts.
fn said(review: &Value) -> (Verdict, Vec<String>) {
    let answer = answer(DRIVER, review.to_string().as_bytes()).unwrap();
    let sent = serde_json::to_value(&answer.review).unwrap();
    assert_eq!(sent["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(sent["kind"], "AdmissionReview");
    let response = &sent["response"];
    assert_eq!(response["uid"], review["request"]["uid"]);
    assert_eq!(response["allowed"], json!(answer.verdict != Verdict::Refused));
    assert_eq!(response.get("patch"), None);
    let texts = match answer.verdict {
        Verdict::Allowed => vec![],
        Verdict::Warned => serde_json::from_value(response["warnings"].clone()).unwrap(),
        Verdict::Refused => {
            assert_eq!(response["status"]["code"], 422);
            vec![response["status"]["message"].as_str().unwrap().to_owned()]
        }
    };
    (answer.verdict, texts)
}

#[test]
fn objects_are_refused_where_the_plugin_would_fail() {
    let strategy = "sharing.strategy: wanted 'TimeSlicing' or 'MPS', got \"Mps\"";
    let at = |path: &str| format!("{path}.opaque.parameters.{strategy}");
    let unsupported = "sharing.strategy: the strategy MPS is not supported yet; leave 'sharing' out, or use strategy \
                       TimeSlicing with interval Default";
    let none = Vec::new();
    let create = |resource: &str, version: &str, object: Value| {
        review(resource, version, "CREATE", object, Value::Null)
    };
    let update = |resource: &str, object: Value, old: Value| review(resource, "v1", "UPDATE", object, old);
    let cases = [
        ("a good claim", create("resourceclaims", "v1", claim(json!([good()]))), Verdict::Allowed, none.clone()),
        (
            "a bad claim",
            create("resourceclaims", "v1", claim(json!([bad()]))),
            Verdict::Refused,
            vec![at("spec.devices.config[0]")],
        ),
        (
            "a bad claim of v1beta1",
            create("resourceclaims", "v1beta1", claim(json!([bad()]))),
            Verdict::Refused,
            vec![at("spec.devices.config[0]")],
        ),
        (
            "a bad claim of v1beta2",
            create("resourceclaims", "v1beta2", claim(json!([bad()]))),
            Verdict::Refused,
            vec![at("spec.devices.config[0]")],
        ),
        (
            "a bad template",
            create("resourceclaimtemplates", "v1", template(json!([good(), bad()]))),
            Verdict::Refused,
            vec![at("spec.spec.devices.config[1]")],
        ),
        (
            "a bad class",
            create("deviceclasses", "v1", class(json!([bad()]))),
            Verdict::Refused,
            vec![at("spec.config[0]")],
        ),
        (
            "two mistakes",
            create("resourceclaims", "v1", claim(json!([bad(), good(), bad()]))),
            Verdict::Refused,
            vec![format!("{}; {}", at("spec.devices.config[0]"), at("spec.devices.config[2]"))],
        ),
        (
            "parameters of no kind",
            create("resourceclaims", "v1", claim(json!([config(DRIVER, json!({}))]))),
            Verdict::Refused,
            vec![
                "spec.devices.config[0].opaque.parameters.apiVersion: wanted 'config.eks-hybrid-dra/v1alpha1' or \
                 'resource.nvidia.com/v1beta1', got nothing"
                    .to_owned(),
            ],
        ),
        (
            "NVIDIA's kind for MIG devices",
            create(
                "resourceclaims",
                "v1",
                claim(json!([config(
                    DRIVER,
                    json!({"apiVersion": "resource.nvidia.com/v1beta1", "kind": "MigDeviceConfig"})
                )])),
            ),
            Verdict::Allowed,
            none.clone(),
        ),
        (
            "what no device can have yet",
            create("resourceclaims", "v1", claim(json!([mps()]))),
            Verdict::Warned,
            vec![format!("spec.devices.config[0].opaque.parameters.{unsupported}")],
        ),
        (
            "another driver's",
            create("resourceclaims", "v1", claim(json!([config("nic.example.com", json!(["any", 7]))]))),
            Verdict::Allowed,
            none.clone(),
        ),
        ("no configuration", create("resourceclaims", "v1", claim(Value::Null)), Verdict::Allowed, none.clone()),
        ("another resource", create("pods", "v1", claim(json!([bad()]))), Verdict::Allowed, none.clone()),
        (
            "a class that stays bad",
            update("deviceclasses", class(json!([bad()])), class(json!([bad()]))),
            Verdict::Allowed,
            none.clone(),
        ),
        (
            "a class that becomes bad",
            update("deviceclasses", class(json!([good(), bad()])), class(json!([good()]))),
            Verdict::Refused,
            vec![at("spec.config[1]")],
        ),
        (
            "a bad claim is deleted",
            review("resourceclaims", "v1", "DELETE", Value::Null, claim(json!([bad()]))),
            Verdict::Allowed,
            none,
        ),
    ];
    for (name, review, verdict, texts) in cases {
        assert_eq!(said(&review), (verdict, texts), "{name}");
    }
}

#[test]
fn many_mistakes_make_no_endless_message() {
    let configs = vec![bad(); 32];
    let (_, texts) = said(&review("resourceclaims", "v1", "CREATE", claim(json!(configs)), Value::Null));
    assert_eq!(texts[0].matches("spec.devices.config[").count(), 8);
}

#[test]
fn what_is_no_review_has_no_answer() {
    let lists = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = review("resourceclaims", "v1", "CREATE", claim(json!("lists")), Value::Null);
    let deep = deep.to_string().replace("\"lists\"", &lists);
    let cases = [
        ("nothing", String::new(), "the request is no AdmissionReview"),
        ("no JSON", "GET".to_owned(), "the request is no AdmissionReview"),
        ("deep", deep, "recursion limit exceeded"),
        (
            "an answer",
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}).to_string(),
            "the AdmissionReview has no request",
        ),
        (
            "a request without an operation",
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1"}})
                .to_string(),
            "missing field",
        ),
    ];
    for (name, body, wanted) in cases {
        let error = answer(DRIVER, body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{name}: {error}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        DRIVER,
        OURS,
        "GpuConfig",
        "spec",
        "devices",
        "config",
        "opaque",
        "driver",
        "parameters",
        "kind",
        "apiVersion",
        "sharing",
        "strategy",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((word.clone(), inner), 0..5).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_an_error(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = answer(DRIVER, &body);
    }

    /// Whatever stands in a configuration of another driver, the object is let through; whatever stands in one of ours,
    /// the answer is short and names the place.
    #[test]
    fn any_object_is_answered(spec in value(), parameters in value(), ours in any::<bool>()) {
        let driver = if ours { DRIVER } else { "nic.example.com" };
        let mut object = claim(json!([config(driver, parameters)]));
        let sent = review("resourceclaims", "v1", "CREATE", object.clone(), Value::Null);
        let (verdict, texts) = said(&sent);
        prop_assert!(ours || verdict == Verdict::Allowed);
        for text in texts {
            prop_assert!(text.starts_with("spec.devices.config[0].opaque.parameters"), "{}", text);
            prop_assert!(text.chars().count() < 700, "{}", text);
        }
        object["spec"] = spec;
        let _ = said(&review("resourceclaims", "v1", "CREATE", object, Value::Null));
    }
}
