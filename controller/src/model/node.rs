//! Which nodes a slice or a device is for.

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement};

use super::object::Node;

/// A node selector, checked once.
#[derive(Debug, Clone)]
pub struct NodeFilter {
    source: NodeSelector,
    problem: Option<NodeFilterError>,
}

/// Why a node selector cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node selector: {0}")]
pub struct NodeFilterError(String);

const LABELS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

impl NodeFilter {
    /// A selector as the API has it.
    #[must_use]
    pub fn new(source: NodeSelector) -> Self {
        let problem = problem(&source).map(NodeFilterError);
        Self { source, problem }
    }

    /// The selector as it was written.
    #[must_use]
    pub fn source(&self) -> &NodeSelector {
        &self.source
    }

    /// Whether it selects a node; no node is never selected.
    pub fn selects(&self, node: Option<&Node>) -> Result<bool, NodeFilterError> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let Some(node) = node else { return Ok(false) };
        // Terms are alternatives; one without requirements selects nothing.
        Ok(self.source.node_selector_terms.iter().any(|term| {
            let labels = term.match_expressions.as_deref().unwrap_or_default();
            let fields = term.match_fields.as_deref().unwrap_or_default();
            !(labels.is_empty() && fields.is_empty())
                && labels.iter().all(|requirement| label_matches(requirement, node))
                && (node.metadata.name.is_empty()
                    || fields.iter().all(|requirement| field_matches(requirement, node)))
        }))
    }
}

fn label_matches(requirement: &NodeSelectorRequirement, node: &Node) -> bool {
    let label = node.metadata.labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_listed = |label: &String| values.contains(label);
    let compared = || Some((label?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => label.is_some_and(is_listed),
        "NotIn" => !label.is_some_and(is_listed),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        "Gt" => compared().is_some_and(|(label, bound)| label > bound),
        "Lt" => compared().is_some_and(|(label, bound)| label < bound),
        _ => false,
    }
}

fn field_matches(requirement: &NodeSelectorRequirement, node: &Node) -> bool {
    // A node's name is the only field there is; others are empty.
    let field = if requirement.key == "metadata.name" { &*node.metadata.name } else { "" };
    let wanted = requirement.values.as_deref().unwrap_or_default().first().map_or("", String::as_str);
    (field == wanted) == (requirement.operator == "In")
}

/// What of a selector cannot be understood.
fn problem(selector: &NodeSelector) -> Option<String> {
    selector.node_selector_terms.iter().find_map(|term| {
        let labels = term.match_expressions.iter().flatten();
        let fields = term.match_fields.iter().flatten();
        labels.map(label_problem).chain(fields.map(field_problem)).flatten().next()
    })
}

fn label_problem(requirement: &NodeSelectorRequirement) -> Option<String> {
    let NodeSelectorRequirement { key, operator, .. } = requirement;
    let values = requirement.values.as_deref().unwrap_or_default();
    if !is_label_key(key) {
        return Some(format!("{key:?} is no key of a label"));
    }
    match operator.as_str() {
        "In" | "NotIn" if values.is_empty() => Some(format!("{key}: {operator} needs at least one value")),
        "Exists" | "DoesNotExist" if !values.is_empty() => Some(format!("{key}: {operator} takes no values")),
        "Gt" | "Lt" if values.len() != 1 || values[0].parse::<i64>().is_err() => {
            Some(format!("{key}: {operator} needs one whole number"))
        }
        known if LABELS.contains(&known) => {
            let wrong = values.iter().find(|value| !is_label_value(value))?;
            Some(format!("{key}: {wrong:?} is no value of a label"))
        }
        other => Some(format!("{key}: the operator {other:?} is none of {}", LABELS.join(", "))),
    }
}

fn field_problem(requirement: &NodeSelectorRequirement) -> Option<String> {
    let NodeSelectorRequirement { key, operator, .. } = requirement;
    match operator.as_str() {
        "In" | "NotIn" if requirement.values.as_ref().is_none_or(|values| values.len() != 1) => {
            Some(format!("field {key}: {operator} needs one value"))
        }
        "In" | "NotIn" => None,
        other => Some(format!("field {key}: the operator {other:?} is none of In, NotIn")),
    }
}

/// An optional DNS subdomain and a slash, and a name: letters, digits, `-`, `_`, `.`, no more than 63.
fn is_label_key(key: &str) -> bool {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    domain.is_none_or(is_subdomain) && !name.is_empty() && is_label_value(name)
}

fn is_subdomain(domain: &str) -> bool {
    let is_part = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    domain.len() <= 253 && domain.split('.').all(is_part)
}

fn is_label_value(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let outer = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    value.len() <= 63
        && value.bytes().all(inner)
        && outer(value.bytes().next())
        && outer(value.bytes().next_back())
}
