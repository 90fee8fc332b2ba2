//! Prometheus' recording and alerting rules.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::{ReadError, chart_files, files};

/// A rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The metric that it records.
    pub record: Option<String>,
    /// The alert that it raises.
    pub alert: Option<String>,
    /// PromQL.
    pub expr: String,
    /// How long the alert waits until it fires.
    pub r#for: Option<String>,
    /// Labels that it adds.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it tells people.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "name")]
    _name: String,
    rules: Vec<Rule>,
}

/// The files that the chart installs.
///
/// # Errors
/// The folder cannot be read.
pub fn paths() -> Result<Vec<PathBuf>, ReadError> {
    files(&chart_files().join("rules"), "yaml")
}

/// All rules in them.
///
/// # Errors
/// One cannot be read.
pub fn all() -> Result<Vec<Rule>, ReadError> {
    let mut rules = Vec::new();
    for path in paths()? {
        let text = fs_err::read_to_string(&path)?;
        let file: File = serde_saphyr::from_str(&text)
            .map_err(|error| ReadError::Form { path: path.clone(), reason: error.to_string() })?;
        rules.extend(file.groups.into_iter().flat_map(|group| group.rules));
    }
    Ok(rules)
}
