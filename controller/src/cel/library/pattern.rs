//! Regular expressions, compiled once, kept, and bounded: a short one can be large.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

use super::super::cost::Budget;
use super::super::value::Fault;
use super::translate::translated;

/// How large compiled expressions are, and what they take.
struct Size {
    /// As the compiler counts it, in bytes.
    limit: usize,
    /// The work of compiling one.
    compiling: u64,
    /// The work of running one on a byte of text, where it has to follow all that it may be in.
    running: u64,
    /// How much room one takes among those that are kept.
    room: usize,
}

/// An expression is compiled as the first of these that it fits in. Go takes counts up to 1000 only, which keeps its
/// expressions below the last.
const SIZES: [Size; 3] = [
    Size { limit: 16 << 10, compiling: 1_000, running: 1, room: 1 },
    Size { limit: 256 << 10, compiling: 20_000, running: 32, room: 4 },
    Size { limit: 8 << 20, compiling: 500_000, running: 2_000, room: 64 },
];
/// The room for compiled expressions that are kept.
const ROOM: usize = 512;

/// An expression that was compiled, or why it was not.
#[derive(Debug, Clone)]
pub(in super::super) struct Pattern {
    regex: Result<Arc<Regex>, Fault>,
    size: usize,
}

impl Pattern {
    /// The expression, compiled now unless it is kept. What that takes counts as work, kept or not, so that an
    /// evaluation ends in the same way whatever ran before it.
    pub(in super::super) fn compiled(text: &str, budget: &mut Budget) -> Result<Self, Fault> {
        // Reading it takes memory many times its length.
        budget.work(16 * text.len() as u64)?;
        if let Some(kept) = kept().patterns.get(text).cloned() {
            (0..=kept.size).try_for_each(|size| budget.work(SIZES[size].compiling))?;
            return Ok(kept);
        }
        let translated = translated(text);
        let mut pattern = Self { regex: Err(Fault::new("")), size: 0 };
        for (number, size) in SIZES.iter().enumerate() {
            budget.work(size.compiling)?;
            pattern.size = number;
            let built = translated.as_ref().map_err(|fault| (fault.clone(), false)).and_then(|translated| {
                let mut builder = RegexBuilder::new(translated);
                builder.size_limit(size.limit).dfa_size_limit(1 << 20).build().map_err(|error| {
                    let too_large = matches!(error, regex::Error::CompiledTooBig(_));
                    (Fault::new(format!("error parsing regexp: {error:.200}")), too_large)
                })
            });
            pattern.regex = match built {
                Err((_, true)) if number + 1 < SIZES.len() => continue,
                built => built.map(Arc::new).map_err(|(fault, _)| fault),
            };
            break;
        }
        kept().keep(text, &pattern);
        Ok(pattern)
    }

    /// What finds it in texts, after the work that this takes for one text was counted.
    pub(super) fn for_text(&self, text: &str, budget: &mut Budget) -> Result<&Regex, Fault> {
        let regex = self.valid()?;
        budget.work((text.len() as u64 + 16).saturating_mul(SIZES[self.size].running))?;
        Ok(regex)
    }

    /// What finds it in texts; an error where it is no expression.
    pub(in super::super) fn valid(&self) -> Result<&Regex, Fault> {
        self.regex.as_deref().map_err(Clone::clone)
    }
}

/// The expressions that are kept, for all threads.
#[derive(Default)]
struct Kept {
    patterns: HashMap<Box<str>, Pattern>,
    room: usize,
}

impl Kept {
    fn keep(&mut self, text: &str, pattern: &Pattern) {
        // A long text takes room, too.
        let room = SIZES[pattern.size].room + text.len() / 1024;
        if self.room + room > ROOM {
            *self = Self::default();
        }
        if room <= ROOM && self.patterns.insert(text.into(), pattern.clone()).is_none() {
            self.room += room;
        }
    }
}

fn kept() -> impl std::ops::DerefMut<Target = Kept> {
    static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}
