//! One resource, followed.

use std::marker::PhantomData;
use std::time::Duration;

use dra_runtime::backoff::Backoff;
use futures_util::io::{AsyncBufRead, AsyncBufReadExt};
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::Request;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::decode::{self, Kind, Line, Page};
use super::resource::Followed;
use super::{Change, News, WatchError};

/// How many objects a page has: few enough that its text is no burden.
const PAGE: u32 = 250;
/// How long the API server may take for a page, over a slow link.
const PAGE_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to begin a watch.
const WATCH_WITHIN: Duration = Duration::from_secs(10);
/// How long a watch shall last, in seconds: a random time between these.
const WATCH: std::ops::Range<u32> = 40..50;
/// How much longer a watch may last before it counts as dead.
const WATCH_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// A watch that ends sooner than this has failed, even if it says nothing.
const SHORTEST_WATCH: Duration = Duration::from_secs(5);
/// The longest wait before it is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The longest time for which the API server is left alone when it says how long it wants that.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Follows one resource.
pub(super) struct Follower<T> {
    client: Client,
    changes: mpsc::Sender<Change>,
    backoff: Backoff,
    kind: PhantomData<fn() -> T>,
}

/// Nobody takes the news any more.
struct Dropped;

impl<T: Followed> Follower<T> {
    pub(super) fn new(client: Client, changes: mpsc::Sender<Change>) -> Self {
        Self { client, changes, backoff: Backoff::default(), kind: PhantomData }
    }

    /// Until nobody takes the news any more.
    pub(super) async fn follow(mut self) {
        while self.list_and_watch().await.is_ok() {}
    }

    async fn list_and_watch(&mut self) -> Result<(), Dropped> {
        match self.list().await? {
            // Only a watch that goes well ends the waits: where watches fail, lists would follow each other at once.
            Ok(version) => self.watch(version).await,
            Err(error) => self.failed(error).await,
        }
    }

    /// Reads all there is, page by page. The version from which on it is to be watched.
    async fn list(&mut self) -> Result<Result<String, WatchError>, Dropped> {
        self.tell(News::ListBegan).await?;
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
        params.field_selector = T::FIELDS.map(str::to_owned);
        loop {
            let text = match self.page(&params).await {
                Ok(text) => text,
                Err(error) => return Ok(Err(error)),
            };
            let page: Page<'_> = match serde_json::from_str(&text) {
                Ok(page) => page,
                Err(source) => return Ok(Err(unreadable::<T>("a list".to_owned(), source))),
            };
            for object in page.items {
                self.object(object, News::Listed).await?;
            }
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None => {
                    self.tell(News::ListEnded).await?;
                    return Ok(Ok(page.metadata.resource_version));
                }
            }
        }
    }

    async fn page(&self, params: &ListParams) -> Result<String, WatchError> {
        let attempt = "list";
        let request = Request::new(T::PATH).list(params).map_err(kube::Error::BuildRequest);
        let request = request.map_err(|source| failed::<T>(attempt, source))?;
        let answer = timeout(PAGE_WITHIN, self.client.request_text(request)).await;
        let answer = answer.map_err(|_| WatchError::NoAnswer { attempt, resource: T::NAME })?;
        answer.map_err(|source| failed::<T>(attempt, source))
    }

    /// Watches from a version on, until only a list can help.
    async fn watch(&mut self, mut version: String) -> Result<(), Dropped> {
        loop {
            let begun = Instant::now();
            match self.watch_once(&mut version).await? {
                Ok(()) if begun.elapsed() >= SHORTEST_WATCH => self.backoff.reset(),
                Ok(()) => sleep(self.backoff.next(SHORTEST_WATCH)).await,
                Err(error) => {
                    let is_over = error.needs_list();
                    self.failed(error).await?;
                    if is_over {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Watches until the watch ends.
    async fn watch_once(&mut self, version: &mut String) -> Result<Result<(), WatchError>, Dropped> {
        let seconds = fastrand::u32(WATCH);
        let mut end = Instant::now() + Duration::from_secs(seconds.into()) + WATCH_ENDS_WITHIN;
        let mut lines = match self.watching(version, seconds).await {
            Ok(lines) => lines,
            Err(error) => return Ok(Err(error)),
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            let Ok(read) = timeout_at(end, lines.read_until(b'\n', &mut line)).await else {
                let attempt = "go on with a watch, silent for too long, of";
                return Ok(Err(WatchError::NoAnswer { attempt, resource: T::NAME }));
            };
            match read {
                Ok(0) => return Ok(Ok(())),
                Ok(_) if line.ends_with(b"\n") => {}
                // A line that broke off.
                Ok(_) => return Ok(Ok(())),
                Err(source) => return Ok(Err(WatchError::Broken { resource: T::NAME, source })),
            }
            let Line { kind, object } = match serde_json::from_slice(&line) {
                Ok(line) => line,
                Err(source) => return Ok(Err(unreadable::<T>("a watch".to_owned(), source))),
            };
            match kind {
                Kind::Error => return Ok(Err(failed::<T>("watch", decode::error(object)))),
                Kind::Added | Kind::Modified => self.object(object, News::Changed).await?,
                Kind::Deleted => self.object(object, News::Deleted).await?,
                Kind::Bookmark | Kind::Other => {}
            }
            if let Some(seen) = decode::version(object) {
                *version = seen;
            }
            self.backoff.reset();
            // What came while the news waited to be taken is not silence.
            end = end.max(Instant::now() + WATCH_ENDS_WITHIN);
        }
    }

    async fn watching(
        &self,
        version: &str,
        seconds: u32,
    ) -> Result<impl AsyncBufRead + Unpin + use<T>, WatchError> {
        let attempt = "watch";
        let mut params = WatchParams::default().timeout(seconds);
        params.field_selector = T::FIELDS.map(str::to_owned);
        let request = Request::new(T::PATH).watch(&params, version).map_err(kube::Error::BuildRequest);
        let request = request.map_err(|source| failed::<T>(attempt, source))?;
        let answer = timeout(WATCH_WITHIN, self.client.request_stream(request)).await;
        let answer = answer.map_err(|_| WatchError::NoAnswer { attempt, resource: T::NAME })?;
        answer.map(Box::pin).map_err(|source| failed::<T>(attempt, source))
    }

    async fn object(&self, text: &RawValue, news: fn(T) -> News<T>) -> Result<(), Dropped> {
        match serde_json::from_str::<T>(text.get()) {
            Ok(object) if object.is_wanted() => self.tell(news(object)).await,
            Ok(_) => Ok(()),
            Err(source) => self.tell(News::Failed(unreadable::<T>(decode::name(text), source))).await,
        }
    }

    async fn tell(&self, news: News<T>) -> Result<(), Dropped> {
        self.changes.send(T::change(news)).await.map_err(|_| Dropped)
    }

    async fn failed(&mut self, error: WatchError) -> Result<(), Dropped> {
        let wait = self.backoff.next(LONGEST_WAIT).max(error.retry_after());
        // What the server forgot is no failure.
        if !error.is_expired() {
            self.tell(News::Failed(error)).await?;
        }
        sleep(wait).await;
        Ok(())
    }
}

fn failed<T: Followed>(attempt: &'static str, source: kube::Error) -> WatchError {
    WatchError::Failed { attempt, resource: T::NAME, source: Box::new(source) }
}

fn unreadable<T: Followed>(what: String, source: serde_json::Error) -> WatchError {
    WatchError::Unreadable { what, resource: T::NAME, source }
}

impl WatchError {
    /// Whether the server has forgotten the version: only a new list helps.
    fn is_expired(&self) -> bool {
        match self {
            Self::Failed { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.code == 410)
            }
            _ => false,
        }
    }

    /// Whether a watch from the same version on would meet the same again: the server does not want to give it, or what
    /// comes next cannot be read. A server that has no time (429, 503) may have it later.
    fn needs_list(&self) -> bool {
        match self {
            Self::Failed { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if ![429, 503].contains(&status.code))
            }
            Self::Unreadable { .. } => true,
            Self::NoAnswer { .. } | Self::Broken { .. } => false,
        }
    }

    /// How long the server wants to be left alone.
    fn retry_after(&self) -> Duration {
        let Self::Failed { source, .. } = self else { return Duration::ZERO };
        let kube::Error::Api(status) = &**source else { return Duration::ZERO };
        let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        Duration::from_secs(u64::from(seconds)).min(LONGEST_RETRY_AFTER)
    }
}
