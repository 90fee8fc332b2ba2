//! What a program answers to a case, and when two answers are the same.

use std::collections::HashSet;

use serde_json::Value;

/// What an answer says, less what may differ.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// One allocation for each claim; share IDs are replaced by a mark.
    Fits(Vec<Value>),
    /// The claims do not fit.
    NoFit,
    /// Allocation ended with an error.
    Error {
        /// What kind, where the text tells.
        kind: Option<ErrorKind>,
        /// For people.
        text: String,
    },
    /// The program gave up.
    Timeout,
    /// The allocator itself failed.
    Panic(String),
    /// The program did not understand the case, or we its answer.
    Misunderstood(String),
}

/// What stopped an allocation, coarsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// An expression that does not compile or fails on a device.
    Cel,
    /// A class that is not there.
    Class,
    /// A constraint without content, or one that bars a device which "all devices" must have.
    Constraint,
    /// More devices than a claim can hold.
    Limit,
    /// A pool that contradicts itself, or that is not there as a whole.
    Pool,
    /// Something that needs a feature which is off.
    Feature,
    /// A request that nobody can understand.
    Request,
    /// A node selector that nobody can understand.
    NodeSelector,
}

/// What upstream's error texts contain, and what that tells.
const UPSTREAM_TEXTS: [(&str, ErrorKind); 15] = [
    ("CEL expression empty", ErrorKind::Request),
    ("CEL compile error", ErrorKind::Cel),
    ("CEL runtime error", ErrorKind::Cel),
    ("could not retrieve device class", ErrorKind::Class),
    ("empty constraint", ErrorKind::Constraint),
    ("claim constraint would not be satisfied", ErrorKind::Constraint),
    ("exceeds the claim limit", ErrorKind::Limit),
    ("allocation max size exceeded", ErrorKind::Limit),
    ("invalid resource pools were encountered", ErrorKind::Pool),
    ("is currently being updated", ErrorKind::Pool),
    ("is currently invalid", ErrorKind::Pool),
    ("is disabled", ErrorKind::Feature),
    ("missing device class name", ErrorKind::Request),
    ("unsupported count mode", ErrorKind::Request),
    ("ode selector", ErrorKind::NodeSelector),
];

/// Our own names of kinds.
const OUR_KINDS: [(&str, ErrorKind); 10] = [
    ("cel", ErrorKind::Cel),
    ("class", ErrorKind::Class),
    ("constraint", ErrorKind::Constraint),
    ("limit", ErrorKind::Limit),
    ("invalidPools", ErrorKind::Pool),
    ("invalidPool", ErrorKind::Pool),
    ("incompletePool", ErrorKind::Pool),
    ("feature", ErrorKind::Feature),
    ("request", ErrorKind::Request),
    ("nodeSelector", ErrorKind::NodeSelector),
];

impl Answer {
    /// Reads an answer's line.
    pub fn read(line: &str) -> Self {
        match serde_json::from_str(line) {
            Ok(answer) => Self::of(&answer),
            Err(error) => Self::Misunderstood(format!("the answer {line:?} is no JSON: {error}")),
        }
    }

    /// Reads an answer.
    pub fn of(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        if let Some(results) = answer["results"].as_array() {
            return fits(results);
        }
        if answer["timeout"] == true {
            return Self::Timeout;
        }
        if let Some(cause) = text("panic") {
            return Self::Panic(cause);
        }
        match (text("error"), text("kind").as_deref()) {
            (Some(text), Some("input")) => Self::Misunderstood(text),
            (Some(_), Some("cancelled")) => Self::Timeout,
            (Some(text), kind) => {
                let kind = kind.map_or_else(|| kind_of_text(&text), kind_of_name);
                Self::Error { kind, text }
            }
            (None, _) if answer["noFit"].is_object() => Self::NoFit,
            (None, _) => Self::Misunderstood(format!("the answer {answer} says nothing")),
        }
    }

    /// Whether two answers are the same. Errors are, where neither says of which kind it is or both say the same.
    pub fn agrees_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Error { kind: Some(one), .. }, Self::Error { kind: Some(other), .. }) => one == other,
            (Self::Error { .. }, Self::Error { .. }) => true,
            (Self::Fits(one), Self::Fits(other)) => one == other,
            (Self::NoFit, Self::NoFit) => true,
            _ => false,
        }
    }
}

fn kind_of_text(text: &str) -> Option<ErrorKind> {
    UPSTREAM_TEXTS.iter().find(|(part, _)| text.contains(part)).map(|(_, kind)| *kind)
}

fn kind_of_name(name: &str) -> Option<ErrorKind> {
    OUR_KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// Allocations whose share IDs, which are random, are checked and replaced.
fn fits(allocations: &[Value]) -> Answer {
    let mut allocations = allocations.to_vec();
    let mut shares = HashSet::new();
    for allocation in &mut allocations {
        let results = allocation.pointer_mut("/devices/results").and_then(Value::as_array_mut);
        for result in results.into_iter().flatten() {
            let Some(share) = result.get_mut("shareID").filter(|share| !share.is_null()) else { continue };
            let id = share.as_str().unwrap_or_default().to_owned();
            if id.is_empty() || !shares.insert(id) {
                return Answer::Misunderstood(format!("the share ID {share} is empty or there twice"));
            }
            *share = Value::from("some share");
        }
        drop_empty(allocation);
    }
    Answer::Fits(allocations)
}

/// Removes fields without content: absent, null and empty are the same to the API.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // What drivers' parameters say is theirs.
            for (_, field) in fields.iter_mut().filter(|(name, _)| *name != "parameters") {
                drop_empty(field);
            }
            fields.retain(|name, field| {
                let is_empty = match field {
                    Value::Null => true,
                    Value::Array(elements) => elements.is_empty(),
                    Value::Object(fields) => fields.is_empty(),
                    _ => false,
                };
                name == "parameters" || !is_empty
            });
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn device(fields: Value) -> Value {
        let mut device = json!({"request": "r", "driver": "d", "pool": "p", "device": "x"});
        for (name, value) in fields.as_object().into_iter().flatten() {
            device[name] = value.clone();
        }
        json!({"results": [{"devices": {"results": [device]}}]})
    }

    #[test]
    fn answers_that_mean_the_same_agree() {
        for (name, one, other) in [
            ("share IDs are random", device(json!({"shareID": "a"})), device(json!({"shareID": "b"}))),
            ("times are none of it", device(json!({})), {
                let mut timed = device(json!({}));
                timed["nanos"] = json!(5);
                timed
            }),
            ("empty is absent", device(json!({"tolerations": []})), device(json!({"tolerations": null}))),
            (
                "no reasons",
                json!({"noFit": {"reasons": []}}),
                json!({"noFit": {"reasons": [{"check": "x"}]}}),
            ),
            (
                "errors of one kind",
                json!({"error": "class c: selector #0: CEL runtime error: no such key"}),
                json!({"error": "the selector fails", "kind": "cel"}),
            ),
            (
                "an error of no known kind",
                json!({"error": "who knows"}),
                json!({"error": "x", "kind": "cel"}),
            ),
        ] {
            assert!(Answer::of(&one).agrees_with(&Answer::of(&other)), "{name}");
        }
    }

    #[test]
    fn answers_that_differ_in_anything_disagree() {
        let two_shares = |first: &str, second: &str| {
            let result =
                |id: &str| json!({"request": "r", "driver": "d", "pool": "p", "device": "x", "shareID": id});
            json!({"results": [{"devices": {"results": [result(first), result(second)]}}]})
        };
        let no_fit = json!({"noFit": {}});
        for (name, one, other) in [
            ("another device", device(json!({})), device(json!({"device": "y"}))),
            ("a share and none", device(json!({"shareID": "a"})), device(json!({}))),
            ("one share twice", two_shares("a", "b"), two_shares("a", "a")),
            (
                "another amount",
                device(json!({"consumedCapacity": {"memory": "1Gi"}})),
                device(json!({"consumedCapacity": {"memory": "1024Mi"}})),
            ),
            ("fits or not", device(json!({})), no_fit.clone()),
            ("an error or not", json!({"error": "x"}), no_fit.clone()),
            (
                "errors of two kinds",
                json!({"error": "c: could not retrieve device class c"}),
                json!({"error": "x", "kind": "cel"}),
            ),
            ("time-outs say nothing", json!({"timeout": true}), json!({"timeout": true})),
            ("a case that was not understood", json!({"error": "x", "kind": "input"}), json!({"error": "x"})),
            ("an answer without content", json!({}), no_fit),
        ] {
            assert!(!Answer::of(&one).agrees_with(&Answer::of(&other)), "{name}");
        }
    }
}
