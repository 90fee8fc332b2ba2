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
        self.rows.push(cells.iter().map(|cell| line(cell)).collect());
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
            // JSON lets these stand in strings as they are.
            let escape = |character: char| format!("\\u{:04x}", u32::from(character));
            Ok(escaped(&json, |character| character != '\n', escape) + "\n")
        }
    }
}

/// A text that a terminal shows as it is: what would move the cursor, change colours or turn the direction of writing is
/// escaped. Texts of the cluster, such as names of products and Events, are not to be trusted with a terminal.
#[must_use]
pub fn visible(text: &str) -> String {
    escaped(text, |character| character != '\n', |character| character.escape_default().to_string())
}

/// A text of the cluster as a part of one line.
#[must_use]
pub fn line(text: &str) -> String {
    escaped(text, |_| true, |character| character.escape_default().to_string())
}

fn escaped(text: &str, controls: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> String {
    let turns = |character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if (character.is_control() && controls(character)) || turns(character) {
            shown.push_str(&escape(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_cluster_moves_the_cursor() {
        for (name, text, shown, in_line) in [
            ("plain words", "8 GPUs, größer", "8 GPUs, größer", "8 GPUs, größer"),
            ("a colour", "\u{1b}[31mred", "\\u{1b}[31mred", "\\u{1b}[31mred"),
            ("another line", "one\ntwo", "one\ntwo", "one\\ntwo"),
            ("the same line again", "bad\rgood", "bad\\rgood", "bad\\rgood"),
            ("an 8-bit control", "\u{9b}2J", "\\u{9b}2J", "\\u{9b}2J"),
            ("the other direction", "a\u{202e}b", "a\\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(visible(text), shown, "{name}");
            assert_eq!(line(text), in_line, "{name}");
        }
        let mut table = Table::new(&["PRODUCT"]);
        table.row(vec!["H100\nnode2   free\u{1b}[2J".into()]);
        assert_eq!(table.text(), "PRODUCT\nH100\\nnode2   free\\u{1b}[2J\n");
    }

    #[test]
    fn data_has_no_control_characters_either() {
        let hostile = "a\u{1b}[2J\rb\u{9b}\u{7f}";
        let (json, yaml) = (data(Format::Json, &[hostile]).unwrap(), data(Format::Yaml, &[hostile]).unwrap());
        assert_eq!((visible(&json), visible(&yaml)), (json.clone(), yaml.clone()));
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [hostile]);
        assert_eq!(serde_saphyr::from_str::<Vec<String>>(&yaml).unwrap(), [hostile]);
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(&["NODE", "DEVICE"]);
        table.row(vec!["a".into(), "gpu-0000-1b-00-0".into()]);
        table.row(vec!["node-größer".into(), "x".into()]);
        assert_eq!(table.text(), "NODE          DEVICE\na             gpu-0000-1b-00-0\nnode-größer   x\n");
    }
}
