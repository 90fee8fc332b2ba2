//! ConfigMaps with parameters become ResourceClaimTemplates and DeviceClasses, and change them.
//!
//! A template belongs to its ConfigMap and goes with it. What a template says cannot be changed, so another takes its
//! place; claims that were made of the old one stay as they are. A DeviceClass belongs to no namespace, so this program
//! deletes it when its ConfigMap is gone, and only ConfigMaps of one namespace make classes.

mod decide;
mod desk;

use std::collections::BTreeMap;
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
use decide::Key;
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

/// A ConfigMap, and what it is for.
type Due = (Which, Key);

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
            let mut office = Office { desk, configs: BTreeMap::new(), due: BTreeMap::new() };
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

/// What is there, and what is to be looked at.
struct Office {
    desk: Desk,
    configs: BTreeMap<Due, ConfigMap>,
    due: BTreeMap<Due, (Instant, Backoff)>,
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
            let next =
                self.due.iter().min_by_key(|(_, (at, _))| *at).map(|(due, (at, _))| (due.clone(), *at));
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
                        waits.reset();
                        self.event(which, event).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, label = which.label(driver), "cannot follow ConfigMaps; it is being tried again");
                        sleep(waits.next(LONGEST_WAIT)).await;
                    }
                },
                due = ready => self.look(due).await,
                _ = again.tick() => self.all_due(),
            }
        }
    }

    async fn event(&mut self, which: Which, event: Event<ConfigMap>) {
        match event {
            Event::Init => self.configs.retain(|(other, _), _| *other != which),
            // What goes takes its template with it.
            Event::InitApply(config) | Event::Apply(config)
                if config.metadata.deletion_timestamp.is_none() =>
            {
                let due = (which, Key::of(&config));
                self.configs.insert(due.clone(), config);
                self.due_now(due);
            }
            Event::InitApply(config) | Event::Apply(config) | Event::Delete(config) => {
                let due = (which, Key::of(&config));
                self.configs.remove(&due);
                self.due_now(due);
            }
            Event::InitDone if which == Which::Class => {
                // Classes whose ConfigMap went while nobody looked.
                for key in self.desk.classes_there().await {
                    self.due_now((which, key));
                }
            }
            Event::InitDone => {}
        }
    }

    fn due_now(&mut self, due: Due) {
        self.due.insert(due, (Instant::now(), Backoff::default()));
    }

    fn all_due(&mut self) {
        let all: Vec<Due> = self.configs.keys().cloned().collect();
        all.into_iter().for_each(|due| self.due_now(due));
    }

    /// Brings what a ConfigMap asks for into being, or comes back to it later.
    async fn look(&mut self, due: Due) {
        let Some((_, mut backoff)) = self.due.remove(&due) else { return };
        let (which, key) = &due;
        match self.desk.settle(*which, key, self.configs.get(&due)).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, config_map = %key, "cannot translate parameters; it is being tried again");
                let wait = backoff.next(LONGEST_WAIT);
                self.due.insert(due, (Instant::now() + wait, backoff));
            }
        }
    }
}
