//! Reads the text of an expression.

use cel::{Env, IdedExpr};

use super::CompileError;

/// How long an expression may be. (The API server takes 10 KiB.)
const LONGEST: usize = 100_000;
/// How deep brackets may be nested.
const DEPTH: u16 = 250;
/// The stack of the thread that compiles: the parser and what it makes nest as deep as the text can.
const STACK: usize = 1 << 30;

/// Does something that may nest deeper than the stack of an ordinary thread allows.
pub(super) fn on_deep_stack<T: Send>(
    work: impl FnOnce() -> Result<T, CompileError> + Send,
) -> Result<T, CompileError> {
    let failed = |what: &str| CompileError::new(format!("the compiler {what}"));
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("cel".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| failed(&format!("has no thread: {error}")))?
            .join()
            .map_err(|_| failed("panicked"))?
    })
}

/// The expression that a text is.
pub(super) fn parsed(text: &str) -> Result<IdedExpr, CompileError> {
    if text.len() > LONGEST {
        return Err(CompileError::new(format!("the expression is longer than {LONGEST} bytes")));
    }
    // An empty environment has no macros: Kubernetes has others than the crate, and they are in `special`.
    let parser = Env::default().parser().enable_optional_syntax(true).max_recursion_depth(DEPTH);
    parser.error_recovery_limit(0).parse(text).map_err(|errors| {
        // The first error alone, without the text: there may be many, and the text is long.
        let message = errors.errors.first().map_or_else(
            || "it cannot be read".to_owned(),
            |error| format!("line {}, column {}: {}", error.pos.0, error.pos.1, error.msg),
        );
        CompileError::new(message)
    })
}
