//! Compiled expressions and what they answered, kept.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::FixedState;

use super::{CompileError, Environment, EvaluationError, Program};

/// How many bytes of expressions are kept. A compiled expression takes many times its text.
const KEPT: usize = 1 << 20;
/// What keeping an expression takes beside its text, in bytes.
const EACH: usize = 256;
/// How many answers of all expressions are kept.
const ANSWERS: usize = 1 << 20;

/// Expressions, kept by environment and text; shared by threads. What does not compile is kept as well.
///
/// When there are too many expressions or answers, the cache starts anew. What is in use lives on.
#[derive(Default)]
pub struct Cache {
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    by_environment: HashMap<Environment, HashMap<Arc<str>, Arc<Expression>>>,
    bytes: usize,
    answers: Arc<AtomicUsize>,
}

impl Cache {
    /// An expression, compiled now if it was not before.
    pub fn get(&self, environment: Environment, text: &str) -> Arc<Expression> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_full()
            && let Some(expression) = kept.by_environment.get(&environment).and_then(|kept| kept.get(text))
        {
            return Arc::clone(expression);
        }
        drop(kept);
        let program = environment.compile(text);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.is_full() {
            *kept = Kept::default();
        }
        let all_answers = Arc::clone(&kept.answers);
        let expression = Arc::new(Expression { program, answers: RwLock::default(), all_answers });
        let of_environment = kept.by_environment.entry(environment).or_default();
        if of_environment.insert(text.into(), Arc::clone(&expression)).is_none() {
            kept.bytes += text.len() + EACH;
        }
        expression
    }
}

impl Kept {
    fn is_full(&self) -> bool {
        self.bytes >= KEPT || self.answers.load(Ordering::Relaxed) >= ANSWERS
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
    /// How many answers all expressions of the cache have together.
    all_answers: Arc<AtomicUsize>,
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
        if answers.insert(number, answer).is_none() {
            self.all_answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}
