//! News of this node's slices: a list, then a watch, again and again.
//!
//! Each watch lasts less than a minute and goes on where the last one ended. So a watch whose connection died
//! without a word is noticed within a minute, and it costs one small request.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::api::WatchEvent;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::server::{RequestError, Server};
use dra_runtime::backoff::Backoff;

/// How long the API server shall let a watch last, in seconds: a random time between these.
const WATCH: std::ops::Range<u32> = 40..50;
/// How much longer a watch may last before it counts as dead.
const WATCH_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// A watch that ends sooner than this has failed, even if it says nothing.
const SHORTEST_WATCH: Duration = Duration::from_secs(5);
/// News that wait to be taken. A node has few slices; more fill up only while a write is under way.
const QUEUE: usize = 64;

/// Something that was learned of the slices.
#[derive(Debug)]
pub(super) enum News {
    /// All of them.
    Listed {
        /// The number of the last [`Feed::list_again`] that this answers.
        request: u64,
        /// The slices.
        slices: Vec<ResourceSlice>,
        /// The version at which they were listed.
        version: String,
    },
    /// One came or changed.
    Changed(ResourceSlice),
    /// One was deleted.
    Deleted(ResourceSlice),
    /// A watch has begun; perhaps the server is another one.
    Watching,
    /// The slices cannot be followed; it is being tried again.
    Failed(RequestError),
}

/// News as they come. Dropping it ends the watch.
#[derive(Debug)]
pub(super) struct Feed {
    news: mpsc::Receiver<News>,
    requests: watch::Sender<u64>,
    _task: JoinSet<()>,
}

impl Feed {
    /// Begins with a list.
    pub(super) fn start(server: Server) -> Self {
        let (sender, news) = mpsc::channel(QUEUE);
        let (requests, listener) = watch::channel(0);
        let mut task = JoinSet::new();
        task.spawn(
            Follower { server, news: sender, requests: listener, backoff: Backoff::default() }.follow(),
        );
        Self { news, requests, _task: task }
    }

    /// Asks for a new list. Returns the number by which its news are known.
    pub(super) fn list_again(&self) -> u64 {
        self.requests.send_modify(|number| *number += 1);
        *self.requests.borrow()
    }

    /// The next news. None if there will be none.
    pub(super) async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// The next news, if there are any already.
    pub(super) fn try_next(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

struct Follower {
    server: Server,
    news: mpsc::Sender<News>,
    requests: watch::Receiver<u64>,
    backoff: Backoff,
}

/// The feed was dropped.
struct Dropped;

impl Follower {
    async fn follow(mut self) {
        while self.list_and_watch().await.is_ok() {}
    }

    async fn list_and_watch(&mut self) -> Result<(), Dropped> {
        let request = *self.requests.borrow_and_update();
        let list = match self.server.list().await {
            Ok(list) => list,
            Err(error) => return self.failed(error).await,
        };
        let version = list.metadata.resource_version.unwrap_or_default();
        self.tell(News::Listed { request, slices: list.items, version: version.clone() }).await?;
        let mut requests = self.requests.clone();
        tokio::select! {
            asked = requests.changed() => asked.map_err(|_| Dropped),
            ended = self.watch(version) => ended,
        }
    }

    /// Watches from a version on, until only a list can help.
    async fn watch(&mut self, mut version: String) -> Result<(), Dropped> {
        loop {
            let begun = Instant::now();
            match self.watch_once(&mut version).await? {
                Ok(()) if begun.elapsed() >= SHORTEST_WATCH => self.backoff.reset(),
                Ok(()) => sleep(self.backoff.next(SHORTEST_WATCH)).await,
                Err(error) => {
                    let expired = error.is_expired();
                    self.failed(error).await?;
                    if expired {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Watches until the watch ends.
    async fn watch_once(&mut self, version: &mut String) -> Result<Result<(), RequestError>, Dropped> {
        let failed = |error| RequestError::of("watch this node's ResourceSlices".to_owned(), error);
        let seconds = fastrand::u32(WATCH);
        let end = Instant::now() + Duration::from_secs(seconds.into()) + WATCH_ENDS_WITHIN;
        let events = match self.server.watch(version, seconds).await {
            Ok(events) => events,
            Err(error) => return Ok(Err(error)),
        };
        self.tell(News::Watching).await?;
        let mut events = pin!(events);
        loop {
            let Ok(event) = timeout_at(end, events.next()).await else {
                let attempt = "go on with a watch that has been silent for too long".to_owned();
                return Ok(Err(RequestError::NoAnswer { attempt }));
            };
            let news = match event {
                None => return Ok(Ok(())),
                Some(Err(error)) => return Ok(Err(failed(error))),
                Some(Ok(WatchEvent::Error(status))) => return Ok(Err(failed(kube::Error::Api(status)))),
                Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                    *version = bookmark.metadata.resource_version;
                    continue;
                }
                Some(Ok(WatchEvent::Added(slice) | WatchEvent::Modified(slice))) => News::Changed(slice),
                Some(Ok(WatchEvent::Deleted(slice))) => News::Deleted(slice),
            };
            if let News::Changed(slice) | News::Deleted(slice) = &news
                && let Some(seen) = &slice.metadata.resource_version
            {
                version.clone_from(seen);
            }
            self.backoff.reset();
            self.tell(news).await?;
        }
    }

    async fn tell(&self, news: News) -> Result<(), Dropped> {
        self.news.send(news).await.map_err(|_| Dropped)
    }

    async fn failed(&mut self, error: RequestError) -> Result<(), Dropped> {
        let wait = self.backoff.next(error.longest_wait()).max(error.retry_after());
        // What the server forgot is no failure.
        if !error.is_expired() {
            self.tell(News::Failed(error)).await?;
        }
        sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
