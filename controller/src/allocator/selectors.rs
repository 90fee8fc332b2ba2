//! Expressions, evaluated once for all devices that say the same.

use std::sync::Arc;

use crate::cel::{self, Answer, Environment, EvaluationError, Expression, Program, Read, Reads};
use crate::model::intern::{Device, Shape};
use crate::model::object::Class;

use super::{Cancel, Features};

/// The expressions of classes and requests.
#[derive(Debug)]
pub(super) struct Selectors<'a> {
    environment: Environment,
    cache: &'a cel::Cache,
}

impl<'a> Selectors<'a> {
    pub(super) fn new(features: Features, cache: &'a cel::Cache) -> Self {
        Self { environment: Environment { list_attributes: features.list_attributes }, cache }
    }

    /// An expression, compiled.
    pub(super) fn expression(&self, text: &str) -> Arc<Expression> {
        self.cache.get(self.environment, text)
    }
}

/// Whether an expression selects a device. Nothing, where it would have to be evaluated and the allocation is to end.
pub(crate) fn selects(
    expression: &Expression,
    program: &Program,
    driver: &str,
    device: &Device,
    cancel: &Cancel,
) -> Option<Result<bool, EvaluationError>> {
    let shape = &device.shape;
    let known = expression.answer(shape.number);
    if let Some(Answer::Same(answer)) = known {
        return Some(answer);
    }
    if cancel.is_set() {
        return None;
    }
    let answer = evaluate(program, driver, device);
    if known.is_none() {
        let is_own = reads_own(program.reads(), shape);
        let kept = if is_own { Answer::EachItsOwn } else { Answer::Same(answer.clone()) };
        expression.keep(shape.number, kept);
    }
    Some(answer)
}

/// Whether an expression reads what devices of a shape have of their own.
fn reads_own(reads: &Reads, shape: &Shape) -> bool {
    let Reads::Only(reads) = reads else { return !shape.individual.is_empty() };
    shape.individual.iter().any(|index| {
        let name = &shape.attributes[*index].0;
        let read = Read::Attribute { domain: Arc::clone(&name.domain), name: Arc::clone(&name.name) };
        reads.contains(&read)
    })
}

fn evaluate(program: &Program, driver: &str, device: &Device) -> Result<bool, EvaluationError> {
    let shape = &device.shape;
    let own;
    let attributes = if shape.individual.is_empty() {
        &*shape.attributes
    } else {
        own = device.attributes();
        &own
    };
    program.matches(&cel::Device {
        driver,
        allow_multiple_allocations: shape.allow_multiple_allocations,
        attributes,
        capacity: &shape.amounts,
    })
}

/// Whether a class selects a device of a driver, by itself: without regard to nodes, taints and other claims.
///
/// # Errors
/// What is wrong with a selector, or why it has no answer for the device.
pub fn class_selects(
    class: &Class,
    driver: &str,
    device: &Device,
    features: Features,
    cache: &cel::Cache,
) -> Result<bool, String> {
    let selectors = Selectors::new(features, cache);
    for selector in class.spec.selectors.iter().filter_map(|selector| selector.cel.as_ref()) {
        let expression = selectors.expression(&selector.expression);
        let program = expression.program().map_err(ToString::to_string)?;
        match selects(&expression, program, driver, device, &Cancel::default()) {
            Some(Ok(true)) => {}
            Some(Ok(false)) | None => return Ok(false),
            Some(Err(error)) => return Err(error.to_string()),
        }
    }
    Ok(true)
}
