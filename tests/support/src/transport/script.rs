//! The rules of a script, and the log of the requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Uri};
use thiserror::Error;
use tokio::sync::watch;

use super::action::Action;
use super::matching::{Matching, Target, Verb};

/// What a test waited for has not happened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("waited {within:?} for {wanted}; the requests until now: {seen:#?}")]
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
    /// Says that the state has changed.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Entry>,
    log: Vec<Seen>,
}

#[derive(Debug)]
struct Entry {
    matching: Matching,
    action: Action,
    /// The requests that matched, whether it was their turn or not.
    matched: usize,
    /// The requests that the rule acted on.
    acted: usize,
    released: bool,
    ended: bool,
}

/// A rule of a script. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Rule {
    script: Script,
    index: usize,
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
    pub fn on(&self, matching: Matching, action: Action) -> Rule {
        let mut state = self.lock();
        state.rules.push(Entry { matching, action, matched: 0, acted: 0, released: false, ended: false });
        Rule { script: self.clone(), index: state.rules.len() - 1 }
    }

    /// The requests until now, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.lock().log.clone()
    }

    /// Those of the requests that match; turns do not count.
    #[must_use]
    pub fn requests_to(&self, matching: &Matching) -> Vec<Seen> {
        self.lock().log.iter().filter(|seen| matching.covers(&seen.target)).cloned().collect()
    }

    /// Returns when at least `count` requests have matched; turns do not count.
    ///
    /// # Errors
    ///
    /// When that has not happened `within` the time.
    pub async fn saw(&self, matching: &Matching, count: usize, within: Duration) -> Result<(), Late> {
        let wanted = format!("{count} requests as {matching:?}");
        let enough =
            |state: &State| state.log.iter().filter(|seen| matching.covers(&seen.target)).count() >= count;
        self.until(wanted, within, enough).await
    }

    /// Logs a request and says which rule acts on it.
    pub(super) fn receive(&self, method: Method, uri: Uri, body: Bytes) -> (usize, Option<(usize, Action)>) {
        let target = Target::of(&method, &uri);
        let mut state = self.lock();
        let mut acting = None;
        for (index, rule) in state.rules.iter_mut().enumerate() {
            if rule.ended || !rule.matching.covers(&target) {
                continue;
            }
            rule.matched += 1;
            if acting.is_none() && rule.matching.turns.include(rule.matched) {
                rule.acted += 1;
                acting = Some((index, rule.action.clone()));
            }
        }
        let Target { verb, resource, .. } = target.clone();
        state.log.push(Seen { verb, resource, method, uri, body, fate: Fate::Pending, target });
        let number = state.log.len() - 1;
        drop(state);
        self.shared.changed.send_replace(());
        (number, acting)
    }

    /// Logs what became of a request.
    pub(super) fn settle(&self, number: usize, fate: Fate) {
        if let Some(seen) = self.lock().log.get_mut(number) {
            seen.fate = fate;
        }
        self.shared.changed.send_replace(());
    }

    /// Returns when the rule has been released.
    pub(super) async fn release_of(&self, rule: usize) {
        let mut changed = self.shared.changed.subscribe();
        while !self.lock().rules[rule].released {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn until(
        &self,
        wanted: String,
        within: Duration,
        holds: impl Fn(&State) -> bool,
    ) -> Result<(), Late> {
        let mut changed = self.shared.changed.subscribe();
        let waiting = async {
            while !holds(&self.lock()) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(within, waiting).await.map_err(|_elapsed| Late {
            wanted,
            within,
            seen: self.lock().log.iter().map(|s| format!("{} {} {:?}", s.method, s.uri, s.fate)).collect(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    /// Lets pass the requests that this rule holds, and those that it would hold from now on.
    pub fn release(&self) {
        self.script.lock().rules[self.index].released = true;
        self.script.shared.changed.send_replace(());
    }

    /// Takes the rule out of the script; requests that it holds go on being held.
    pub fn end(&self) {
        self.script.lock().rules[self.index].ended = true;
    }

    /// How many requests the rule has acted on.
    #[must_use]
    pub fn count(&self) -> usize {
        self.script.lock().rules[self.index].acted
    }

    /// Returns when the rule has acted on at least `count` requests; those may still be under way.
    ///
    /// # Errors
    ///
    /// When that has not happened `within` the time.
    pub async fn reached(&self, count: usize, within: Duration) -> Result<(), Late> {
        let wanted = {
            let state = self.script.lock();
            let rule = &state.rules[self.index];
            format!("{count} requests on which {:?} for {:?} acts", rule.action, rule.matching)
        };
        self.script.until(wanted, within, |state| state.rules[self.index].acted >= count).await
    }
}
