//! YAML with several documents: read one by one, so that those which need no change keep their text.

use serde_json::Value;

/// A document as it stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Source<'a> {
    /// The line it begins in, from 1.
    pub(super) line: usize,
    /// Its text.
    pub(super) text: &'a str,
}

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document at line {line} is no YAML: {reason}")]
pub struct SyntaxError {
    line: usize,
    reason: String,
}

/// Parts a file at the lines that begin with `---`, as kubectl does. Documents without content are left out.
pub(super) fn documents(text: &str) -> Vec<Source<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut begin, mut first, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let rest = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if rest.is_some() {
            documents.push(Source { line: first, text: &text[begin..at] });
            begin = at + 3;
            first = number + 1;
        }
        at += line.len();
    }
    documents.push(Source { line: first, text: &text[begin..] });
    documents.retain(|document| document.text.lines().any(|line| !is_nothing(line)));
    documents
}

/// Whether a line says nothing: it is empty, or a comment, or ends a document.
fn is_nothing(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line == "..."
}

impl Source<'_> {
    /// What the document says.
    pub(super) fn read(&self) -> Result<Value, SyntaxError> {
        // Numbers such as 0644 mean what they mean to kubectl.
        let options = serde_saphyr::options! { with_snippet: false, legacy_octal_numbers: true };
        serde_saphyr::from_str_with_options(self.text, options).map_err(|error| {
            let below = error
                .location()
                .map_or(0, |location| usize::try_from(location.line()).unwrap_or(1).saturating_sub(1));
            SyntaxError { line: self.line + below, reason: error.to_string() }
        })
    }
}
