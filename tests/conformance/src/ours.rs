//! Our allocator, as the suite asks it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dra_controller::allocate;
use dra_controller::allocator::Cancel;
use dra_controller::cel::Cache;

use crate::program::{Program, ProgramError};

/// How long a cancelled answer may take to end.
const GRACE: Duration = Duration::from_secs(30);
/// How often the answers that are being worked on are looked at.
const LOOK: Duration = Duration::from_millis(50);

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

/// What a thread works on: since when, and by what it is cancelled.
type Work = Mutex<Option<(Instant, Cancel)>>;

/// Answers side by side.
fn answer_all(cache: &Arc<Cache>, limit: Duration, lines: &[String]) -> Result<Vec<String>, OursError> {
    let lines: Arc<[String]> = lines.into();
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = mpsc::channel();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(lines.len());
    let works: Vec<Arc<Work>> = (0..threads).map(|_| Arc::default()).collect();
    for work in &works {
        let (cache, lines, next, sender, work) =
            (Arc::clone(cache), Arc::clone(&lines), Arc::clone(&next), sender.clone(), Arc::clone(work));
        thread::spawn(move || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(line) = lines.get(at) else { return };
                let cancel = Cancel::default();
                set(&work, Some((Instant::now(), cancel.clone())));
                let answer = answer(line, &cache, &cancel);
                set(&work, None);
                if sender.send((at, answer)).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let mut answers = vec![None; lines.len()];
    let mut open = lines.len();
    while open > 0 {
        let hangs = works.iter().any(|work| cancel_late(work, limit));
        match receiver.recv_timeout(LOOK) {
            Ok((at, answer)) => {
                answers[at] = Some(answer);
                open -= 1;
            }
            Err(RecvTimeoutError::Timeout) if !hangs => {}
            Err(_) => {
                let open = answers.iter().zip(&*lines).filter(|(answer, _)| answer.is_none());
                let cases = open.map(|(_, line)| line.as_str()).take(threads).collect::<Vec<_>>().join("\n");
                return Err(OursError::Hangs { cases });
            }
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

fn set(work: &Work, what: Option<(Instant, Cancel)>) {
    *work.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

/// Cancels what takes too long. Says whether that does not help.
fn cancel_late(work: &Work, limit: Duration) -> bool {
    let work = work.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((began, cancel)) = &*work else { return false };
    let took = began.elapsed();
    if took > limit {
        cancel.set();
    }
    took > limit + GRACE
}

fn answer(line: &str, cache: &Cache, cancel: &Cancel) -> String {
    let reply = allocate::answer(line.as_bytes(), cache, cancel);
    serde_json::to_string(&reply).unwrap_or_else(|error| format!("the answer is no JSON: {error}"))
}
