//! A lane: one thread that makes all calls on one thing, so that a call that never returns costs nobody else.
//!
//! ```text
//! caller ──submit──▶ bounded queue ──▶ the lane's thread ──▶ NVML
//!    ▲                                        │
//!    └── answer, or the deadline, whichever is first
//! ```
//!
//! A deadline frees the caller, not the call. A call that was still queued is taken out and never happens. A
//! read that returns late is dropped. A write that returns late leaves the lane *out of step*: what it changed
//! is unknown, so nothing but [`Lane::resync`] is taken until the state was read again. While a call overruns,
//! every new call is refused at once.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

/// How many calls may wait in a lane. A lane's calls take milliseconds, and its callers are few (health,
/// metrics, prepare, discovery): a longer queue means that something is wrong, and waiting makes it worse.
const QUEUE: usize = 16;

/// Why a lane gave no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LaneError {
    /// The deadline passed. With `started` the call may still take effect.
    #[error(
        "{lane}: '{call}' {} within {} ms",
        if *.started { "did not return" } else { "did not get its turn" },
        .within.as_millis()
    )]
    Timeout {
        /// The lane's name.
        lane: Arc<str>,
        /// The call that was asked for.
        call: &'static str,
        /// The time that it was given.
        within: Duration,
        /// Whether the call had begun.
        started: bool,
    },
    /// An earlier call overran its deadline and has not returned, or the queue is full.
    #[error("{lane}: busy with '{running}' for {} ms; '{call}' was not begun", .elapsed.as_millis())]
    Busy {
        /// The lane's name.
        lane: Arc<str>,
        /// The call that was asked for.
        call: &'static str,
        /// The call that runs.
        running: &'static str,
        /// For how long it has run.
        elapsed: Duration,
    },
    /// A write overran its deadline, and the state was not read again since.
    #[error("{lane}: the outcome of '{write}' is unknown; the state must be read again before '{call}'")]
    OutOfStep {
        /// The lane's name.
        lane: Arc<str>,
        /// The call that was asked for.
        call: &'static str,
        /// The write whose outcome is unknown.
        write: &'static str,
    },
    /// The call panicked.
    #[error("{lane}: '{call}' panicked; this is a defect of the driver, please report it")]
    Panicked {
        /// The lane's name.
        lane: Arc<str>,
        /// The call that was asked for.
        call: &'static str,
    },
    /// The lane was given up, for example because the session was closed, before the call got its turn.
    #[error("{lane}: closed before '{call}' began")]
    Closed {
        /// The lane's name.
        lane: Arc<str>,
        /// The call that was asked for.
        call: &'static str,
    },
    /// The lane's thread could not be started.
    #[error("{lane}: cannot start a thread: {reason}; check the limit on processes (pids cgroup, ulimit -u)")]
    NoThread {
        /// The lane's name.
        lane: Arc<str>,
        /// What the operating system said.
        reason: String,
    },
}

/// A thread with a bounded queue of calls on a `C`, which it owns.
pub struct Lane<C> {
    shared: Arc<Shared<C>>,
}

/// Tells what a lane does, also when the lane was dropped and its thread is still in a call.
pub(super) struct Watcher<C>(Arc<Shared<C>>);

impl<C> Watcher<C> {
    /// The lane and the call that runs, for people.
    pub(super) fn running(&self) -> Option<String> {
        let running = self.0.lock().running?;
        Some(format!("{} ({})", self.0.name, running.call))
    }
}

/// A call that was handed to a lane.
#[must_use = "a call whose answer nobody waits for runs without a deadline"]
pub struct Pending<T, C> {
    shared: Arc<Shared<C>>,
    id: u64,
    call: &'static str,
    kind: Kind,
    within: Duration,
    deadline: Instant,
    answer: Receiver<T>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Resync,
}

struct Shared<C> {
    name: Arc<str>,
    state: Mutex<State<C>>,
    wake: Condvar,
}

struct State<C> {
    queue: VecDeque<Queued<C>>,
    running: Option<Running>,
    /// The write whose outcome is unknown.
    out_of_step: Option<Lost>,
    /// No more calls will come: the thread ends.
    closed: bool,
    next_id: u64,
}

struct Queued<C> {
    id: u64,
    call: &'static str,
    kind: Kind,
    work: Box<dyn FnOnce(&C) + Send>,
}

#[derive(Clone, Copy)]
struct Lost {
    id: u64,
    write: &'static str,
}

#[derive(Clone, Copy)]
struct Running {
    id: u64,
    call: &'static str,
    since: Instant,
    /// Its caller has gone.
    overrun: bool,
}

impl<C: 'static> Lane<C> {
    /// Starts the lane's thread. `make` runs in it and makes what the calls work on; it is the lane's first
    /// call, and its answer is returned within the deadline like any other.
    ///
    /// # Errors
    /// The lane's own error, or the error of `make`.
    pub fn start<E: From<LaneError> + Send + 'static>(
        name: impl Into<Arc<str>>,
        within: Duration,
        make: impl FnOnce() -> Result<C, E> + Send + 'static,
    ) -> Result<Self, E> {
        const START: &str = "start";
        let name = name.into();
        let now = Instant::now();
        let shared = Arc::new(Shared {
            name: Arc::clone(&name),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                running: Some(Running { id: 0, call: START, since: now, overrun: false }),
                out_of_step: None,
                closed: false,
                next_id: 1,
            }),
            wake: Condvar::new(),
        });
        let (started, answer) = mpsc::sync_channel(1);
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name(name.to_string())
            .spawn(move || {
                let Ok(made) = catch_unwind(AssertUnwindSafe(make)) else {
                    return;
                };
                match made {
                    Ok(context) => {
                        let _ = started.send(Ok(()));
                        of_thread.finish_running();
                        of_thread.run(&context);
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            })
            .map_err(|error| LaneError::NoThread { lane: Arc::clone(&name), reason: error.to_string() })?;
        let lane = Self { shared: Arc::clone(&shared) };
        let pending =
            Pending { shared, id: 0, call: START, kind: Kind::Read, within, deadline: now + within, answer };
        pending.wait()??;
        Ok(lane)
    }

    /// The lane's name, which is also its thread's.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Hands over a call that changes nothing.
    ///
    /// # Errors
    /// `Busy` and `OutOfStep`, at once.
    pub fn submit_read<T: Send + 'static>(
        &self,
        call: &'static str,
        within: Duration,
        work: impl FnOnce(&C) -> T + Send + 'static,
    ) -> Result<Pending<T, C>, LaneError> {
        self.submit(call, Kind::Read, within, work)
    }

    /// Makes a call that changes nothing, and waits for its answer or the deadline.
    ///
    /// # Errors
    /// Any [`LaneError`].
    pub fn read<T: Send + 'static>(
        &self,
        call: &'static str,
        within: Duration,
        work: impl FnOnce(&C) -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        self.submit(call, Kind::Read, within, work)?.wait()
    }

    /// Makes a call that changes something, and waits for its answer or the deadline. After a `Timeout` with
    /// `started`, or a panic, the lane is out of step.
    ///
    /// # Errors
    /// Any [`LaneError`].
    pub fn write<T: Send + 'static>(
        &self,
        call: &'static str,
        within: Duration,
        work: impl FnOnce(&C) -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        self.submit(call, Kind::Write, within, work)?.wait()
    }

    /// Reads the state again after a write whose outcome is unknown. The lane is in step again when `work`
    /// returned `Ok` before the deadline.
    ///
    /// # Errors
    /// Any [`LaneError`] except `OutOfStep`.
    pub fn resync<T: Send + 'static, E: Send + 'static>(
        &self,
        call: &'static str,
        within: Duration,
        work: impl FnOnce(&C) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, LaneError> {
        let read = self.submit(call, Kind::Resync, within, work)?.wait()?;
        if read.is_ok() {
            self.shared.lock().out_of_step = None;
        }
        Ok(read)
    }

    /// The write whose outcome is unknown, if there is one.
    pub fn out_of_step(&self) -> Option<&'static str> {
        self.shared.lock().out_of_step.map(|lost| lost.write)
    }

    /// Somebody who can tell what the lane does when it is dropped.
    pub(super) fn watcher(&self) -> Watcher<C> {
        Watcher(Arc::clone(&self.shared))
    }

    /// The lane and the call that runs, for people.
    pub fn running(&self) -> Option<String> {
        self.watcher().running()
    }

    fn submit<T: Send + 'static>(
        &self,
        call: &'static str,
        kind: Kind,
        within: Duration,
        work: impl FnOnce(&C) -> T + Send + 'static,
    ) -> Result<Pending<T, C>, LaneError> {
        let (sender, answer) = mpsc::sync_channel(1);
        let mut state = self.shared.lock();
        let stuck = state.running.is_some_and(|running| running.overrun);
        if stuck || state.queue.len() >= QUEUE {
            return Err(LaneError::Busy {
                lane: Arc::clone(&self.shared.name),
                call,
                running: state.running.map_or("queued calls", |running| running.call),
                elapsed: state.running.map_or(Duration::ZERO, |running| running.since.elapsed()),
            });
        }
        if let Some(Lost { write, .. }) = state.out_of_step
            && kind != Kind::Resync
        {
            return Err(LaneError::OutOfStep { lane: Arc::clone(&self.shared.name), call, write });
        }
        let id = state.next_id;
        state.next_id += 1;
        state.queue.push_back(Queued {
            id,
            call,
            kind,
            // The receiver is gone when the caller gave up: a late answer is dropped here.
            work: Box::new(move |context| drop(sender.send(work(context)))),
        });
        drop(state);
        self.shared.wake.notify_one();
        Ok(Pending {
            shared: Arc::clone(&self.shared),
            id,
            call,
            kind,
            within,
            deadline: Instant::now() + within,
            answer,
        })
    }
}

impl<C> Drop for Lane<C> {
    /// Lets the thread end after the call that it is in, and does not wait for that.
    fn drop(&mut self) {
        let queued = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.queue)
        };
        self.shared.wake.notify_one();
        drop(queued);
    }
}

impl<C> fmt::Debug for Lane<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl<T, C> Pending<T, C> {
    /// Waits for the answer or the deadline, which began when the call was handed over.
    ///
    /// # Errors
    /// `Timeout`, `Panicked`, and `OutOfStep` if a write that was queued before this call lost its outcome.
    pub fn wait(self) -> Result<T, LaneError> {
        match self.answer.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => self.give_up(),
            Err(RecvTimeoutError::Disconnected) => Err(self.lost()),
        }
    }

    fn give_up(self) -> Result<T, LaneError> {
        let mut state = self.shared.lock();
        match self.answer.try_recv() {
            Ok(answer) => return Ok(answer),
            Err(TryRecvError::Disconnected) => {
                drop(state);
                return Err(self.lost());
            }
            Err(TryRecvError::Empty) => {}
        }
        let queued = state.queue.iter().position(|queued| queued.id == self.id);
        let withdrawn = queued.and_then(|position| state.queue.remove(position));
        let started = state.running.as_mut().is_some_and(|running| {
            let ours = running.id == self.id;
            running.overrun |= ours;
            ours
        });
        if started && self.kind == Kind::Write {
            state.out_of_step = Some(Lost { id: self.id, write: self.call });
        }
        drop(state);
        drop(withdrawn);
        if started {
            tracing::warn!(lane = %self.shared.name, call = self.call, "call overran its deadline");
        }
        Err(LaneError::Timeout {
            lane: Arc::clone(&self.shared.name),
            call: self.call,
            within: self.within,
            started,
        })
    }

    /// The call was dropped without an answer: it panicked, or it was thrown out of the queue.
    fn lost(&self) -> LaneError {
        let lane = Arc::clone(&self.shared.name);
        let call = self.call;
        let state = self.shared.lock();
        match state.out_of_step {
            Some(Lost { id, write }) if id != self.id => LaneError::OutOfStep { lane, call, write },
            _ if state.closed => LaneError::Closed { lane, call },
            _ => LaneError::Panicked { lane, call },
        }
    }
}

impl<T, C> fmt::Debug for Pending<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("call", &self.call).finish_non_exhaustive()
    }
}

impl<C> Shared<C> {
    /// Nothing that runs under the lock can panic halfway, so a poisoned lock still guards whole data.
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish_running(&self) {
        self.lock().running = None;
    }

    fn run(&self, context: &C) {
        while let Some(next) = self.next() {
            let Queued { id, call, kind, work } = next;
            let panicked = catch_unwind(AssertUnwindSafe(|| work(context))).is_err();
            let mut state = self.lock();
            state.running = None;
            if panicked && kind == Kind::Write {
                state.out_of_step = Some(Lost { id, write: call });
            }
        }
    }

    /// Waits for the next call. None when the lane was dropped.
    fn next(&self) -> Option<Queued<C>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if state.out_of_step.is_some() && state.queue.iter().any(|queued| queued.kind != Kind::Resync) {
                // They were handed over before the write lost its outcome, and would work on unknown state.
                // Dropped outside the lock: what they hold may have a destructor of its own.
                let (kept, thrown_out): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut state.queue)
                    .into_iter()
                    .partition(|queued| queued.kind == Kind::Resync);
                state.queue = kept;
                drop(state);
                drop(thrown_out);
                state = self.lock();
                continue;
            }
            if let Some(next) = state.queue.pop_front() {
                state.running =
                    Some(Running { id: next.id, call: next.call, since: Instant::now(), overrun: false });
                return Some(next);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests;
