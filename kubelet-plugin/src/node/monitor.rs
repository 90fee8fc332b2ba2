//! The monitor: keeps a session with NVML, looks after the GPUs, and publishes what it sees.
//!
//! Every second it feels the pulse of each GPU; every few seconds it looks whether library and PCI bus are as
//! they were. News of a GPU comes at once through its ear. A new session is opened when the driver, the library
//! or the list of GPUs changed, and when a GPU that was lost is there again: handles of the old session are
//! void then.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use dra_driver::health::News;
use dra_driver::inventory::{Inventory, discover, open, procfs};
use dra_driver::node::{Epoch, View, Yielding};
use dra_driver::nvml::pulse::Pulse;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Ear, Heard, Shared, Whose, XID, close};
use super::known::Known;
use super::surroundings::Surroundings;
use super::{Settings, code_of_call, code_of_lane};
use crate::metrics::{Metrics, NvmlCall, NvmlCode, Reason};
use crate::yielding::Asked;

/// How often GPUs' pulses are felt.
const PULSE: Duration = Duration::from_secs(1);
/// The shortest time between two pulses, however much news there is.
const PULSE_AT_MOST: Duration = Duration::from_millis(100);
/// How long a GPU has for its pulse, and for its facts once the node is known. One that takes longer is silent
/// until it has answered; nothing else waits for it.
const ANSWER: Duration = Duration::from_secs(2);
/// How often library, PCI bus and GPUs that answer but cannot be used are looked at.
const SURVEY: Duration = Duration::from_secs(3);
/// How often everything is read again, for what changes without news: modes, limits.
const REFRESH: Duration = Duration::from_secs(60);
/// The longest time between two tries to open a session, if nothing changes meanwhile.
const RETRY_AT_MOST: Duration = Duration::from_secs(30);
/// How long NVML is not opened because it is not known whether somebody asks to keep away from the GPUs.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);
/// When to try again to hear a GPU's events, where that failed.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);
/// How much news waits. More at a time comes from a storm, which may wait in NVML.
const QUEUE: usize = 256;

/// What has to be done after pulses were felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Nothing,
    /// Ask all GPUs for their facts.
    Read,
    /// Open a new session.
    Reopen,
    /// The driver is gone.
    Close,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Monitor {
    settings: Settings,
    shared: Arc<Shared>,
    metrics: Metrics,
    view: watch::Sender<Arc<View>>,
    tell: SyncSender<(Whose, Heard)>,
    news: Receiver<(Whose, Heard)>,

    connection: Option<Arc<Connection>>,
    /// The number of the connection.
    number: u64,
    ears: BTreeMap<usize, Ear>,
    surroundings: Surroundings,
    known: Known,
    /// What is shown while there is no session, and why there is none.
    without: Option<(Inventory, String)>,
    /// Set while the driver keeps away from the GPUs.
    yielding: Option<Yielding>,
    /// Whether the kernel module was away meanwhile: the next one initialises all GPUs anew.
    module_left: bool,
    /// Until then it may not be known whether somebody asks to keep away.
    known_at: Instant,
    /// Whether the view may differ from what is shown.
    stale: bool,

    pulse_at: Instant,
    survey_at: Instant,
    refresh_at: Instant,
    listen_at: Instant,
    connected_at: Instant,
    retry_at: Instant,
    retry_after: Duration,
}

impl Monitor {
    pub(super) fn new(
        settings: Settings,
        shared: Arc<Shared>,
        metrics: Metrics,
        view: watch::Sender<Arc<View>>,
    ) -> Self {
        let (tell, news) = mpsc::sync_channel(QUEUE);
        let now = Instant::now();
        Self {
            settings,
            shared,
            metrics,
            view,
            tell,
            news,
            connection: None,
            number: 0,
            ears: BTreeMap::new(),
            surroundings: Surroundings::default(),
            known: Known::default(),
            without: None,
            yielding: None,
            module_left: false,
            known_at: now + KNOWN_WITHIN,
            stale: true,
            pulse_at: now,
            survey_at: now,
            refresh_at: now,
            listen_at: now,
            connected_at: now,
            retry_at: now,
            retry_after: PULSE,
        }
    }

    /// Starts the thread.
    pub(super) fn start(mut self, cancel: CancellationToken) -> std::io::Result<()> {
        thread::Builder::new()
            .name("node-monitor".into())
            .spawn(move || {
                while !cancel.is_cancelled() {
                    if catch_unwind(AssertUnwindSafe(|| self.step(&cancel))).is_err() {
                        tracing::error!("the monitor panicked and begins anew; please report it");
                        self.metrics.error(Reason::Internal);
                        drop(self.close(RENEWED));
                        self.pulse_at = Instant::now() + PULSE;
                    }
                }
                drop(self.close(RENEWED));
            })
            .map(drop)
    }

    fn step(&mut self, cancel: &CancellationToken) {
        let is_known = self.follow_request();
        let now = Instant::now();
        if now >= self.pulse_at && is_known {
            self.pulse_at = now + PULSE;
            self.look();
            self.stale = true;
        }
        if std::mem::take(&mut self.stale) {
            // Before anybody relies on a GPU, its news is heard.
            self.listen();
            self.publish();
        }
        // Short enough to notice the end; the token cannot wake a thread that waits for news.
        let wait = self.pulse_at.saturating_duration_since(Instant::now()).min(PULSE / 4);
        let wait = if is_known { wait } else { PULSE_AT_MOST };
        match self.news.recv_timeout(wait) {
            Ok((whose, heard)) => {
                self.stale = true;
                self.take_in(whose, heard);
                while let Ok((whose, heard)) = self.news.try_recv() {
                    if cancel.is_cancelled() {
                        return;
                    }
                    self.take_in(whose, heard);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }

    /// Keeps away from the GPUs while somebody asks for that. Whether it is known if somebody does.
    fn follow_request(&mut self) -> bool {
        let asked = self.settings.asked_to_yield.borrow().clone();
        let now = Timestamp::now();
        match (&mut self.yielding, asked) {
            (None, Asked::Unknown) => return Instant::now() >= self.known_at,
            (Some(_), Asked::Unknown) | (None, Asked::ByNobody) => return true,
            (None, Asked::By(reason)) => {
                let open = self.close(&reason).err();
                match &open {
                    None => tracing::warn!(reason, "keeping away from the GPUs: NVML is closed"),
                    Some(open) => {
                        tracing::error!(
                            reason,
                            open,
                            "keeping away from the GPUs, but NVML is not closed yet"
                        );
                    }
                }
                self.module_left = false;
                let since = Timestamp::from_second(now.as_second()).unwrap_or(now);
                self.yielding = Some(Yielding { reason, since, open });
            }
            (Some(known), Asked::By(reason)) if known.reason != reason => known.reason = reason,
            (Some(_), Asked::By(_)) => {
                // Without news of the driver, only this tells that it was loaded anew in the same version.
                self.module_left |= procfs::loaded_module(&self.settings.roots.procfs).is_none();
                return true;
            }
            (Some(_), Asked::ByNobody) => {
                tracing::info!("nobody asks to keep away from the GPUs any more; asking NVML anew");
                if self.module_left {
                    self.known.renew();
                }
                self.yielding = None;
                self.retry_at = Instant::now();
                self.pulse_at = self.retry_at;
            }
        }
        self.stale = true;
        true
    }

    /// Looks at everything whose time has come.
    fn look(&mut self) {
        if self.yielding.is_some() {
            return;
        }
        let now = Instant::now();
        let survey = now >= self.survey_at;
        if self.connection.is_none() {
            let surroundings = self.look_around();
            if surroundings != self.surroundings || now >= self.retry_at {
                self.connect(surroundings);
            }
            return;
        }
        if survey {
            self.survey_at = now + SURVEY;
            let surroundings = self.look_around();
            if surroundings != self.surroundings {
                tracing::info!("the driver or the list of GPUs on the PCI bus changed; asking NVML anew");
                self.reconnect(surroundings);
                return;
            }
        }
        let wish = self.feel_pulses();
        let refresh = now >= self.refresh_at;
        match wish {
            Wish::Close => {
                self.known.renew();
                let surroundings = self.look_around();
                self.reconnect(surroundings);
            }
            // A GPU that comes and goes costs the others no more than this.
            Wish::Reopen if now < self.connected_at + SURVEY => {}
            Wish::Reopen => {
                let surroundings = self.look_around();
                self.reconnect(surroundings);
            }
            // A GPU that stays lost may come back unseen by the session that lost it.
            Wish::Nothing if refresh && self.known.may_have_come_back() => {
                let surroundings = self.look_around();
                self.reconnect(surroundings);
            }
            Wish::Read => self.read_again(),
            Wish::Nothing if refresh || (survey && self.known.is_settling()) => self.read_again(),
            Wish::Nothing => {}
        }
    }

    fn look_around(&self) -> Surroundings {
        self.surroundings.look_again(&self.settings.roots)
    }

    fn reconnect(&mut self, surroundings: Surroundings) {
        // What cannot be closed was said, and hinders no other session.
        drop(self.close(RENEWED));
        self.connect(surroundings);
    }

    fn close(&mut self, why: &str) -> Result<(), String> {
        self.ears.clear();
        self.shared.set(Err(why.to_owned()));
        self.connection.take().map_or(Ok(()), close)
    }

    /// Opens a session, and shows what it brings. Without one, shows why.
    fn connect(&mut self, surroundings: Surroundings) {
        let now = Instant::now();
        let first = self.number == 0;
        let within = if first { self.settings.gpu_timeout } else { self.settings.gpu_timeout.min(ANSWER) };
        if surroundings.module != self.surroundings.module && !first {
            // Another kernel module has initialised all GPUs anew.
            self.known.renew();
        }
        self.surroundings = surroundings;
        let (session, search) = match open(&self.settings.roots, within) {
            Ok(opened) => opened,
            Err(inventory) => {
                self.go_without(*inventory, now);
                return;
            }
        };
        let fresh = discover(&session, search, &self.settings.roots.sysfs, within);
        self.number += 1;
        self.without = None;
        self.retry_after = PULSE;
        self.connected_at = now;
        self.survey_at = now + SURVEY;
        self.listen_at = now;
        tracing::info!(
            gpus = fresh.gpus.len(),
            usable = fresh.gpus.iter().filter(|gpu| gpu.usable).count(),
            driver = fresh.versions.driver.as_ref().map(|version| &version.raw),
            "NVML answers"
        );
        let names = self.settle(fresh, session.gpus().len());
        self.use_connection(Connection { session: Arc::new(session), names });
        // What it wishes comes with the next pulse.
        self.feel_pulses();
    }

    fn go_without(&mut self, inventory: Inventory, now: Instant) {
        let reason = inventory
            .problems
            .first()
            .map_or_else(|| "NVML gives no reason".to_owned(), |problem| problem.message.clone());
        self.metrics.nvml_error(NvmlCall::Open, NvmlCode::Other);
        if self.without.as_ref().is_none_or(|(_, before)| *before != reason) {
            tracing::warn!(reason, "NVML cannot be used; it is tried again when the driver changes");
        }
        self.shared.set(Err(reason.clone()));
        self.without = Some((inventory, reason));
        self.retry_at = now + self.retry_after;
        self.retry_after = (self.retry_after * 2).min(RETRY_AT_MOST);
    }

    /// Reads all facts again, in the session that there is.
    fn read_again(&mut self) {
        let Some(connection) = self.connection.clone() else { return };
        let within = self.settings.gpu_timeout.min(ANSWER);
        let search = self.known.library();
        let fresh = discover(&connection.session, search, &self.settings.roots.sysfs, within);
        let names = self.settle(fresh, connection.session.gpus().len());
        self.use_connection(Connection { session: Arc::clone(&connection.session), names });
    }

    fn use_connection(&mut self, connection: Connection) {
        let connection = Arc::new(connection);
        self.shared.set(Ok(Arc::clone(&connection)));
        self.connection = Some(connection);
    }

    fn settle(&mut self, fresh: Inventory, lanes: usize) -> BTreeMap<usize, String> {
        self.refresh_at = Instant::now() + REFRESH;
        self.known.settle(fresh, lanes, &self.surroundings.bus)
    }

    /// Asks every GPU whether it lives, and enters what comes of it.
    fn feel_pulses(&mut self) -> Wish {
        let Some(connection) = self.connection.clone() else { return Wish::Nothing };
        let within = self.settings.gpu_timeout.min(ANSWER);
        let in_force =
            connection.session.node().submit_read("ask for the driver", within, |node| node.is_in_force());
        let asked: Vec<_> = connection
            .session
            .gpus()
            .iter()
            .map(|lane| lane.submit_read("feel the pulse", within, |gpu| gpu.pulse()))
            .collect();
        let mut wish = Wish::Nothing;
        if let Ok(Err(error)) = in_force.and_then(|pending| pending.wait())
            && error.is_driver_gone()
        {
            self.metrics.nvml_error(NvmlCall::Pulse, code_of_call(error.code));
            return Wish::Close;
        }
        for (lane, asked) in asked.into_iter().enumerate() {
            let name = connection.names.get(&lane).map(String::as_str);
            let pulse = asked.and_then(|pending| pending.wait());
            let (news, wished) = match pulse {
                Ok(Pulse::Beats { recovery_action }) => {
                    let away = name.is_none_or(|name| self.known.is_away(name));
                    let wished = if away { Wish::Read } else { Wish::Nothing };
                    (Some(News::Answers { recovery_action }), wished)
                }
                Ok(Pulse::Lost) => {
                    self.metrics.nvml_error(NvmlCall::Pulse, NvmlCode::Returned(LOST));
                    (Some(News::Lost("NVML says that the GPU is lost".into())), Wish::Nothing)
                }
                Ok(Pulse::Returned) => {
                    (Some(News::Lost("the GPU was lost and is being initialised".into())), Wish::Reopen)
                }
                Ok(Pulse::NeedsReset) => (Some(News::NeedsReset), Wish::Nothing),
                Ok(Pulse::NoDriver) => (None, Wish::Close),
                Ok(Pulse::Failed(error)) => {
                    self.metrics.nvml_error(NvmlCall::Pulse, code_of_call(error.code));
                    tracing::debug!(lane, %error, "a pulse could not be felt");
                    (None, Wish::Nothing)
                }
                Err(error) => {
                    self.metrics.nvml_error(NvmlCall::Pulse, code_of_lane(&error));
                    (Some(News::Silent(format!("NVML does not answer: {error}"))), Wish::Nothing)
                }
            };
            wish = wish.max(wished);
            if let (Some(name), Some(news)) = (name, news) {
                self.known.enter(name, &news);
            }
        }
        self.known.unlisted_are_lost();
        wish
    }

    /// Opens an ear for each GPU that answers and has none.
    fn listen(&mut self) {
        let now = Instant::now();
        let Some(connection) = self.connection.clone().filter(|_| now >= self.listen_at) else { return };
        for (lane, name) in &connection.names {
            if self.ears.contains_key(lane) || self.known.is_away(name) {
                continue;
            }
            let whose = Whose { connection: self.number, lane: *lane };
            match Ear::open(&connection.session, whose, name, self.tell.clone()) {
                Ok(ear) => drop(self.ears.insert(*lane, ear)),
                Err(error) => {
                    self.listen_at = now + LISTEN_AGAIN;
                    self.metrics.nvml_error(NvmlCall::Events, NvmlCode::Other);
                    tracing::warn!(device = name, %error, "the GPU's events are not heard; it is asked every second");
                }
            }
        }
    }

    fn take_in(&mut self, whose: Whose, heard: Heard) {
        if whose.connection != self.number {
            return;
        }
        let Some(device) = self.connection.as_ref().and_then(|connection| connection.names.get(&whose.lane))
        else {
            return;
        };
        let device = device.clone();
        match heard {
            Heard::Event(event) => {
                if event.kind == XID {
                    self.metrics.xid(&device, event.data);
                }
                self.known.happened(&device, &event);
            }
            Heard::GpuLost => {
                self.ears.remove(&whose.lane);
                self.known.enter(&device, &News::Lost("NVML says that the GPU is lost".into()));
            }
            Heard::Deaf(error) => {
                self.ears.remove(&whose.lane);
                self.listen_at = Instant::now() + PULSE;
                self.metrics.nvml_error(NvmlCall::Events, code_of_call(error.code));
                tracing::debug!(device, %error, "the GPU's events are not heard any more");
                return;
            }
        }
        // What the driver recommends now, and whether the GPU is there, is worth asking at once.
        self.pulse_at = self.pulse_at.min(Instant::now() + PULSE_AT_MOST);
    }

    fn publish(&self) {
        let epoch =
            |driver_version| Epoch { boot_id: self.view.borrow().epoch.boot_id.clone(), driver_version };
        let on_bus = || self.surroundings.on_bus();
        if let Some(yielding) = self.yielding.clone() {
            return self.show(self.view_while(yielding));
        }
        let view = match (&self.without, &self.connection) {
            (Some((inventory, reason)), _) => View {
                inventory: inventory.clone(),
                on_bus: on_bus(),
                faults: BTreeMap::new(),
                epoch: epoch(self.surroundings.module.clone()),
                without_nvml: Some(reason.clone()),
                yielding: None,
            },
            (None, Some(_)) => View {
                inventory: self.known.inventory(),
                on_bus: on_bus(),
                faults: self.known.faults().clone(),
                epoch: epoch(self.known.driver_version()),
                without_nvml: None,
                yielding: None,
            },
            (None, None) => return,
        };
        self.show(view);
    }

    /// What is shown while the driver keeps away: the GPUs as they were. Where NVML was never asked, nothing is known.
    fn view_while(&self, yielding: Yielding) -> View {
        let before = View::clone(&self.view.borrow());
        if !before.was_asked() {
            return View { yielding: Some(yielding), ..before };
        }
        let without_nvml = Some(yielding.reason.clone());
        View { without_nvml, yielding: Some(yielding), ..before }
    }

    fn show(&self, view: View) {
        self.view.send_if_modified(|shown| {
            let differs = **shown != view;
            if differs {
                *shown = Arc::new(view);
            }
            differs
        });
    }
}

/// Why there is no session at this moment.
const RENEWED: &str = "its session is being renewed";
/// NVML's code for a GPU that is lost.
const LOST: u32 = dra_driver::nvml::reading::code::GPU_IS_LOST;
