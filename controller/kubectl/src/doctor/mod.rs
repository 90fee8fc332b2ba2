//! `doctor`: what is wrong with an installation, and what to do.
//!
//! ```text
//! cluster ──▶ collect: Facts ──▶ checks of the cluster, the driver's parts, each node ──▶ table, JSON, YAML
//! ```

mod cluster;
mod facts;
mod nodes;
mod parts;
#[cfg(test)]
mod tests;

use anyhow::Result;
use serde::Serialize;

use crate::arguments::{Format, Global};
use crate::connect::Connection;
use crate::output;
use crate::read::Read;

pub use facts::{Facts, Program};
pub(crate) use facts::{collect, pods};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It cannot be seen from outside of the node.
    Unseen,
    /// It works, less well than it could.
    Warning,
    /// It does not work.
    Problem,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unseen => "unseen",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The thing.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// How it is.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, message: message.into(), fix: None }
    }

    fn warning(name: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Warning, message: message.into(), fix: Some(fix.into()) }
    }

    fn problem(name: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Problem, message: message.into(), fix: Some(fix.into()) }
    }

    fn unseen(name: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Unseen, message: message.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything. What is found, in the format that is asked for, and whether there is a problem.
///
/// # Errors
/// When the cluster cannot be read.
pub async fn doctor(connection: &Connection, read: Read, global: &Global) -> Result<(String, bool)> {
    let facts = collect(connection, read, &global.driver_name).await?;
    let checks = checks(&facts);
    let is_ill = checks.iter().any(|check| check.level == Level::Problem);
    let text = match global.output {
        Format::Table | Format::Wide => words(&checks),
        format => output::data(format, &checks)?,
    };
    Ok((text, is_ill))
}

/// All that is found.
#[must_use]
pub fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = cluster::checks(facts);
    checks.extend(parts::checks(facts));
    checks.extend(nodes::checks(facts));
    checks
}

/// Some of several names, for a line.
fn some(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// How many of something.
fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The checks for people.
pub(crate) fn words(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        text.push_str(&format!("{:<8} {}: {}\n", check.level.word(), check.name, check.message));
        if let Some(fix) = &check.fix {
            text.push_str(&format!("         → {fix}\n"));
        }
    }
    let count = |level: Level| checks.iter().filter(|check| check.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    text.push_str(&format!("\n{}, {}.\n", counted(problems, "problem"), counted(warnings, "warning")));
    text
}
