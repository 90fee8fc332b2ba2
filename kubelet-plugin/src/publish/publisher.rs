//! Brings what should be and what is together, whenever one of them changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dra_driver::device::slices::{self, Pool, Write};
use dra_driver::device::{self, Faulty};
use dra_driver::node::View;
use dra_runtime::events::{Event, Events};
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::time::{Instant, sleep_until};

use super::feed::{Feed, News};
use super::mirror::Mirror;
use super::server::{RequestError, Server, name};
use super::taints::Taints;
use super::{Inputs, Settings};
use crate::metrics::{Metrics, Reason};
use dra_runtime::backoff::Backoff;

/// Keeps the slices as they should be.
pub(super) struct Publisher {
    server: Server,
    settings: Settings,
    inputs: Inputs,
    metrics: Metrics,
    events: Events,
    mirror: Mirror,
    taints: Taints,
    backoff: Backoff,
    /// The UID of the Node object. Asked for again when slices vanish: those of a Node that was replaced do.
    node_uid: Option<String>,
    /// Nothing is written until the kubelet registers us once more than so often: there were no slices before it had,
    /// or somebody deleted them while it held no connection.
    held_since: Option<u64>,
    /// Names that belong to slices which are none of ours.
    taken: BTreeSet<String>,
    /// Names that were taken when we wanted them, perhaps by a create of ours whose answer was lost: a list tells.
    clashed: BTreeSet<String>,
    /// What was said of failures to write, and to follow what is there.
    writing: Complaint,
    following: Complaint,
}

/// What was said last about a failure, so that a lasting one is said once.
#[derive(Debug, Default)]
struct Complaint {
    said: Option<String>,
}

/// How far an attempt came.
enum Progress {
    /// All is as it should be.
    Done,
    /// Something was learned that changes what should be.
    Again,
}

/// Nothing can be followed any more: the plugin ends.
struct Ended;

impl Publisher {
    pub(super) fn new(
        server: Server,
        settings: Settings,
        inputs: Inputs,
        metrics: Metrics,
        events: Events,
    ) -> Self {
        Self {
            server,
            settings,
            inputs,
            metrics,
            events,
            mirror: Mirror::default(),
            taints: Taints::default(),
            backoff: Backoff::default(),
            node_uid: None,
            held_since: None,
            taken: BTreeSet::new(),
            clashed: BTreeSet::new(),
            writing: Complaint::default(),
            following: Complaint::default(),
        }
    }

    /// Publishes whenever this instance owns the node's slices, until an input has no sender any more.
    pub(super) async fn run(&mut self) {
        let mut owns = self.inputs.owns.clone();
        while owns.wait_for(|owns| *owns).await.is_ok() {
            tokio::select! {
                // Ownership that ends stops even a write under way.
                biased;
                lost = owns.wait_for(|owns| !*owns) => {
                    if lost.is_err() {
                        return;
                    }
                    tracing::info!("another instance publishes from now on");
                }
                Ended = self.publish() => return,
            }
        }
    }

    async fn publish(&mut self) -> Ended {
        let mut feed = Feed::start(self.server.clone());
        self.mirror = Mirror::default();
        self.held_since = None;
        // It is needed in any case, and may be asked for while NVML is still being asked.
        if let Err(error) = self.know_node().await {
            tracing::debug!(%error, "not yet");
        }
        let mut wanted_list = 0;
        let mut have_list = false;
        let mut looked = false;
        let mut retry_at: Option<Instant> = None;
        loop {
            let asleep = async move {
                match retry_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                news = feed.next() => {
                    let mut news = news;
                    if news.is_none() {
                        return Ended;
                    }
                    while let Some(one) = news {
                        if let News::Listed { request, .. } = &one {
                            have_list = *request >= wanted_list;
                        }
                        self.hear(one);
                        news = feed.try_next();
                    }
                }
                changed = self.inputs.views.changed() => if changed.is_err() { return Ended },
                changed = self.inputs.link.changed() => if changed.is_err() { return Ended },
                () = asleep => retry_at = None,
            }
            self.show();
            if have_list {
                let clashed = std::mem::take(&mut self.clashed).into_iter();
                self.taken.extend(clashed.filter(|name| !self.mirror.has(name)));
            }
            if have_list && !looked {
                looked = true;
                self.wait_for_kubelet();
            }
            if !have_list || retry_at.is_some() || self.is_held() {
                continue;
            }
            match self.bring_together().await {
                Ok(()) => {
                    self.backoff.reset();
                    self.writing.over("ResourceSlices are published again");
                }
                Err(error) => {
                    retry_at = Some(Instant::now() + self.failed(&error));
                    // Whatever the answer was, what is there now is not known.
                    wanted_list = feed.list_again();
                    have_list = false;
                }
            }
            self.show();
        }
    }

    /// Counts what is published.
    fn show(&self) {
        let mut devices = BTreeMap::new();
        for device in self.mirror.devices() {
            let kind =
                device.attributes.as_ref().and_then(|attributes| attributes.get("type")?.string.clone());
            let tainted = device.taints.as_ref().is_some_and(|taints| !taints.is_empty());
            *devices.entry((kind.unwrap_or_default(), tainted)).or_insert(0) += 1;
        }
        self.metrics.published(self.mirror.len(), &devices);
    }

    /// Takes news in.
    fn hear(&mut self, news: News) {
        let vanished = match news {
            News::Listed { slices, version, .. } => {
                self.following.over("ResourceSlices are followed again");
                self.mirror.listed(slices, &version)
            }
            News::Changed(slice) => {
                self.mirror.changed(slice);
                false
            }
            News::Deleted(slice) => self.mirror.deleted(&slice),
            News::Watching => {
                self.following.over("ResourceSlices are followed again");
                self.taints.doubt();
                false
            }
            News::Failed(error) => {
                self.metrics.error(Reason::Publish);
                self.following.say(&error);
                false
            }
        };
        if !vanished {
            return;
        }
        self.node_uid = None;
        let link = self.inputs.link.borrow().clone();
        if link.connected {
            tracing::info!("ResourceSlices were deleted; they are published again");
        } else if self.held_since.is_none() {
            self.held_since = Some(link.registrations);
            tracing::info!(
                "ResourceSlices were deleted while the kubelet holds no connection; they are published again when \
                 it registers the plugin"
            );
        }
    }

    /// Where no slices are yet, none come before the kubelet can prepare what they promise: a pod that is sooner there
    /// than the registration fails, and is tried again after more than a minute.
    fn wait_for_kubelet(&mut self) {
        let link = self.inputs.link.borrow().clone();
        if self.mirror.len() == 0 && link.registrations == 0 && !link.connected {
            self.held_since = Some(0);
            tracing::info!("ResourceSlices are published as soon as the kubelet has registered the plugin");
        }
    }

    /// Whether slices that are missing stay so for now.
    fn is_held(&mut self) -> bool {
        let link = self.inputs.link.borrow_and_update().clone();
        if link.connected || self.held_since.is_some_and(|registrations| link.registrations > registrations) {
            self.held_since = None;
        }
        self.held_since.is_some()
    }

    async fn bring_together(&mut self) -> Result<(), RequestError> {
        loop {
            let view = self.inputs.views.borrow_and_update().clone();
            if !view.was_asked() && view.yielding.is_none() {
                return Ok(());
            }
            if let Progress::Done = self.attempt(&view).await? {
                return Ok(());
            }
        }
    }

    async fn attempt(&mut self, view: &View) -> Result<Progress, RequestError> {
        let Settings { driver, node } = self.settings.clone();
        let name = device::gpu_pool(&node);
        let existing = self.mirror.slices();
        let faulty = self.what_to_do_with_faulty(view).await?;
        let devices = match &view.yielding {
            // The GPUs were never looked at, but an earlier plugin has published them.
            Some(yielding) if !view.was_asked() => {
                let published = slices::published(&name, &existing);
                if published.is_empty() {
                    return Ok(Progress::Done);
                }
                device::kept_away_from(&driver, published, yielding, faulty)
            }
            _ => device::devices(&driver, view, faulty),
        };
        let pool = Pool { driver, node, node_uid: self.know_node().await?, name };
        let writes = slices::writes(&pool, &slices::layout(&devices), &existing, &self.taken);
        for write in &writes {
            if let Progress::Again = self.write(write).await? {
                return Ok(Progress::Again);
            }
        }
        if !writes.is_empty() {
            tracing::info!(
                pool = pool.name,
                devices = devices.len(),
                tainted = devices.iter().filter(|device| device.taints.is_some()).count(),
                slices = self.mirror.len(),
                "published"
            );
        }
        Ok(Progress::Done)
    }

    /// Asks about taints only when they are needed.
    async fn what_to_do_with_faulty(&mut self, view: &View) -> Result<Faulty, RequestError> {
        if view.yielding.is_none() && view.faults.values().all(Vec::is_empty) {
            return Ok(Faulty::Tainted);
        }
        let known = self.taints.known();
        let faulty = self.taints.learn(&self.server, &self.settings).await?;
        if faulty == Faulty::LeftOut && known != Some(faulty) {
            self.tell_of_dropped_taints();
        }
        Ok(faulty)
    }

    async fn know_node(&mut self) -> Result<String, RequestError> {
        if let Some(uid) = &self.node_uid {
            return Ok(uid.clone());
        }
        let uid = self.server.node_uid().await?;
        Ok(self.node_uid.insert(uid).clone())
    }

    async fn write(&mut self, write: &Write) -> Result<Progress, RequestError> {
        let stored = match self.server.write(write).await {
            Ok(stored) => stored,
            Err(error) => {
                if let (Write::Create(slice), true) = (write, error.is_name_taken()) {
                    self.clashed.insert(name(slice).to_owned());
                }
                return Err(error);
            }
        };
        match (write, stored) {
            (Write::Delete(doomed), _) => self.mirror.removed(&doomed.name),
            (Write::Create(sent) | Write::Update(sent), Some(stored)) => {
                let (dropped, different) =
                    (slices::dropped_taints(sent, &stored), slices::stored_differently(sent, &stored));
                self.mirror.changed(stored);
                if dropped {
                    self.taints.were_dropped();
                    self.tell_of_dropped_taints();
                    return Ok(Progress::Again);
                }
                if different {
                    return Err(RequestError::StoredDifferently { name: name(sent).to_owned() });
                }
            }
            (_, None) => {}
        }
        Ok(Progress::Done)
    }

    /// Takes note of a failure. Returns how long to wait before the next attempt.
    fn failed(&mut self, error: &RequestError) -> Duration {
        if error.is_overtaken() {
            tracing::debug!(%error, "overtaken");
        } else {
            self.metrics.error(Reason::Publish);
            if self.writing.say(error) && error.is_refusal() {
                self.tell("SlicesNotPublished", error.to_string());
            }
        }
        self.backoff.next(error.longest_wait()).max(error.retry_after())
    }

    fn tell_of_dropped_taints(&self) {
        let note = "The API server drops device taints, so GPUs with faults are withdrawn instead of tainted. Device \
                    taints are on by default from Kubernetes 1.36 (feature DRADeviceTaints): upgrade to 1.36 or later";
        tracing::warn!("{note}");
        self.tell("DeviceTaintsDropped", note.to_owned());
    }

    /// Sends a warning about the node.
    fn tell(&self, reason: &'static str, note: String) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(self.settings.node.clone()),
            uid: self.node_uid.clone(),
            ..ObjectReference::default()
        };
        self.events.send(Event { about, warning: true, reason, action: "PublishResourceSlices", note });
    }
}

impl Complaint {
    /// Says it, unless it was what was said last. Returns whether it did.
    fn say(&mut self, error: &RequestError) -> bool {
        let text = error.to_string();
        let new = self.said.as_ref() != Some(&text);
        if new {
            tracing::warn!("{text}");
            self.said = Some(text);
        }
        new
    }

    /// The failure is over.
    fn over(&mut self, how: &str) {
        if self.said.take().is_some() {
            tracing::info!("{how}");
        }
    }
}
