//! Compiled expressions, kept.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, PoisonError, RwLock};

use super::{CompileError, Environment, Program};

/// How many bytes of expressions are kept. A compiled expression takes many times its text.
const KEPT: usize = 1 << 20;
/// What keeping an expression takes beside its text, in bytes.
const EACH: usize = 256;

type Compiled = Result<Program, CompileError>;

/// Compiled expressions, kept by environment and text; shared by threads. What does not compile is kept as well.
#[derive(Default)]
pub struct Cache {
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    by_environment: HashMap<Environment, HashMap<Arc<str>, Compiled>>,
    bytes: usize,
}

impl Cache {
    /// The compiled expression, compiled now if it was not before.
    pub fn get(&self, environment: Environment, expression: &str) -> Compiled {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = kept.by_environment.get(&environment).and_then(|kept| kept.get(expression)) {
            return compiled.clone();
        }
        drop(kept);
        let compiled = environment.compile(expression);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // Programs that are in use live on; the cache starts anew.
        if kept.bytes >= KEPT {
            *kept = Kept::default();
        }
        let of_environment = kept.by_environment.entry(environment).or_default();
        if of_environment.insert(expression.into(), compiled.clone()).is_none() {
            kept.bytes += expression.len() + EACH;
        }
        compiled
    }
}

impl Debug for Cache {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").finish_non_exhaustive()
    }
}
