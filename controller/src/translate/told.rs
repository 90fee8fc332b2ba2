//! What is told about a document: what does not work, where, and what to do.

use std::fmt;

use serde_json::Value;

/// A field of a document that does not mean what it meant, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// The document: its kind, namespace and name.
    pub object: String,
    /// The field, as a path.
    pub field: String,
    /// What is the matter with it.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, field, what, fix } = self;
        write!(formatter, "{object}, {field}: {what}. {fix}")
    }
}

/// How messages call a document: `Job ml-workloads/train`, or by its line where it has no name.
pub(super) fn called(value: &Value, line: usize) -> String {
    let kind = value["kind"].as_str().unwrap_or("document");
    let metadata = &value["metadata"];
    let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str());
    match (metadata["namespace"].as_str(), name) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        _ => format!("{kind} at line {line}"),
    }
}
