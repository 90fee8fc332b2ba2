//! `run`: follows the cluster, measures, and says why claims wait.
//!
//! ```text
//! watch ──▶ Index ──▶ /metrics
//!             │  ▲
//!             ▼  │ explained
//!          threads that explain ──▶ Events
//! Lease ──▶ which replica acts
//! ```

mod announce;
mod version;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dra_runtime::admin::{self, Admin};
use dra_runtime::events::{self, Events};
use dra_runtime::lease::{self, Leadership, LeaseSettings};
use jiff::Timestamp;
use kube::Client;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::allocator::Cancel;
use crate::arguments::RunOptions;
use crate::cel;
use crate::cluster::Cluster;
use crate::explain::{Asked, Explanation, explain};
use crate::index::{Index, Now, Settings, Task};
use crate::observe::metrics::{Metrics, Options, WriteResult};
use crate::{translate, watch};

/// Threads of the runtime. What takes long has threads of its own.
const THREADS: usize = 2;
/// News that wait to be taken: more hold up the watches.
const NEWS: usize = 1024;
/// How many news are taken at once.
const AT_ONCE: usize = 256;
/// How often is looked for pods to be explained.
const PACE: Duration = Duration::from_millis(100);
/// How many pods are explained at the same time.
const EXPLAINERS: usize = 2;
/// How long one explanation may take: as long as the scheduler gives an allocation.
const EXPLANATION: Duration = Duration::from_secs(10);
/// How often what nobody uses is forgotten.
const SHRINK: Duration = Duration::from_secs(300);
/// After what time without doing anything the controller is to be started anew.
const STUCK: Duration = Duration::from_secs(120);
/// How long a Lease holds without being renewed, and how often it is renewed.
const LEASE: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(5);

/// Runs until a signal asks for the end.
///
/// # Errors
/// What keeps the controller from starting at all: a setting that cannot be, or an address that is taken.
pub fn run(options: &RunOptions) -> Result<ExitCode> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let done = runtime.block_on(controller(options)).map(|()| ExitCode::SUCCESS);
    // An explanation that is under way is worth nothing any more.
    runtime.shutdown_background();
    done
}

async fn controller(options: &RunOptions) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let version = env!("CARGO_PKG_VERSION");
    let driver = &options.driver_name;
    let user_agent = concat!("dra-controller/", env!("CARGO_PKG_VERSION"));
    let client = dra_runtime::client::client(&options.client, user_agent).await?;
    let cache = Arc::new(cel::Cache::default());
    let settings = Settings {
        driver: driver.as_str().into(),
        classes: options.device_classes.iter().map(|class| class.as_str().into()).collect(),
        grace: options.explain_after,
    };
    let index = Arc::new(Mutex::new(Index::new(settings, Arc::clone(&cache))));
    let shown =
        Options { claim_info_limit: options.claim_info_limit, ordered_names: options.ordered_metric_names };
    let metrics = Metrics::new(Arc::clone(&index), now, shown, driver, version);
    let listener = admin::bind(options.admin_address).await?;
    let admin_address = listener.local_addr()?;
    tracing::info!(driver, version, %admin_address, lease = %options.lease, identity = options.identity, "starting");

    let end = CancellationToken::new();
    let beat = Arc::new(AtomicU64::new(now().ticks.as_secs()));
    tokio::spawn(admin::serve(listener, endpoints(&index, &metrics, &beat), end.clone()));
    tokio::spawn(version::follow(client.clone(), Arc::clone(&index), end.clone()));
    let (sender, news) = mpsc::channel(NEWS);
    watch::follow(client.clone(), sender, end.clone());
    let lease = LeaseSettings {
        lease: options.lease.clone(),
        identity: options.identity.clone(),
        duration: LEASE,
        renew: RENEW,
    };
    let (leadership, leasing) = lease::start(client.clone(), lease, end.clone());
    if options.translate_parameters {
        translate(options, client.clone(), leadership.clone(), &metrics, &end);
    }
    let (announcer, announcing) = announce::start(
        client,
        announce::Source { driver: driver.clone(), instance: options.identity.clone() },
        leadership.clone(),
        (metrics.clone(), Arc::clone(&index)),
        end.clone(),
    );
    let work = Work { index, cache, metrics, announcer, leadership, beat };
    tokio::select! {
        () = work.go(news) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to end");
    end.cancel();
    // The Lease is given back, so that another replica goes on at once.
    drop(leasing.await);
    drop(announcing.await);
    Ok(())
}

/// Starts to make templates and classes of ConfigMaps.
fn translate(
    options: &RunOptions,
    client: Client,
    leadership: Leadership,
    metrics: &Metrics,
    end: &CancellationToken,
) {
    let driver = options.driver_name.clone();
    let (events, queue) = Events::queue();
    let telling = events::run(client.clone(), queue, driver.clone(), options.identity.clone(), end.clone());
    tokio::spawn(telling);
    let namespace = options.parameter_namespace.as_ref().unwrap_or(&options.lease.namespace);
    let class = options.device_classes.first().cloned().unwrap_or_else(|| format!("gpu.{driver}"));
    let settings = translate::live::Settings { driver, device_class: class, namespace: namespace.clone() };
    let metrics = metrics.clone();
    let wrote: translate::live::Wrote = Arc::new(move |kind, is_written| {
        metrics.wrote(kind, if is_written { WriteResult::Written } else { WriteResult::Failed });
    });
    tokio::spawn(translate::live::run(client, settings, events, leadership, wrote, end.clone()));
}

/// The time.
pub(crate) fn now() -> Now {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    Now { ticks: BEGAN.get_or_init(Instant::now).elapsed(), wall: Timestamp::now() }
}

pub(crate) fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    // Changes are whole: what a panicking thread left is as good as what was there before.
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

fn endpoints(index: &Arc<Mutex<Index>>, metrics: &Metrics, beat: &Arc<AtomicU64>) -> Admin {
    let (index, beat) = (Arc::clone(index), Arc::clone(beat));
    Admin {
        metrics: metrics.registry(),
        healthy: admin::check(move || {
            let rests = now().ticks.as_secs().saturating_sub(beat.load(Ordering::Relaxed));
            async move {
                if rests < STUCK.as_secs() {
                    return Ok(());
                }
                Err(format!("nothing was done for {rests} s: this is a defect of the controller"))
            }
        }),
        ready: admin::check(move || {
            let index = Arc::clone(&index);
            async move {
                let index = lock(&index);
                let missing: Vec<&str> =
                    index.lists().lines().iter().filter(|line| !line.1).map(|line| line.0).collect();
                if missing.is_empty() {
                    return Ok(());
                }
                Err(format!("not read yet: {}; the log says why", missing.join(", ")))
            }
        }),
    }
}

/// What the controller works with.
struct Work {
    index: Arc<Mutex<Index>>,
    cache: Arc<cel::Cache>,
    metrics: Metrics,
    announcer: announce::Announcer,
    leadership: Leadership,
    /// When it did something last, in seconds.
    beat: Arc<AtomicU64>,
}

impl Work {
    /// Takes news, and has pods explained, until there will be no more news.
    async fn go(mut self, mut news: mpsc::Receiver<watch::Change>) {
        let mut explanations: JoinSet<(Task, Explanation, Duration)> = JoinSet::new();
        let mut pace = tokio::time::interval(PACE);
        let mut shrink = tokio::time::interval(SHRINK);
        let mut changes = Vec::with_capacity(AT_ONCE);
        loop {
            tokio::select! {
                taken = news.recv_many(&mut changes, AT_ONCE) => {
                    if taken == 0 {
                        return;
                    }
                    let mut index = lock(&self.index);
                    changes.drain(..).for_each(|change| index.change(change, now()));
                }
                Some(done) = explanations.join_next() => {
                    if let Ok((task, explanation, took)) = done {
                        self.explained(&task, &explanation, took);
                    }
                }
                () = self.leadership.changed() => {}
                _ = pace.tick() => {}
                _ = shrink.tick() => lock(&self.index).shrink(),
            }
            self.beat.store(now().ticks.as_secs(), Ordering::Relaxed);
            let room = EXPLAINERS.saturating_sub(explanations.len());
            let tasks = {
                let mut index = lock(&self.index);
                index.lead(self.leadership.is_held());
                index.due(now(), room)
            };
            for task in tasks {
                // The copy is made before the next news are taken.
                let cluster = lock(&self.index).cluster().clone();
                let cache = Arc::clone(&self.cache);
                explanations.spawn_blocking(move || {
                    let began = Instant::now();
                    let explanation = explained(&cluster, &task, &cache);
                    (task, explanation, began.elapsed())
                });
            }
        }
    }

    fn explained(&self, task: &Task, explanation: &Explanation, took: Duration) {
        self.metrics.explained(took);
        let all = lock(&self.index).explained(task, explanation, now());
        for said in all {
            tracing::info!(
                about = said.about.kind.as_str(), namespace = %said.about.name.namespace, name = %said.about.name.name,
                reason = explanation.blocker.as_str(), "a claim waits"
            );
            if let Err(said) = self.announcer.say(said) {
                self.metrics.dropped();
                lock(&self.index).unsaid(&said.about);
            }
        }
    }
}

/// Explains a pod. A panic is a defect of this program: it is logged, and the other pods are explained all the same.
fn explained(cluster: &Cluster, task: &Task, cache: &cel::Cache) -> Explanation {
    let Some(pod) = cluster.pods().get(&task.pod) else {
        return Explanation::unexplained(&Asked::default());
    };
    let asked = Asked::of_pod(cluster, pod);
    let cancel = Cancel::at(Instant::now() + EXPLANATION);
    let explained =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| explain(cluster, &asked, cache, &cancel)));
    explained.unwrap_or_else(|_| {
        tracing::error!(pod = %task.pod, "explaining a pod failed: this is a defect of the controller");
        Explanation::unexplained(&asked)
    })
}
