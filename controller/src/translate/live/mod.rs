//! ConfigMaps with parameters become ResourceClaimTemplates and DeviceClasses, and change them.
//!
//! A template belongs to its ConfigMap and goes with it. What a template says cannot be changed, so another takes its
//! place; claims that were made of the old one stay as they are. A DeviceClass belongs to no namespace, so this program
//! deletes it when its ConfigMap is gone, and only ConfigMaps of one namespace make classes.

mod book;
mod decide;
mod desk;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dra_runtime::backoff::Backoff;
use dra_runtime::events::Events;
use dra_runtime::lease::Leadership;
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::parameters::Purpose;
use book::{Book, Due};
use desk::Desk;

/// How long a watch lasts, in seconds: a link that died is noticed soon.
const WATCH: u32 = 45;
/// The longest wait before something is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often everything is looked at again: templates are not watched, and somebody may have deleted one.
const AGAIN: Duration = Duration::from_secs(300);

/// What is translated, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The DRA driver's name, which labels, annotations and selectors have.
    pub driver: String,
    /// The class of templates whose ConfigMap names none.
    pub device_class: String,
    /// The only namespace whose ConfigMaps make DeviceClasses.
    pub namespace: String,
}

/// Something was written, or could not be.
pub type Wrote = Arc<dyn Fn(&'static str, bool) + Send + Sync>;

/// Translates until `cancel`, whenever this replica is the one that acts. `wrote` is told of each write: what kind of
/// object, and whether it worked.
pub async fn run(
    client: Client,
    settings: Settings,
    events: Events,
    mut leadership: Leadership,
    wrote: Wrote,
    cancel: CancellationToken,
) {
    let leading = async {
        loop {
            while !leadership.is_held() {
                leadership.changed().await;
            }
            let desk = Desk::new(
                client.clone(),
                settings.clone(),
                events.clone(),
                leadership.clone(),
                Arc::clone(&wrote),
            );
            let mut office = Office { desk, book: Book::default() };
            let mut lost = leadership.clone();
            let lost = async {
                while lost.is_held() {
                    lost.changed().await;
                }
            };
            tokio::select! {
                () = office.follow(&client, &settings.driver) => {}
                () = lost => {}
            }
        }
    };
    cancel.run_until_cancelled(leading).await;
}

/// What a ConfigMap is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Template,
    Class,
}

impl Which {
    fn label(self, driver: &str) -> String {
        match self {
            Self::Template => format!("{driver}/claim-parameters=true"),
            Self::Class => format!("{driver}/class-parameters=true"),
        }
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::Template => Purpose::Claim,
            Self::Class => Purpose::Class,
        }
    }
}

/// What is known, and who acts on it.
struct Office {
    desk: Desk,
    book: Book,
}

impl Office {
    async fn follow(&mut self, client: &Client, driver: &str) {
        let watch = |which: Which| {
            let config = watcher::Config::default().labels(&which.label(driver)).timeout(WATCH);
            let api: Api<ConfigMap> = Api::all(client.clone());
            watcher(api, config).map(move |event| (which, event)).boxed()
        };
        let mut news = pin!(stream::select(watch(Which::Template), watch(Which::Class)));
        let mut waits = Backoff::default();
        let mut again = tokio::time::interval_at(Instant::now() + AGAIN, AGAIN);
        loop {
            let next = self.book.next();
            let ready = async {
                match next {
                    Some((due, at)) => {
                        sleep_until(at).await;
                        due
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((which, event)) = news.next() => match event {
                    Ok(event) => {
                        // A list begins with this before anything was asked for, and again after each failure.
                        if !matches!(event, Event::Init) {
                            waits.reset();
                        }
                        if self.book.tell(which, event, Instant::now()) && which == Which::Class {
                            self.look_for_classes().await;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, label = which.label(driver), "cannot follow ConfigMaps; it is being tried again");
                        sleep(waits.next(LONGEST_WAIT)).await;
                    }
                },
                due = ready => self.look(due).await,
                _ = again.tick() => {
                    self.book.all_at_once(Instant::now());
                    self.look_for_classes().await;
                }
            }
        }
    }

    /// Classes whose ConfigMap went while nobody looked.
    async fn look_for_classes(&mut self) {
        if self.book.is_whole(Which::Class) {
            for key in self.desk.classes_there().await {
                self.book.at_once((Which::Class, key), Instant::now());
            }
        }
    }

    /// Brings what a ConfigMap asks for into being, or comes back to it later.
    async fn look(&mut self, due: Due) {
        let Some(backoff) = self.book.take(&due) else { return };
        let (which, key) = &due;
        match self.desk.settle(*which, key, self.book.config(&due)).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, config_map = %key, "cannot translate parameters; it is being tried again");
                self.book.later(due, backoff, LONGEST_WAIT, Instant::now());
            }
        }
    }
}
