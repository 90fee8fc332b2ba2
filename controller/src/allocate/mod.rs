//! `allocate`: answers cases that are given as JSON, so that suites of others can be pointed at the allocator.

pub mod case;

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::resource::v1::AllocationResult;
use serde::Serialize;
use serde_json::Value;

use crate::allocator::{Allocator, Answer, Cancel, Reasons};
use crate::arguments::AllocateOptions;
use crate::cel::Cache;
use case::{Case, Prepared};

/// What is printed for a case.
#[derive(Debug, Serialize)]
pub struct Reply {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What came out.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// What each claim gets.
    Fits {
        /// In the order of the claims.
        results: Vec<AllocationResult>,
    },
    /// The claims do not fit.
    NoFit {
        /// Why.
        #[serde(rename = "noFit")]
        no_fit: Reasons,
    },
    /// There is no answer.
    Error {
        /// Why, for people.
        error: String,
        /// Of which kind that is.
        kind: &'static str,
        /// Other nodes may have an answer.
        #[serde(rename = "oneNode", skip_serializing_if = "std::ops::Not::not")]
        one_node: bool,
    },
}

impl Outcome {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Fits { .. } => ExitCode::SUCCESS,
            Self::NoFit { .. } => ExitCode::from(1),
            Self::Error { .. } => ExitCode::from(2),
        }
    }
}

/// Answers the case, or all cases, on standard input.
///
/// # Errors
/// When standard input cannot be read or standard output cannot be written.
pub fn run(options: &AllocateOptions) -> Result<ExitCode> {
    let cache = Cache::default();
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    if options.stream {
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).context("cannot read standard input")? > 0 {
            if !line.trim_ascii().is_empty() {
                print(&answer(&line, &cache, options.timeout), &mut output)?;
            }
            line.clear();
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = Vec::new();
    input.read_to_end(&mut text).context("cannot read standard input")?;
    let reply = answer(&text, &cache, options.timeout);
    print(&reply, &mut output)?;
    Ok(reply.outcome.exit_code())
}

fn print(reply: &Reply, output: &mut impl Write) -> Result<()> {
    let mut line = serde_json::to_vec(reply).context("cannot write an answer")?;
    line.push(b'\n');
    output.write_all(&line).and_then(|()| output.flush()).context("cannot write to standard output")
}

/// The answer to one case.
#[must_use]
pub fn answer(text: &[u8], cache: &Cache, timeout: Duration) -> Reply {
    let mut decoder = serde_json::Deserializer::from_slice(text);
    let case: Result<Case, _> = serde_path_to_error::deserialize(&mut decoder);
    match case.map(Case::prepared) {
        Ok(mut prepared) => Reply { id: prepared.id.take(), outcome: outcome(&prepared, cache, timeout) },
        Err(error) => {
            let error = format!("this is no case: at {}: {}", error.path(), error.inner());
            Reply { id: None, outcome: Outcome::Error { error, kind: "input", one_node: false } }
        }
    }
}

fn outcome(case: &Prepared, cache: &Cache, timeout: Duration) -> Outcome {
    let allocator = Allocator::new(case.features, &case.inventory, &case.classes, &case.allocated, cache);
    let cancel = Instant::now().checked_add(timeout).map_or_else(Cancel::default, Cancel::at);
    let claims: Vec<_> = case.claims.iter().collect();
    match allocator.allocate(case.node.as_ref(), &claims, &cancel) {
        Ok(Answer::Fits(results)) => Outcome::Fits { results },
        Ok(Answer::NoFit(no_fit)) => Outcome::NoFit { no_fit },
        Err(error) => Outcome::Error {
            error: error.to_string(),
            kind: error.kind(),
            one_node: error.is_about_one_node(),
        },
    }
}
