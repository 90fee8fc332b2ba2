//! Takes a JSON object apart field by field, and says which field is wrong and what would be right.

use serde_json::{Map, Value};
use thiserror::Error;

/// Longer texts of users are cut in messages, which end in Events of at most 1024 bytes.
const MOST_QUOTED: usize = 64;

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct Problem {
    /// Its path below the entry of the list of configurations, such as "opaque.parameters.sharing.strategy".
    pub field: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// An object whose fields are taken out one by one. `null` is as good as absent, as it is in Kubernetes.
pub(super) struct Fields<'a> {
    path: String,
    left: Map<String, Value>,
    known: &'a [&'a str],
}

impl<'a> Fields<'a> {
    /// An object that has no fields but the `known`.
    pub(super) fn of(path: &str, value: &Value, known: &'a [&'a str]) -> Result<Self, Problem> {
        let Value::Object(object) = value else {
            return Err(Problem {
                field: path.to_owned(),
                problem: format!("wanted an object with {}, got {}", list(known), described(value)),
            });
        };
        let fields = Self { path: path.to_owned(), left: object.clone(), known };
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(unknown) => {
                Err(Problem { field: format!("{path}.{}", cut(unknown)), problem: fields.unknown(unknown) })
            }
            None => Ok(fields),
        }
    }

    /// The path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// A field of any type, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// A field whose text is one of a few, if it is there.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let chosen = choices.iter().find(|(text, _)| value.as_str() == Some(text));
        chosen.map(|(_, choice)| Some(*choice)).ok_or_else(|| {
            let texts: Vec<&str> = choices.iter().map(|(text, _)| *text).collect();
            Problem {
                field: self.path(name),
                problem: format!("wanted {}, got {}", list(&texts), described(&value)),
            }
        })
    }

    fn unknown(&self, name: &str) -> String {
        let same = |known: &&&str| known.eq_ignore_ascii_case(name);
        match self.known.iter().find(same) {
            Some(meant) => format!("there is no such field; write it {meant:?}"),
            None => format!("there is no such field here; use {}", list(self.known)),
        }
    }
}

/// "'a', 'b' or 'c'".
pub(super) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "no fields".to_owned(),
    }
}

/// A value of a user, short enough for a message.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the truth value {value}"),
        Value::Number(number) => format!("the number {}", cut(&number.to_string())),
        Value::String(text) => format!("{:?}", cut(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A text of a user, short enough for a message.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_QUOTED) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
