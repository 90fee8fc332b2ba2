//! Grafana's dashboards.

use serde_json::Value;

use crate::{ReadError, chart_files, files};

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// The name of its file, without the ending.
    pub name: String,
    /// What Grafana imports.
    pub json: Value,
}

/// A query of a panel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Query {
    /// The dashboard's name.
    pub dashboard: String,
    /// The panel's title.
    pub panel: String,
    /// The query's letter.
    pub letter: String,
    /// PromQL, with Grafana's variables.
    pub expression: String,
}

/// All dashboards that the chart installs.
///
/// # Errors
/// One cannot be read.
pub fn all() -> Result<Vec<Dashboard>, ReadError> {
    let read = |path: std::path::PathBuf| {
        let text = fs_err::read_to_string(&path)?;
        let json = serde_json::from_str(&text)
            .map_err(|error| ReadError::Form { path: path.clone(), reason: error.to_string() })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Dashboard { name, json })
    };
    files(&chart_files().join("dashboards"), "json")?.into_iter().map(read).collect()
}

impl Dashboard {
    /// Its panels, without the rows that only order them.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        list(&self.json["panels"]).filter(|panel| panel["type"] != "row")
    }

    /// The variables that users choose.
    pub fn variables(&self) -> impl Iterator<Item = &Value> {
        list(&self.json["templating"]["list"])
    }

    /// All queries of all panels.
    pub fn queries(&self) -> impl Iterator<Item = Query> {
        self.panels().flat_map(|panel| {
            list(&panel["targets"]).map(|target| Query {
                dashboard: self.name.clone(),
                panel: text(&panel["title"]),
                letter: text(&target["refId"]),
                expression: text(&target["expr"]),
            })
        })
    }
}

/// A query with values in the place of Grafana's variables; the longest name first, so that `$__range` does not
/// spoil `$__range_s`.
#[must_use]
pub fn fill_in(expression: &str, values: &[(&str, &str)]) -> String {
    let mut values = values.to_vec();
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    values.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
}

pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
