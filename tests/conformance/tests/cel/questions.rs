//! Questions about expressions, and both sides' answers.

use std::sync::Arc;

use dra_controller::cel::{Device, Environment, EvaluationError};
use dra_controller::model::attribute::{AttributeValue, QualifiedName};
use dra_driver::quantity::Quantity;
use serde_json::{Value, json};

/// An expression for a device, under features.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) expression: String,
    pub(crate) device: Value,
    pub(crate) lists: bool,
}

/// What a side says to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    CompileError(String),
    EvaluationError(String),
    /// Whether the device matches, and the cost.
    Matches(bool, u64),
}

impl Answer {
    /// Whether the two say the same: errors may have other words.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::CompileError(_), Self::CompileError(_))
            | (Self::EvaluationError(_), Self::EvaluationError(_)) => true,
            (Self::Matches(mine, _), Self::Matches(theirs, _)) => mine == theirs,
            _ => false,
        }
    }
}

impl Question {
    /// As the line that the oracle reads.
    pub(crate) fn line(&self) -> String {
        json!({
            "expression": self.expression,
            "device": self.device,
            "features": {"consumableCapacity": true, "listAttributes": self.lists},
        })
        .to_string()
    }

    /// What we say.
    pub(crate) fn ours(&self) -> Answer {
        let environment = Environment { list_attributes: self.lists, consumable_capacity: true };
        let program = match environment.compile(&self.expression) {
            Ok(program) => program,
            Err(error) => return Answer::CompileError(error.to_string()),
        };
        let driver = self.device["driver"].as_str().unwrap();
        let attributes = sorted(&self.device["attributes"], driver, attribute);
        let capacity = sorted(&self.device["capacity"], driver, |value| {
            value["value"].as_str().unwrap().parse::<Quantity>().unwrap()
        });
        let device = Device {
            driver,
            allow_multiple_allocations: self.device["allowMultipleAllocations"].as_bool(),
            attributes: &attributes,
            capacity: &capacity,
        };
        match program.evaluate(&device) {
            (Ok(matches), cost) => Answer::Matches(matches, cost),
            (Err(error @ EvaluationError::CostExceeded { .. }), _) => {
                Answer::EvaluationError(error.to_string())
            }
            (Err(error), _) => Answer::EvaluationError(error.to_string()),
        }
    }
}

fn sorted<T>(of: &Value, driver: &str, value: impl Fn(&Value) -> T) -> Vec<(QualifiedName, T)> {
    let mut named: Vec<_> = of
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, of)| (QualifiedName::resolve(name, driver), value(of)))
        .collect();
    named.sort_by(|one, other| one.0.cmp(&other.0));
    named
}

fn attribute(of: &Value) -> AttributeValue {
    let (kind, value) = of.as_object().unwrap().iter().next().unwrap();
    let each = || value.as_array().unwrap().iter();
    let text = |value: &Value| Arc::<str>::from(value.as_str().unwrap());
    match kind.as_str() {
        "int" => AttributeValue::Int(value.as_i64().unwrap()),
        "bool" => AttributeValue::Bool(value.as_bool().unwrap()),
        "string" => AttributeValue::String(text(value)),
        "version" => match value.as_str().unwrap().parse() {
            Ok(version) => AttributeValue::Version(version),
            Err(_) => AttributeValue::Unreadable("it is no version".into()),
        },
        "ints" => AttributeValue::Ints(each().map(|value| value.as_i64().unwrap()).collect()),
        "bools" => AttributeValue::Bools(each().map(|value| value.as_bool().unwrap()).collect()),
        "strings" => AttributeValue::Strings(each().map(text).collect()),
        "versions" => {
            AttributeValue::Versions(each().map(|value| value.as_str().unwrap().parse().unwrap()).collect())
        }
        other => panic!("no kind of attribute: {other}"),
    }
}

/// What the oracle said.
pub(crate) fn theirs(line: &str) -> Answer {
    let answer: Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    if let Some(error) = text("compileError") {
        return Answer::CompileError(error);
    }
    if let Some(error) = text("evalError") {
        return Answer::EvaluationError(error);
    }
    let matches = answer["result"].as_bool();
    Answer::Matches(
        matches.unwrap_or_else(|| panic!("not an answer: {line}")),
        answer["cost"].as_u64().unwrap_or_default(),
    )
}

/// The device that the table's expressions look at.
pub(crate) fn device(lists: bool) -> Value {
    let mut device = json!({
        "driver": "gpu.example.com",
        "allowMultipleAllocations": true,
        "attributes": {
            "model": {"string": "h100"},
            "index": {"int": 3},
            "numa": {"int": 1},
            "healthy": {"bool": true},
            "shared": {"bool": false},
            "version": {"version": "1.2.3"},
            "gpu.example.com/cores": {"int": 132},
            "other.example.com/rack": {"string": "r1"}
        },
        "capacity": {
            "memory": {"value": "80Gi"},
            "other.example.com/slots": {"value": "7"}
        }
    });
    if lists {
        let attributes = &mut device["attributes"];
        attributes["ports"] = json!({"strings": ["a", "b"]});
        attributes["numas"] = json!({"ints": [0, 1]});
        attributes["flags"] = json!({"bools": [true, false]});
        attributes["versions"] = json!({"versions": ["1.0.0", "2.0.0"]});
    }
    device
}

/// The table of expressions.
pub(crate) fn table() -> Vec<Question> {
    let mut section = "";
    let mut questions = Vec::new();
    for line in include_str!("table.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            continue;
        }
        let (name, expression) = line.split_once('|').unwrap_or_else(|| panic!("no bar: {line}"));
        let lists = section == "attributes that are lists";
        questions.push(Question {
            name: format!("{section}: {}", name.trim()),
            expression: expression.trim().to_owned(),
            device: device(lists),
            lists,
        });
    }
    questions
}
