//! Compiled expressions, kept.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, PoisonError, RwLock};

use super::{CompileError, Environment, Program};

/// How many expressions are kept.
const KEPT: usize = 4096;

type Compiled = Result<Program, CompileError>;

/// Compiled expressions, kept by environment and text; shared by threads. What does not compile is kept as well.
#[derive(Default)]
pub struct Cache {
    kept: RwLock<HashMap<Environment, HashMap<Arc<str>, Compiled>>>,
}

impl Cache {
    /// The compiled expression, compiled now if it was not before.
    pub fn get(&self, environment: Environment, expression: &str) -> Compiled {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = kept.get(&environment).and_then(|kept| kept.get(expression)) {
            return compiled.clone();
        }
        drop(kept);
        let compiled = environment.compile(expression);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // Programs that are in use live on; the cache starts anew.
        if kept.values().map(HashMap::len).sum::<usize>() >= KEPT {
            kept.clear();
        }
        kept.entry(environment).or_default().insert(expression.into(), compiled.clone());
        compiled
    }
}

impl Debug for Cache {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").finish_non_exhaustive()
    }
}
