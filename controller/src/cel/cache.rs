//! Compiled expressions and what they answered, kept.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::FixedState;

use super::{CompileError, Environment, EvaluationError, Program};

/// How many expressions are kept.
const KEPT: usize = 4096;
/// How many answers of one expression are kept.
const ANSWERS: usize = 65_536;

/// Expressions, kept by environment and text; shared by threads. What does not compile is kept as well.
#[derive(Default)]
pub struct Cache {
    kept: RwLock<HashMap<Environment, HashMap<Arc<str>, Arc<Expression>>>>,
}

impl Cache {
    /// An expression, compiled now if it was not before.
    pub fn get(&self, environment: Environment, text: &str) -> Arc<Expression> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(expression) = kept.get(&environment).and_then(|kept| kept.get(text)) {
            return Arc::clone(expression);
        }
        drop(kept);
        let program = environment.compile(text);
        let expression = Arc::new(Expression { program, answers: RwLock::default() });
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // What is in use lives on; the cache starts anew.
        if kept.values().map(HashMap::len).sum::<usize>() >= KEPT {
            kept.clear();
        }
        kept.entry(environment).or_default().insert(text.into(), Arc::clone(&expression));
        expression
    }
}

impl Debug for Cache {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").finish_non_exhaustive()
    }
}

/// A compiled expression and its answers so far.
#[derive(Debug)]
pub struct Expression {
    program: Result<Program, CompileError>,
    /// By the number of what is asked about.
    answers: RwLock<HashMap<u64, Answer, FixedState>>,
}

/// What an expression answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It is the same for all devices with this number.
    Same(Result<bool, EvaluationError>),
    /// The expression reads what devices have of their own.
    EachItsOwn,
}

impl Expression {
    /// The program, or why there is none.
    pub fn program(&self) -> Result<&Program, &CompileError> {
        self.program.as_ref()
    }

    /// What was answered about a number before.
    #[must_use]
    pub fn answer(&self, number: u64) -> Option<Answer> {
        self.answers.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Keeps what was answered about a number.
    pub fn keep(&self, number: u64, answer: Answer) {
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS {
            answers.clear();
        }
        answers.insert(number, answer);
    }
}
