//! Kubernetes' dialect of CEL for device selectors.
//!
//! ```text
//! text ──▶ syntax (the crate `cel`) ──▶ special: macros ──▶ check: types, overloads ──▶ plan ──▶ evaluate
//!                                                             signatures, types          │        library, cost
//!                                                                                        └──▶ reads
//! ```
//!
//! The crate `cel` reads an expression. Types, costs and functions are here: Kubernetes refuses an expression by its
//! types before it runs, and counts what it costs while it runs, and the crate does neither.

use std::collections::BTreeSet;
use std::sync::Arc;

use dra_driver::quantity::Quantity;

use self::value::{Fatal, Fault, Value};
use crate::model::attribute::{AttributeValue, QualifiedName};

mod anatomy;
mod cache;
mod check;
mod cost;
mod device;
mod evaluate;
mod library;
mod map;
mod plan;
mod reads;
mod signatures;
mod special;
mod syntax;
#[cfg(test)]
mod tests;
mod types;
mod value;
mod written;

pub use anatomy::{Anatomy, Edit, FalsePart};
pub use cache::{Answer, Cache, Expression};
pub use cost::LIMIT as COST_LIMIT;
pub use written::quoted;

/// What expressions mean.
///
/// Feature gates decide what may be written into the cluster, which the API server checks. What is stored is run as the
/// scheduler runs it: `device.allowMultipleAllocations` and `includes` are there whatever the gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Environment {
    /// Attributes may be lists, so that their types are unknown in another way (`DRAListTypeAttributes`).
    pub list_attributes: bool,
}

impl Environment {
    /// Compiles an expression, or says what is wrong with it.
    pub fn compile(&self, expression: &str) -> Result<Program, CompileError> {
        syntax::on_deep_stack(|| {
            let parsed = syntax::parsed(expression)?;
            let checked = check::check(*self, &parsed)?;
            let bool_comes_out = match checked.output {
                types::Type::Bool | types::Type::Any => true,
                types::Type::Dyn => self.list_attributes,
                _ => false,
            };
            if !bool_comes_out {
                let message = format!("must evaluate to bool or the unknown type, not {}", checked.output);
                return Err(CompileError::new(message));
            }
            let reads = reads::of(&checked.node);
            Ok(Program(Arc::new(Compiled {
                node: checked.node,
                variables: checked.variables,
                reads,
                list_attributes: self.list_attributes,
            })))
        })
    }
}

/// Why an expression does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("compilation failed: {message}")]
pub struct CompileError {
    message: String,
}

/// How long an error may be, in bytes: names and texts of an expression can be as long as it is.
const LONGEST_ERROR: usize = 1_000;

impl CompileError {
    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    fn new(message: impl Into<String>) -> Self {
        Self { message: shortened(message.into()) }
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > LONGEST_ERROR {
        let end = (0..=LONGEST_ERROR).rfind(|end| message.is_char_boundary(*end)).unwrap_or_default();
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}

/// Why an expression has no answer for a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// It failed.
    #[error("{0}")]
    Failed(Arc<str>),
    /// It would cost more than Kubernetes allows.
    #[error("operation cancelled: the expression costs more than {limit}")]
    CostExceeded {
        /// What is allowed.
        limit: u64,
    },
}

/// A compiled expression: cheap to clone, shared by threads.
#[derive(Debug, Clone)]
pub struct Program(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    node: plan::Node,
    variables: usize,
    reads: Reads,
    list_attributes: bool,
}

impl Program {
    /// Whether a device matches.
    pub fn matches(&self, device: &Device<'_>) -> Result<bool, EvaluationError> {
        self.evaluate(device).0
    }

    /// Whether a device matches, and what it cost to find out.
    pub fn evaluate(&self, device: &Device<'_>) -> (Result<bool, EvaluationError>, u64) {
        if let Some(error) = self.unreadable(device) {
            return (Err(error), 0);
        }
        let (outcome, cost) = evaluate::run(&self.0.node, self.0.variables, device);
        let matches = match outcome {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(other) => {
                let message =
                    format!("CEL result of type {} could not be converted to bool", other.type_name());
                Err(EvaluationError::Failed(message.into()))
            }
            Err(Fault::Error(message)) => {
                Err(EvaluationError::Failed(shortened(message.into_owned()).into()))
            }
            Err(Fault::Fatal(Fatal::Exceeded)) => Err(EvaluationError::CostExceeded { limit: COST_LIMIT }),
            Err(Fault::Fatal(Fatal::Internal)) => {
                Err(EvaluationError::Failed("internal error, as Kubernetes has it here".into()))
            }
        };
        (matches, cost)
    }

    /// What makes a device unreadable for every expression.
    fn unreadable(&self, device: &Device<'_>) -> Option<EvaluationError> {
        let (name, why) = device.attributes.iter().find_map(|(name, value)| match value {
            AttributeValue::Unreadable(why) => Some((name, &**why)),
            AttributeValue::Ints(_)
            | AttributeValue::Bools(_)
            | AttributeValue::Strings(_)
            | AttributeValue::Versions(_)
                if !self.0.list_attributes =>
            {
                Some((name, "unsupported attribute value"))
            }
            _ => None,
        })?;
        Some(EvaluationError::Failed(format!("attribute {name}: {why}").into()))
    }

    /// What of a device the answer may depend on.
    #[must_use]
    pub fn reads(&self) -> &Reads {
        &self.0.reads
    }
}

/// What of a device an expression may read. More may be named than is read, never less.
///
/// Whatever is named here, an attribute that is [`AttributeValue::Unreadable`] (or a list where lists are off) makes
/// every expression fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    /// All of it.
    Everything,
    /// Only these.
    Only(BTreeSet<Read>),
}

/// One thing of a device that is read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Read {
    /// The driver's name.
    Driver,
    /// Whether it may be allocated several times.
    AllowMultipleAllocations,
    /// An attribute: whether it is there, and its value.
    Attribute {
        /// The domain.
        domain: Arc<str>,
        /// The name in the domain.
        name: Arc<str>,
    },
    /// A capacity: whether it is there, and its value.
    Capacity {
        /// The domain.
        domain: Arc<str>,
        /// The name in the domain.
        name: Arc<str>,
    },
}

/// A device as expressions see it.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    /// The driver's name.
    pub driver: &'a str,
    /// Whether it may be allocated several times.
    pub allow_multiple_allocations: Option<bool>,
    /// Its attributes, sorted by name.
    pub attributes: &'a [(QualifiedName, AttributeValue)],
    /// Its capacity, sorted by name.
    pub capacity: &'a [(QualifiedName, Quantity)],
}
