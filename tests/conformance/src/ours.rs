//! Our allocator, as the suite asks it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use dra_controller::allocate;
use dra_controller::cel::Cache;

use crate::program::{Program, ProgramError};

/// How long a cancelled answer may take to end.
const GRACE: Duration = Duration::from_secs(30);
/// Where our answers come from.
#[derive(Debug)]
pub enum Ours {
    /// The library, in this process.
    Library {
        /// Compiled expressions.
        cache: Arc<Cache>,
        /// After so long an answer is cancelled.
        limit: Duration,
    },
    /// A program that reads cases as `dra-controller allocate --stream` does.
    Program(Program),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OursError {
    /// The program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The library does not end.
    #[error("our allocator does not end, or panics, at one of these cases: {cases}")]
    Hangs {
        /// Those that have no answer.
        cases: String,
    },
}

impl Ours {
    /// Our allocator, with an empty cache; an answer is cancelled after the limit.
    pub fn library(limit: Duration) -> Self {
        Self::Library { cache: Arc::new(Cache::default()), limit }
    }

    /// Answers cases, in their order.
    ///
    /// # Errors
    ///
    /// If the program ends, or the library does not.
    pub fn ask(&mut self, lines: &[String]) -> Result<Vec<String>, OursError> {
        match self {
            Self::Library { cache, limit } => answer_all(cache, *limit, lines),
            Self::Program(program) => Ok(program.ask(lines)?),
        }
    }
}

/// Answers side by side.
fn answer_all(cache: &Arc<Cache>, limit: Duration, lines: &[String]) -> Result<Vec<String>, OursError> {
    let lines: Arc<[String]> = lines.into();
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = mpsc::channel();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(lines.len());
    for _ in 0..threads {
        let (cache, lines, next, sender) =
            (Arc::clone(cache), Arc::clone(&lines), Arc::clone(&next), sender.clone());
        thread::spawn(move || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(line) = lines.get(at) else { return };
                if sender.send((at, answer(line, &cache, limit))).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let mut answers = vec![None; lines.len()];
    for _ in 0..lines.len() {
        let Ok((at, answer)) = receiver.recv_timeout(limit + GRACE) else {
            let open = answers.iter().zip(&*lines).filter(|(answer, _)| answer.is_none());
            let cases = open.map(|(_, line)| line.as_str()).take(threads).collect::<Vec<_>>().join("\n");
            return Err(OursError::Hangs { cases });
        };
        answers[at] = Some(answer);
    }
    Ok(answers.into_iter().flatten().collect())
}

fn answer(line: &str, cache: &Cache, limit: Duration) -> String {
    let reply = allocate::answer(line.as_bytes(), cache, limit);
    serde_json::to_string(&reply).unwrap_or_else(|error| format!("the answer is no JSON: {error}"))
}
