//! Expressions, evaluated once for all devices that say the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::cel::{self, CompileError, Environment, EvaluationError, Program, Read, Reads};
use crate::model::intern::{Device, Shape};

use super::Features;

/// The expressions of classes and requests.
#[derive(Debug)]
pub(super) struct Selectors<'a> {
    environment: Environment,
    cache: &'a cel::Cache,
    known: Mutex<HashMap<Arc<str>, Arc<Expression>>>,
}

/// An expression and its answers so far.
#[derive(Debug)]
pub(super) struct Expression {
    program: Result<Program, CompileError>,
    /// By the address of the shape, which lives as long as the inventory: longer than this.
    by_shape: RwLock<HashMap<usize, ShapeAnswer>>,
}

#[derive(Debug, Clone)]
enum ShapeAnswer {
    /// It is the same for all devices of the shape.
    Same(Result<bool, EvaluationError>),
    /// The expression reads what devices have of their own.
    EachItsOwn,
}

impl<'a> Selectors<'a> {
    pub(super) fn new(features: Features, cache: &'a cel::Cache) -> Self {
        let environment = Environment {
            list_attributes: features.list_attributes,
            consumable_capacity: features.consumable_capacity,
        };
        Self { environment, cache, known: Mutex::default() }
    }

    /// An expression, compiled.
    pub(super) fn expression(&self, text: &Arc<str>) -> Arc<Expression> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expression) = known.get(text) {
            return Arc::clone(expression);
        }
        let program = self.cache.get(self.environment, text);
        let expression = Arc::new(Expression { program, by_shape: RwLock::default() });
        known.insert(Arc::clone(text), Arc::clone(&expression));
        expression
    }
}

impl Expression {
    /// Why it cannot be asked.
    pub(super) fn problem(&self) -> Option<&CompileError> {
        self.program.as_ref().err()
    }

    /// Whether a device matches. An expression that does not compile matches none.
    pub(super) fn matches(&self, driver: &str, device: &Device) -> Result<bool, EvaluationError> {
        let Ok(program) = &self.program else { return Ok(false) };
        let key = Arc::as_ptr(&device.shape).addr();
        let known = self.by_shape.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        match known {
            Some(ShapeAnswer::Same(answer)) => return answer,
            Some(ShapeAnswer::EachItsOwn) => return evaluate(program, driver, device),
            None => {}
        }
        let answer = evaluate(program, driver, device);
        let kept = if reads_own(program.reads(), &device.shape) {
            ShapeAnswer::EachItsOwn
        } else {
            ShapeAnswer::Same(answer.clone())
        };
        self.by_shape.write().unwrap_or_else(PoisonError::into_inner).insert(key, kept);
        answer
    }
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
