//! How things are printed.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::arguments::Format;

/// A table, whose columns are as wide as what is in them.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads of columns.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            let line: String = cells.map(|(cell, width)| format!("{cell:<width$}   ")).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Prints something as data; a table is the caller's affair.
///
/// # Errors
/// When it cannot be written as such.
pub fn data(format: Format, value: &impl Serialize) -> Result<String> {
    match format {
        Format::Yaml => serde_saphyr::to_string(value).context("cannot write YAML"),
        _ => {
            let json = serde_json::to_string_pretty(value).context("cannot write JSON")?;
            Ok(json + "\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(&["NODE", "DEVICE"]);
        table.row(vec!["a".into(), "gpu-0000-1b-00-0".into()]);
        table.row(vec!["node-größer".into(), "x".into()]);
        assert_eq!(table.text(), "NODE          DEVICE\na             gpu-0000-1b-00-0\nnode-größer   x\n");
    }
}
