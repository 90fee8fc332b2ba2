//! The rules of a script, and the log of the requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Uri};
use thiserror::Error;
use tokio::sync::watch;

use super::action::Action;
use super::matching::{Matching, Target, Verb};

/// A request that did not come in time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("waited {within:?} for the script to see {wanted}; it saw: {seen:#?}")]
pub struct Late {
    wanted: String,
    within: Duration,
    seen: Vec<String>,
}

/// Rules about requests, which can be added while clients run, and the log of the requests. Clones are the same
/// script, and clients may share one.
#[derive(Debug, Clone, Default)]
pub struct Script {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Counts the changes of the state.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Entry>,
    log: Vec<Seen>,
    next_rule: usize,
}

#[derive(Debug)]
struct Entry {
    id: usize,
    matching: Matching,
    action: Action,
    /// The requests that matched, whether it was their turn or not.
    matched: usize,
    /// The requests that the rule acted on.
    acted: usize,
    released: watch::Sender<bool>,
}

/// A rule of a script. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Rule {
    script: Script,
    id: usize,
    released: watch::Sender<bool>,
    acted: watch::Receiver<usize>,
    counter: watch::Sender<usize>,
}

/// A request that a client made.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The verb, if it is one of the API's.
    pub verb: Option<Verb>,
    /// The resource with its subresource (`resourceclaims/status`), if the path names one.
    pub resource: Option<String>,
    /// The HTTP method.
    pub method: Method,
    /// The path and the query.
    pub uri: Uri,
    /// The body.
    pub body: Bytes,
    /// What became of the request until now.
    pub fate: Fate,
    target: Target,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is under way, or its caller has given it up.
    Pending,
    /// The server answered with this HTTP status.
    Answered(u16),
    /// The script answered with this HTTP status, and the server saw nothing.
    Scripted(u16),
    /// The script lost it, and the server saw nothing.
    Dropped,
    /// The server answered with this HTTP status, and the script lost the answer.
    AnswerLost(u16),
    /// The connection to the server failed on its own.
    Failed(String),
}

impl Script {
    /// A script without rules: everything passes and is logged.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule. The first rule, in the order of their making, whose turn it is acts on a request; each rule counts
    /// every request that it matches, also where another acts.
    #[must_use = "without the rule, nothing can be released or counted; `let _ =` if that is not wanted"]
    pub fn on(&self, matching: Matching, action: Action) -> Rule {
        let (released, _) = watch::channel(false);
        let (counter, acted) = watch::channel(0);
        let mut state = self.lock();
        let id = state.next_rule;
        state.next_rule += 1;
        state.rules.push(Entry { id, matching, action, matched: 0, acted: 0, released: released.clone() });
        Rule { script: self.clone(), id, released, acted, counter }
    }

    /// The requests until now, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.lock().log.clone()
    }

    /// Those of the requests that match; the turns do not count.
    #[must_use]
    pub fn requests_to(&self, matching: &Matching) -> Vec<Seen> {
        self.lock().log.iter().filter(|seen| matching.covers(&seen.target)).cloned().collect()
    }

    /// Forgets the requests until now, except for what is said of those under way to come.
    pub fn forget(&self) {
        // Kept in place, so that the fate of a request under way finds its entry.
        todo_never();
    }
}
fn todo_never() {}
