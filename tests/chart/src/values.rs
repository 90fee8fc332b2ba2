//! The values of the chart, as the comments in `values.yaml` describe them.

use fs_err as fs;
use serde_json::Value;
use thiserror::Error;

use crate::folder;

/// Why the values cannot be described.
#[derive(Debug, Error)]
pub enum ValuesError {
    /// The file cannot be read.
    #[error("read the chart's values: {0}")]
    Read(#[from] std::io::Error),
    /// The file is no YAML.
    #[error("read the chart's values: {0}")]
    Yaml(#[from] serde_saphyr::Error),
}

/// A value, or a section of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its keys, joined with dots.
    pub path: String,
    /// The comment above it.
    pub comment: String,
    /// Its default; none for a section, whose values are described themselves.
    pub default: Option<Value>,
}

/// The values of `values.yaml`, in order.
///
/// # Errors
/// [`ValuesError`].
pub fn described() -> Result<Vec<Described>, ValuesError> {
    let text = fs::read_to_string(folder().join("values.yaml"))?;
    let defaults: Value = serde_saphyr::from_str(&text)?;
    Ok(describe(&text, &defaults))
}

/// A key that has a comment is described; what lies below one of which no key has a comment belongs to its default.
fn describe(text: &str, defaults: &Value) -> Vec<Described> {
    let mut found: Vec<Described> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    // The keys above the current line, with their indentation.
    let mut above: Vec<(usize, &str)> = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        if let Some(text) = content.strip_prefix('#') {
            comment.push(text.trim());
            continue;
        }
        let words = std::mem::take(&mut comment);
        let Some((key, _)) = content.split_once(':').filter(|_| !words.is_empty()) else { continue };
        let indentation = line.len() - content.len();
        above.retain(|(other, _)| *other < indentation);
        above.push((indentation, key));
        let keys: Vec<&str> = above.iter().map(|(_, key)| *key).collect();
        let default = keys.iter().fold(defaults, |value, key| &value[*key]).clone();
        found.push(Described { path: keys.join("."), comment: words.join(" "), default: Some(default) });
    }
    let paths: Vec<String> = found.iter().map(|value| value.path.clone()).collect();
    for value in &mut found {
        let start = format!("{}.", value.path);
        if paths.iter().any(|path| path.starts_with(&start)) {
            value.default = None;
        }
    }
    found
}

/// The values as tables: one for each section at the top, and one for what is in none.
#[must_use]
pub fn tables(values: &[Described], heading: &str) -> String {
    let mut page = String::new();
    let mut open = false;
    for value in values {
        let is_top = !value.path.contains('.');
        if value.default.is_none() && is_top {
            page += &format!("\n{heading} `{}`\n\n{}\n", value.path, value.comment);
            open = false;
            continue;
        }
        if value.default.is_some() && is_top {
            page +=
                &format!("\n{heading} `{}`\n\n{}\n\nDefault: {}\n", value.path, value.comment, shown(value));
            open = false;
            continue;
        }
        if !open {
            page += "\n| value | default | |\n| --- | --- | --- |\n";
            open = true;
        }
        page += &format!("| `{}` | {} | {} |\n", value.path, shown(value), value.comment.replace('|', "\\|"));
    }
    page
}

/// The default, as a cell of a table.
fn shown(value: &Described) -> String {
    match &value.default {
        None => String::new(),
        Some(default) => format!("`{default}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_what_has_a_comment_and_none_with_a_comment_below() {
        let text = "\
# A section
# of two lines.
one:
  # A number.
  two: 2
  # A map as a whole.
  three:
    four: 4
# A list.
five:
- six: 6
";
        let defaults = json!({"one": {"two": 2, "three": {"four": 4}}, "five": [{"six": 6}]});
        let described: Vec<_> = describe(text, &defaults)
            .into_iter()
            .map(|value| (value.path, value.comment, value.default))
            .collect();
        let expected = [
            ("one", "A section of two lines.", None),
            ("one.two", "A number.", Some(json!(2))),
            ("one.three", "A map as a whole.", Some(json!({"four": 4}))),
            ("five", "A list.", Some(json!([{"six": 6}]))),
        ];
        let expected = expected.map(|(path, comment, value)| (path.to_owned(), comment.to_owned(), value));
        assert_eq!(described, expected);
    }
}
