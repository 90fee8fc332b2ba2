//! What of a cluster goes into a report, and under which names. Pure.
//!
//! Only what is listed here goes in: whatever else an object has stays out, environment variables' values and
//! annotations among it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What is told of objects of each kind, as pointers into them. A `*` stands for each item of a list.
const SLICE: &[&str] = &["/metadata/name", "/metadata/creationTimestamp", "/spec"];
const CLASS: &[&str] =
    &["/metadata/name", "/metadata/creationTimestamp", "/spec/selectors", "/spec/extendedResourceName"];
const NODE: &[&str] = &[
    "/metadata/name",
    "/spec/taints",
    "/spec/unschedulable",
    "/status/allocatable",
    "/status/conditions",
    "/status/nodeInfo/containerRuntimeVersion",
    "/status/nodeInfo/kernelVersion",
    "/status/nodeInfo/kubeletVersion",
    "/status/nodeInfo/osImage",
    "/status/nodeInfo/architecture",
];
const CLAIM: &[&str] = &[
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/uid",
    "/metadata/creationTimestamp",
    "/metadata/deletionTimestamp",
    "/metadata/ownerReferences",
    "/spec/devices/requests",
    "/spec/devices/constraints",
    "/status/allocation/devices/results",
    "/status/allocation/nodeSelector",
    "/status/reservedFor",
];
const POD: &[&str] = &[
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/uid",
    "/metadata/creationTimestamp",
    "/metadata/deletionTimestamp",
    "/spec/nodeName",
    "/spec/tolerations",
    "/spec/resourceClaims",
    "/spec/schedulingGates",
    "/spec/schedulerName",
    "/status/phase",
    "/status/conditions",
    "/status/resourceClaimStatuses",
    "/status/extendedResourceClaimStatus",
];
const EVENT: &[&str] = &[
    "/involvedObject/kind",
    "/involvedObject/name",
    "/involvedObject/namespace",
    "/type",
    "/reason",
    "/message",
    "/count",
    "/firstTimestamp",
    "/lastTimestamp",
    "/eventTime",
];
const PART: &[&str] = &[
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/generation",
    "/spec/replicas",
    "/spec/updateStrategy",
    "/spec/template/spec/tolerations",
    "/spec/template/spec/nodeSelector",
    "/spec/template/spec/affinity",
    "/spec/template/spec/hostPID",
    "/status",
];

/// Objects of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// ResourceSlices.
    Slice,
    /// DeviceClasses.
    Class,
    /// Nodes.
    Node,
    /// ResourceClaims.
    Claim,
    /// Pods with claims.
    Pod,
    /// Events.
    Event,
    /// DaemonSets and Deployments of the driver.
    Part,
}

impl Kind {
    fn told(self) -> &'static [&'static str] {
        match self {
            Self::Slice => SLICE,
            Self::Class => CLASS,
            Self::Node => NODE,
            Self::Claim => CLAIM,
            Self::Pod => POD,
            Self::Event => EVENT,
            Self::Part => PART,
        }
    }
}

/// What of an object is told.
#[must_use]
pub(super) fn told(kind: Kind, object: &Value) -> Value {
    let mut told = json!({});
    for pointer in kind.told() {
        if let Some(value) = object.pointer(pointer) {
            set(&mut told, pointer, value.clone());
        }
    }
    if kind == Kind::Part {
        let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        let containers = containers.into_iter().flatten().map(container).collect();
        set(&mut told, "/spec/template/spec/containers", Value::Array(containers));
    }
    told
}

/// A container of the driver: of its environment, the names alone.
fn container(container: &Value) -> Value {
    let variables = container["env"].as_array().into_iter().flatten();
    let names: Vec<&Value> = variables.map(|variable| &variable["name"]).collect();
    json!({
        "name": container["name"],
        "image": container["image"],
        "command": container["command"],
        "args": container["args"],
        "env": names,
        "resources": container["resources"],
    })
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for step in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Some(map) = place.as_object_mut() else { return };
        place = map.entry(step).or_insert(Value::Null);
    }
    *place = value;
}

/// Names of namespaces, claims and pods, and what stands for each.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
    kept: Vec<String>,
}

impl Names {
    /// None but these are shown as they are: those of the driver's own parts.
    #[must_use]
    pub(super) fn but(kept: Vec<String>) -> Self {
        Self { kept, ..Self::default() }
    }

    /// Another name to hide, of a kind such as `namespace`.
    pub(super) fn hide(&mut self, kind: &'static str, name: &str) {
        if name.is_empty() || self.known.contains_key(name) || self.kept.iter().any(|kept| kept == name) {
            return;
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        self.known.insert(name.to_owned(), format!("{kind}-{count}"));
    }

    /// Hides the names that an object has: its own, its namespace's, its owners' and those whom it is for.
    pub(super) fn hide_of(&mut self, kind: &'static str, object: &Value) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        self.hide("namespace", text("/metadata/namespace"));
        self.hide(kind, text("/metadata/name"));
        for owner in
            object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten()
        {
            self.hide("owner", owner["name"].as_str().unwrap_or_default());
        }
        for consumer in object.pointer("/status/reservedFor").and_then(Value::as_array).into_iter().flatten()
        {
            self.hide("pod", consumer["name"].as_str().unwrap_or_default());
        }
        for claim in object.pointer("/spec/resourceClaims").and_then(Value::as_array).into_iter().flatten() {
            self.hide("claim", claim["resourceClaimName"].as_str().unwrap_or_default());
            self.hide("template", claim["resourceClaimTemplateName"].as_str().unwrap_or_default());
        }
        let made = object.pointer("/status/resourceClaimStatuses").and_then(Value::as_array);
        for claim in made.into_iter().flatten() {
            self.hide("claim", claim["resourceClaimName"].as_str().unwrap_or_default());
        }
    }

    /// Hides names wherever a text has them as whole words.
    #[must_use]
    pub(super) fn redacted(&self, text: &str) -> String {
        let is_part =
            |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.' || letter == '_';
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_part) {
            let (before, word) = rest.split_at(start);
            let end = word.find(|letter| !is_part(letter)).unwrap_or(word.len());
            let (word, after) = word.split_at(end);
            out.push_str(before);
            out.push_str(&self.word(word));
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// A word; a full stop at its end is the sentence's.
    fn word(&self, word: &str) -> String {
        let bare = word.trim_end_matches('.');
        match self.known.get(word).or_else(|| self.known.get(bare)) {
            Some(hidden) if self.known.contains_key(word) => hidden.clone(),
            Some(hidden) => format!("{hidden}{}", word.get(bare.len()..).unwrap_or_default()),
            None => word.to_owned(),
        }
    }

    /// Hides names in all texts of a value, its keys left as they are.
    pub(super) fn redact(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.redacted(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.redact(field)),
            _ => {}
        }
    }

    /// A line of a log. Where it is JSON, names of objects that are gone by now are hidden by their fields.
    pub(super) fn line(&mut self, line: &str) -> String {
        let Ok(Value::Object(mut fields)) = serde_json::from_str::<Value>(line) else {
            return self.redacted(line);
        };
        for (field, kind) in [("namespace", "namespace"), ("claim", "claim"), ("pod", "pod")] {
            let name = fields.get(field).and_then(Value::as_str).unwrap_or_default();
            // A claim or pod can be written namespace/name.
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            self.hide("namespace", namespace);
            self.hide(kind, name);
        }
        fields.values_mut().for_each(|value| self.redact(value));
        Value::Object(fields).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_told() {
        let pod = json!({
            "metadata": {"name": "train", "annotations": {"team.example.com/secret": "x"}, "labels": {"who": "me"}},
            "spec": {"nodeName": "node-a", "containers": [{"env": [{"name": "TOKEN", "value": "s3cret"}]}]},
            "status": {"phase": "Running"},
        });
        let wanted = json!({
            "metadata": {"name": "train"},
            "spec": {"nodeName": "node-a"},
            "status": {"phase": "Running"},
        });
        assert_eq!(told(Kind::Pod, &pod), wanted);

        let part = json!({"spec": {"template": {"spec": {"containers": [{
            "name": "plugin", "image": "i", "env": [{"name": "TOKEN", "value": "s3cret"}],
        }]}}}});
        let told = told(Kind::Part, &part).to_string();
        assert!(told.contains("TOKEN") && !told.contains("s3cret"), "{told}");
    }

    #[test]
    fn names_are_hidden_where_they_are_words() {
        let mut names = Names::but(vec!["gpu-system".to_owned()]);
        names.hide("namespace", "team-a");
        names.hide("claim", "train");
        names.hide("namespace", "gpu-system");
        let cases = [
            ("as it is", "claim team-a/train waits", "claim namespace-1/claim-1 waits"),
            ("at the end of a sentence", "held by train.", "held by claim-1."),
            ("a part of a word", "training of train-2", "training of train-2"),
            ("the driver's own", "in gpu-system", "in gpu-system"),
            ("quoted", "\"train\",größer", "\"claim-1\",größer"),
            ("nothing", "", ""),
        ];
        for (what, text, wanted) in cases {
            assert_eq!(names.redacted(text), wanted, "{what}");
        }
    }

    #[test]
    fn a_log_names_nobody_who_is_gone() {
        let mut names = Names::default();
        let line = r#"{"level":"INFO","claim":"team-b/gone","message":"prepared gone"}"#;
        let wanted = r#"{"level":"INFO","claim":"namespace-1/claim-1","message":"prepared claim-1"}"#;
        assert_eq!(names.line(line), wanted);
    }
}
