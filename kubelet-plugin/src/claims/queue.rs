//! One task for each claim at a time, whatever becomes of the calls that asked for it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dra_driver::claim::PreparedDevice;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the kubelet is told about a claim: nothing but success where it is no prepare.
pub(super) type Answer = Result<Vec<PreparedDevice>, String>;

/// What is done for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Prepare,
    Unprepare,
    Reconcile,
}

/// The newest work of each claim that has any.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    newest: Arc<Mutex<HashMap<String, Work>>>,
    count: Arc<AtomicU64>,
}

/// Work for a claim.
struct Work {
    number: u64,
    kind: Kind,
    deadline: watch::Sender<Instant>,
    give_way: CancellationToken,
    answer: Shared<BoxFuture<'static, Answer>>,
}

impl fmt::Debug for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Work").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What work is told while it goes on.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// Until when it may wait. Gets later when another call joins.
    pub(super) deadline: watch::Receiver<Instant>,
    /// Work of another kind waits behind this: no more waiting.
    pub(super) give_way: CancellationToken,
}

impl Queue {
    /// Joins the newest work of the claim if it is of the same kind. Else starts this work, once all earlier work
    /// of the claim is over, in a task of its own that goes on when the answer is dropped.
    ///
    /// `defect` is answered when the work panics.
    pub(super) fn submit<F>(
        &self,
        uid: &str,
        kind: Kind,
        deadline: Instant,
        cancel: &CancellationToken,
        defect: impl FnOnce() -> Answer + Send + 'static,
        work: impl FnOnce(Turn) -> F,
    ) -> Shared<BoxFuture<'static, Answer>>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let mut newest = self.newest();
        let before = newest.get(uid);
        if let Some(same) = before
            && same.kind == kind
            && same.answer.peek().is_none()
        {
            same.deadline.send_if_modified(|until| {
                let later = deadline > *until;
                *until = deadline.max(*until);
                later
            });
            return same.answer.clone();
        }
        let before = before.map(|before| {
            before.give_way.cancel();
            before.answer.clone()
        });
        let (sender, receiver) = watch::channel(deadline);
        let give_way = cancel.child_token();
        let work = work(Turn { deadline: receiver, give_way: give_way.clone() });
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (queue, key) = (self.clone(), uid.to_owned());
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // How it ended does not matter: this work reads what is on disk.
                drop(before.await);
            }
            // A panic ends only the inner task.
            let answer = tokio::spawn(work).await.unwrap_or_else(|_panic| defect());
            queue.forget(&key, number);
            answer
        });
        let answer = async move {
            task.await.unwrap_or_else(|_| {
                Err("the plugin is being stopped; the kubelet's next call goes on".into())
            })
        };
        let answer = answer.boxed().shared();
        newest.insert(
            uid.to_owned(),
            Work { number, kind, deadline: sender, give_way, answer: answer.clone() },
        );
        answer
    }

    /// Drops the work of the claim if it is over and none came behind it.
    fn forget(&self, uid: &str, number: u64) {
        let mut newest = self.newest();
        if newest.get(uid).is_some_and(|work| work.number == number) {
            newest.remove(uid);
        }
    }

    fn newest(&self) -> MutexGuard<'_, HashMap<String, Work>> {
        // Nothing that holds the lock can leave the map half changed.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    const GUARD: Duration = Duration::from_secs(10);

    async fn guarded<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(GUARD, future).await.expect("in time")
    }

    struct Bench {
        queue: Queue,
        cancel: CancellationToken,
        began: mpsc::UnboundedSender<&'static str>,
    }

    impl Bench {
        fn new() -> (Self, mpsc::UnboundedReceiver<&'static str>) {
            let (began, log) = mpsc::unbounded_channel();
            (Self { queue: Queue::default(), cancel: CancellationToken::new(), began }, log)
        }

        fn submit(
            &self,
            uid: &str,
            kind: Kind,
            name: &'static str,
        ) -> (Shared<BoxFuture<'static, Answer>>, oneshot::Sender<()>) {
            let (go, gone) = oneshot::channel();
            let began = self.began.clone();
            let deadline = Instant::now() + GUARD;
            let defect = || Err("defect".to_owned());
            let answer = self.queue.submit(uid, kind, deadline, &self.cancel, defect, |turn| async move {
                began.send(name).unwrap();
                tokio::select! {
                    _ = gone => Err(name.to_owned()),
                    () = turn.give_way.cancelled() => Err(format!("{name} gave way")),
                }
            });
            (answer, go)
        }
    }

    #[tokio::test]
    async fn the_same_work_is_joined_even_if_nobody_waits_for_it() {
        let (bench, mut log) = Bench::new();
        let (first, go) = bench.submit("u", Kind::Prepare, "first");
        drop(first);
        assert_eq!(guarded(log.recv()).await, Some("first"));
        let (second, _unused) = bench.submit("u", Kind::Prepare, "second");
        go.send(()).unwrap();
        assert_eq!(guarded(second).await, Err("first".to_owned()));
        assert!(bench.queue.newest().is_empty());
        let (third, go) = bench.submit("u", Kind::Prepare, "third");
        go.send(()).unwrap();
        assert_eq!(guarded(third).await, Err("third".to_owned()));
    }

    #[tokio::test]
    async fn an_unprepare_comes_after_the_prepare_and_ends_its_waiting() {
        let (bench, mut log) = Bench::new();
        let (prepare, _never) = bench.submit("u", Kind::Prepare, "prepare");
        assert_eq!(guarded(log.recv()).await, Some("prepare"));
        let (unprepare, go) = bench.submit("u", Kind::Unprepare, "unprepare");
        assert_eq!(guarded(prepare).await, Err("prepare gave way".to_owned()));
        assert_eq!(guarded(log.recv()).await, Some("unprepare"));
        let (again, last) = bench.submit("u", Kind::Prepare, "again");
        drop(go);
        guarded(unprepare).await.unwrap_err();
        assert_eq!(guarded(log.recv()).await, Some("again"));
        drop(last);
        guarded(again).await.unwrap_err();
        assert!(bench.queue.newest().is_empty());
    }

    #[tokio::test]
    async fn claims_do_not_wait_for_each_other() {
        let (bench, mut log) = Bench::new();
        let (_stuck, _never) = bench.submit("u", Kind::Prepare, "stuck");
        assert_eq!(guarded(log.recv()).await, Some("stuck"));
        let (other, go) = bench.submit("v", Kind::Prepare, "other");
        go.send(()).unwrap();
        assert_eq!(guarded(other).await, Err("other".to_owned()));
    }

    #[tokio::test]
    async fn a_panic_is_that_claims_error() {
        let queue = Queue::default();
        let defect = || Err("a defect".to_owned());
        let cancel = CancellationToken::new();
        let deadline = Instant::now() + GUARD;
        let answer = queue.submit("u", Kind::Prepare, deadline, &cancel, defect, |_| async { panic!("oh") });
        assert_eq!(guarded(answer).await, Err("a defect".to_owned()));
        assert!(queue.newest().is_empty());
    }

    #[tokio::test]
    async fn who_joins_later_may_wait_longer() {
        let queue = Queue::default();
        let cancel = CancellationToken::new();
        let (early, late) = (Instant::now() + GUARD, Instant::now() + 2 * GUARD);
        let submit = |deadline| {
            queue.submit(
                "u",
                Kind::Prepare,
                deadline,
                &cancel,
                || Ok(vec![]),
                |mut turn| async move {
                    let until = turn.deadline.wait_for(|until| *until == late).await.map(|until| *until);
                    assert_eq!(until.unwrap(), late);
                    Err("waited".to_owned())
                },
            )
        };
        let first = submit(early);
        let second = submit(late);
        assert_eq!(guarded(first).await, Err("waited".to_owned()));
        assert_eq!(guarded(second).await, Err("waited".to_owned()));
    }
}
