//! What stands in the YAML, with the place of each value, before anything is checked.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{Error as YamlError, MessageFormatter, Spanned, UserMessageFormatter};

use super::error::{DescriptionError, Mistake};

/// A node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    /// Driver version.
    pub(super) driver: Spanned<String>,
    /// Cpu list of each NUMA node.
    pub(super) numa_nodes: Vec<Spanned<String>>,
    /// PCI addresses of the NVSwitches.
    #[serde(default)]
    pub(super) nvswitches: Vec<Spanned<String>>,
    /// The GPUs, in any order.
    pub(super) gpus: Spanned<Vec<Gpu>>,
}

/// One GPU.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gpu {
    /// File name in `boards/`.
    pub(super) board: Spanned<String>,
    pub(super) pci: Spanned<String>,
    pub(super) uuid: Spanned<String>,
    pub(super) serial: Spanned<String>,
    pub(super) numa: Spanned<i64>,
    pub(super) pcie_root: Spanned<String>,
    #[serde(default)]
    pub(super) bridges: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) module_id: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) bridged_to: Vec<Bridged>,
    #[serde(default)]
    pub(super) overrides: Overrides,
}

/// NVLinks that go straight to another GPU.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bridged {
    pub(super) pci: Spanned<String>,
    pub(super) links: Spanned<u64>,
}

/// In what this GPU differs from its board. Names and units are the board's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Overrides {
    pub(super) name: Option<Spanned<String>>,
    pub(super) vbios: Option<Spanned<String>>,
    pub(super) memory_mib: Option<Spanned<u64>>,
    pub(super) reserved_mib: Option<Spanned<u64>>,
    pub(super) bar1_mib: Option<Spanned<u64>>,
    pub(super) power: Option<Spanned<crate::model::Power>>,
}

/// Reads YAML.
pub(super) fn read<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, DescriptionError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| DescriptionError::Mistake(Box::new(mistake(&error, text, origin))))
}

fn mistake(error: &YamlError, text: &str, origin: &str) -> Mistake {
    let place = error.location();
    let line = place.map(|place| place.line());
    let (field, what, remedy) = match error.without_snippet() {
        YamlError::SerdeUnknownField { field, expected, .. } => (
            field.clone(),
            "there is no such field".to_owned(),
            format!("the fields here are {}", expected.join(", ")),
        ),
        YamlError::SerdeMissingField { field, .. } => {
            ((*field).to_owned(), "this field is missing".to_owned(), "add it".to_owned())
        }
        other => {
            let what = match other {
                YamlError::InvalidScalar { ty, .. } if ty.starts_with(['i', 'u']) => {
                    "the value is not a whole number, or far too large".to_owned()
                }
                _ => {
                    let message = UserMessageFormatter.format_message(other);
                    message.escape_debug().to_string()
                }
            };
            (
                line.and_then(|line| key_in_line(text, line)).unwrap_or_default(),
                what,
                "correct it; tests/fake-node/descriptions holds examples".to_owned(),
            )
        }
    };
    Mistake { file: origin.to_owned(), line, column: place.map(|place| place.column()), field, what, remedy }
}

/// The key that stands in a line. The YAML library does not say in which field a value of the wrong type stands.
fn key_in_line(text: &str, line: u64) -> Option<String> {
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    let (before, _) = text.lines().nth(index)?.split_once(':')?;
    let key = before.trim_start_matches([' ', '-']).trim();
    Some(key.to_owned())
}
