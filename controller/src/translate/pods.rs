//! Pods, and what makes pods: their claims as v1 has them, and warnings of what keeps them from GPUs.

use serde_json::{Map, Value};

use super::told::Told;

/// The taint by which GPU nodes keep other pods away, and the value that the nodes' configuration gives it.
const TAINT: &str = "nvidia.com/gpu";
const TAINT_VALUE: &str = "present";
/// The label that the guide's classes selected nodes by, and the value that its nodes have.
const NODE_TYPE: &str = "node-type";
const NODE_TYPE_VALUE: &str = "hybrid";
/// What a pod's claim names: a claim, or a template.
const NAMES: [&str; 2] = ["resourceClaimName", "resourceClaimTemplateName"];
/// How deep in a document of an unknown kind is looked for claims.
const DEEPEST: usize = 32;

/// The pod's spec in an object that is a pod or makes pods, and the path to it.
fn spec_of(object: &mut Value) -> Option<(&mut Map<String, Value>, &'static str)> {
    let api_version = object["apiVersion"].as_str()?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let (path, words): (&[&str], _) = match (group, object["kind"].as_str()?) {
        ("", "Pod") => (&["spec"], "spec"),
        ("", "PodTemplate") => (&["template", "spec"], "template.spec"),
        ("", "ReplicationController")
        | ("batch", "Job")
        | ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            (&["spec", "template", "spec"], "spec.template.spec")
        }
        ("batch", "CronJob") => {
            (&["spec", "jobTemplate", "spec", "template", "spec"], "spec.jobTemplate.spec.template.spec")
        }
        _ => return None,
    };
    let spec = path.iter().try_fold(object, |value, key| value.get_mut(key))?;
    Some((spec.as_object_mut()?, words))
}

/// What came of a document.
pub(super) struct Pods {
    /// Whether it was changed.
    pub(super) changed: bool,
    /// What the user should know.
    pub(super) warnings: Vec<Told>,
    /// What keeps it from being converted.
    pub(super) errors: Vec<Told>,
}

/// Rewrites the claims of a pod or of what makes pods. Documents of other kinds are left as they are.
pub(super) fn convert(object: &mut Value, called: &str) -> Pods {
    let mut pods = Pods { changed: false, warnings: Vec::new(), errors: Vec::new() };
    let told = |field: String, what: &str, fix: &str| Told {
        object: called.to_owned(),
        field,
        what: what.to_owned(),
        fix: fix.to_owned(),
    };
    let Some((spec, path)) = spec_of(object) else {
        if let Some(field) = old_claims(object, String::new(), 0) {
            pods.warnings.push(told(
                field,
                "source is not there any more, and documents of this kind are left as they are",
                "Write resourceClaimTemplateName or resourceClaimName beside name, in place of source",
            ));
        }
        return pods;
    };
    let claims = spec.get_mut("resourceClaims").and_then(Value::as_array_mut);
    let has_claims = claims.as_ref().is_some_and(|claims| !claims.is_empty());
    for (number, claim) in claims.into_iter().flatten().enumerate() {
        let Some(claim) = claim.as_object_mut() else { continue };
        let Some(source) = claim.shift_remove("source") else { continue };
        pods.changed = true;
        let source = match source {
            Value::Object(source) => source,
            Value::Null => Map::new(),
            _ => {
                pods.errors.push(told(
                    format!("{path}.resourceClaims[{number}].source"),
                    "it is no object",
                    "Write resourceClaimTemplateName or resourceClaimName beside name, in place of source",
                ));
                continue;
            }
        };
        let before = pods.errors.len();
        for (key, value) in source {
            let field = format!("{path}.resourceClaims[{number}].source.{key}");
            if !NAMES.contains(&key.as_str()) {
                pods.errors.push(told(field, "there is no such field", "Take it out"));
            } else if claim.get(&key).is_some_and(|there| *there != value) {
                let what = "it stands beside source as well, with another name";
                pods.errors.push(told(field, what, "Leave the one that is meant"));
            } else {
                claim.insert(key, value);
            }
        }
        let named = NAMES.iter().filter(|name| claim.contains_key(**name)).count();
        if named != 1 && pods.errors.len() == before {
            let what = if named == 0 {
                "it names no claim and no template"
            } else {
                "it names a claim and a template"
            };
            pods.errors.push(told(
                format!("{path}.resourceClaims[{number}].source"),
                what,
                "Write one of resourceClaimTemplateName and resourceClaimName",
            ));
        }
    }
    warn_of_tolerations(spec, path, &told, &mut pods.warnings);
    if has_claims {
        warn_of_node_type(spec, path, &told, &mut pods.warnings);
        warn_of_environment(spec, path, &told, &mut pods.warnings);
    }
    pods
}

type Tell<'a> = &'a dyn Fn(String, &str, &str) -> Told;

/// Tolerations that name a value which the nodes' taint has not.
fn warn_of_tolerations(spec: &Map<String, Value>, path: &str, told: Tell<'_>, warnings: &mut Vec<Told>) {
    let tolerations = || items(spec.get("tolerations"));
    if tolerations().any(tolerates_taint) {
        return;
    }
    for (number, toleration) in tolerations().enumerate() {
        let names_value = toleration["operator"].as_str().unwrap_or("Equal") == "Equal";
        let value = toleration["value"].as_str().unwrap_or_default();
        if toleration["key"] == TAINT && names_value && value != TAINT_VALUE {
            warnings.push(told(
                format!("{path}.tolerations[{number}]"),
                &format!(
                    "it tolerates {TAINT}={value}, which is another taint than {TAINT}={TAINT_VALUE}, the usual one: \
                     the pod does not get onto such nodes"
                ),
                "Write operator: Exists, and no value",
            ));
        }
    }
}

/// Whether a toleration tolerates the usual taint.
fn tolerates_taint(toleration: &Value) -> bool {
    let text = |field: &str| toleration[field].as_str().unwrap_or_default();
    let effect = matches!(text("effect"), "" | "NoSchedule");
    let value = match text("operator") {
        "Exists" => text("key").is_empty() || text("key") == TAINT,
        _ => text("key") == TAINT && text("value") == TAINT_VALUE,
    };
    effect && value
}

/// Node rules by the label `node-type`, of which the guide has two sets of values.
fn warn_of_node_type(spec: &Map<String, Value>, path: &str, told: Tell<'_>, warnings: &mut Vec<Told>) {
    let mut warn = |field: String, value: &str| {
        warnings.push(told(
            field,
            &format!("only nodes with the label {NODE_TYPE}={value} do, and GPU nodes often have {NODE_TYPE}={NODE_TYPE_VALUE}"),
            "Take it out: a pod with a claim gets onto nodes that have the devices. `kubectl get nodes -L node-type` \
             shows the labels",
        ));
    };
    let value = spec.get("nodeSelector").and_then(|selector| selector[NODE_TYPE].as_str());
    if let Some(value) = value.filter(|value| *value != NODE_TYPE_VALUE) {
        warn(format!("{path}.nodeSelector.{NODE_TYPE}"), value);
    }
    let required = spec
        .get("affinity")
        .map(|affinity| &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]);
    if let Some(value) = required.and_then(node_type) {
        let field = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";
        warn(format!("{path}.{field}"), &value);
    }
}

/// The values of `node-type` that a node selector asks for, where the guide's nodes have another.
pub(super) fn node_type(selector: &Value) -> Option<String> {
    let terms = items(Some(&selector["nodeSelectorTerms"]));
    let mut expressions = terms.flat_map(|term| items(Some(&term["matchExpressions"])));
    let expression = expressions.find(|expression| {
        let values = || items(Some(&expression["values"]));
        expression["key"] == NODE_TYPE
            && expression["operator"] == "In"
            && !values().any(|value| value == NODE_TYPE_VALUE)
    })?;
    let values: Vec<&str> = items(Some(&expression["values"])).filter_map(Value::as_str).collect();
    Some(values.join("|"))
}

/// `CUDA_VISIBLE_DEVICES`, which counts the container's own GPUs.
fn warn_of_environment(spec: &Map<String, Value>, path: &str, told: Tell<'_>, warnings: &mut Vec<Told>) {
    for list in ["initContainers", "containers"] {
        for (number, container) in items(spec.get(list)).enumerate() {
            for (place, variable) in items(Some(&container["env"])).enumerate() {
                if variable["name"] == "CUDA_VISIBLE_DEVICES" {
                    let value = variable["value"].as_str().unwrap_or("a value from elsewhere");
                    warnings.push(told(
                        format!("{path}.{list}[{number}].env[{place}]"),
                        &format!(
                            "CUDA_VISIBLE_DEVICES={value} counts the GPUs that the container has, from 0, and not those \
                             of the node; others that the claim gives it are hidden"
                        ),
                        "Take it out: the container sees the claim's GPUs and no others",
                    ));
                }
            }
        }
    }
}

/// The path to pod claims in the old form, anywhere in a document.
fn old_claims(value: &Value, path: String, depth: usize) -> Option<String> {
    if depth > DEEPEST {
        return None;
    }
    match value {
        Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(number, value)| old_claims(value, format!("{path}[{number}]"), depth + 1)),
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let source = |claim: &Value| NAMES.iter().any(|name| claim["source"][*name].is_string());
            let old = items(Some(value)).position(source).filter(|_| key == "resourceClaims");
            match old {
                Some(number) => Some(format!("{path}[{number}].source")),
                None => old_claims(value, path, depth + 1),
            }
        }),
        _ => None,
    }
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
