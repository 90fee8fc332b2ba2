//! The stand-in itself: pods come and go, claims are prepared and unprepared.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::Instant,
};
use tonic::Code;

use super::{
    calls,
    claims::{Batches, Claims, check_unprepare},
    error::{Error, PrepareError, UnprepareError},
    health::{DeviceHealth, Health, Reports},
    plugins::{Plugin, Plugins, Registered},
    pods::{Pod, Prepared, PreparedContainer},
    settings::Settings,
    status::Status,
    task::Task,
    watcher::{self, Failures},
};

/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A kubelet stand-in. Clones are handles of the same one; its work ends when the last is dropped.
#[derive(Clone, Debug)]
pub struct Kubelet(Arc<Inner>);

/// How [`Kubelet::run_pod`] went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the pod's containers get; `None` if the pod was ended before its claims were prepared.
    pub prepared: Option<Prepared>,
    /// The failed attempts, in order of time.
    pub failures: Vec<PrepareError>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    claims: Mutex<Claims>,
    reports: Arc<Reports>,
    failures: Failures,
    pods: Mutex<BTreeMap<String, Arc<Worker>>>,
    /// `None` once stopped.
    session: Mutex<Option<Session>>,
    /// Counts the restarts; calls of an earlier life are given up.
    life: watch::Sender<u64>,
}

/// What does not outlive a restart.
#[derive(Debug)]
struct Session {
    plugins: Arc<Plugins>,
    _watcher: Task,
    _unprepare: Task,
}

/// A pod that has not ended.
#[derive(Debug)]
struct Worker {
    pod: Pod,
    /// Whether the pod is to end. No attempt to prepare begins then; one that runs goes on to its answer or its
    /// deadline, as the kubelet's does.
    ending: watch::Sender<bool>,
    /// Held while the pod is prepared or unprepared.
    busy: AsyncMutex<()>,
}

impl Kubelet {
    /// Starts watching the registry folder. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// The registry folder cannot be made.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        tokio::fs::create_dir_all(&settings.registry)
            .await
            .map_err(|source| Error::Registry { path: settings.registry.clone(), source })?;
        let kubelet = Self(Arc::new(Inner {
            settings,
            claims: Mutex::default(),
            reports: Arc::default(),
            failures: Failures::default(),
            pods: Mutex::default(),
            session: Mutex::default(),
            life: watch::Sender::default(),
        }));
        kubelet.begin();
        Ok(kubelet)
    }

    /// The folders of CDI specs, as set up.
    pub fn cdi(&self) -> &[PathBuf] {
        &self.0.settings.cdi
    }

    /// Waits until a plugin of `driver` knows that it is registered, and is connected.
    ///
    /// # Errors
    ///
    /// It does not come `within` that time.
    pub async fn wait_registered(&self, driver: &str, within: Duration) -> Result<(), Error> {
        let there = || self.plugins().iter().any(|plugin| plugin.driver == driver && plugin.connected);
        if self.wait(within, there).await {
            return Ok(());
        }
        Err(Error::NotRegistered { driver: driver.to_owned(), within, failed: self.registration_errors() })
    }

    /// Waits until `condition` holds; whether it does `within` that time.
    pub async fn wait(&self, within: Duration, condition: impl Fn() -> bool) -> bool {
        let end = Instant::now() + within;
        while !condition() {
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// The registered plugins, by driver, in order of registration.
    pub fn plugins(&self) -> Vec<Registered> {
        self.0.session().as_ref().map(|session| session.plugins.list()).unwrap_or_default()
    }

    /// What the kubelet would log about failed registrations, in order of time.
    pub fn registration_errors(&self) -> Vec<String> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Prepares a pod's claims: one attempt, as before the pod's sandbox is made.
    ///
    /// # Errors
    ///
    /// The text of the event `FailedPrepareDynamicResources`. The kubelet would try again after 60 to 90 s.
    pub async fn prepare_pod(&self, pod: &Pod) -> Result<Prepared, PrepareError> {
        let worker = self.0.worker(pod);
        self.0.prepare(&worker).await
    }

    /// Prepares a pod's claims, and tries again after the kubelet's delay, until they are prepared or the pod is
    /// ended.
    pub async fn run_pod(&self, pod: Pod) -> Run {
        let worker = self.0.worker(&pod);
        let mut ending = worker.ending.subscribe();
        let mut life = self.0.life.subscribe();
        let mut failures = Vec::new();
        loop {
            life.mark_unchanged();
            match self.0.prepare(&worker).await {
                Ok(prepared) => return Run { prepared: Some(prepared), failures },
                Err(_) if *ending.borrow() => return Run { prepared: None, failures },
                Err(error) => failures.push(error),
            }
            tokio::select! {
                () = tokio::time::sleep(draw(&self.0.settings.timings.retry_prepare)) => {}
                // A restarted kubelet looks at all pods at once.
                _ = life.changed() => {}
                _ = ending.wait_for(|&ending| ending) => return Run { prepared: None, failures },
            }
        }
    }

    /// Ends a pod: those of its claims that no other pod uses are unprepared.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPod`], or the failed attempt to unprepare, which is repeated every
    /// [`retry_unprepare`](super::Timings::retry_unprepare).
    pub async fn end_pod(&self, uid: &str) -> Result<(), Error> {
        let worker = self.0.pods().get(uid).cloned();
        let worker = worker.ok_or_else(|| Error::UnknownPod { uid: uid.to_owned() })?;
        worker.ending.send_replace(true);
        Ok(self.0.unprepare(&worker).await?)
    }

    /// Restarts: connections and registrations are new, claims are known but none is prepared, and the node's
    /// ResourceSlices are deleted.
    pub async fn restart(&self) {
        *self.0.session() = None;
        self.0.claims().restart();
        self.begin();
        self.0.life.send_modify(|life| *life += 1);
    }

    /// Ends all work, with that of all clones.
    pub async fn stop(self) {
        *self.0.session() = None;
        self.0.life.send_modify(|life| *life += 1);
    }

    /// The health of a device that its driver last reported, while that holds.
    pub fn health(&self, driver: &str, pool: &str, device: &str) -> Health {
        self.device_health(driver, pool, device).health
    }

    /// [`Kubelet::health`] with the driver's words.
    pub fn device_health(&self, driver: &str, pool: &str, device: &str) -> DeviceHealth {
        self.0.reports.get(driver, pool, device, Instant::now())
    }

    fn begin(&self) {
        let plugins = Plugins::start(self.0.settings.clone(), Arc::clone(&self.0.reports));
        let watcher =
            watcher::watch(self.0.settings.clone(), Arc::clone(&plugins), Arc::clone(&self.0.failures));
        *self.0.session() = Some(Session {
            plugins,
            _watcher: Task::start(watcher),
            _unprepare: Task::start(retry_unprepare(
                Arc::downgrade(&self.0),
                self.0.settings.timings.retry_unprepare,
            )),
        });
    }
}

impl Inner {
    /// The worker of a pod; a new one if the pod is new or has ended.
    fn worker(&self, pod: &Pod) -> Arc<Worker> {
        let mut pods = self.pods();
        if let Some(worker) = pods.get(&pod.uid)
            && worker.pod == *pod
        {
            return Arc::clone(worker);
        }
        let worker = Arc::new(Worker {
            pod: pod.clone(),
            ending: watch::Sender::default(),
            busy: AsyncMutex::default(),
        });
        pods.insert(pod.uid.clone(), Arc::clone(&worker));
        worker
    }

    async fn prepare(&self, worker: &Worker) -> Result<Prepared, PrepareError> {
        let _busy = worker.busy.lock().await;
        let mut life = self.life.subscribe();
        let cancelled = || PrepareError::Call(Status::new(Code::Cancelled, "context canceled"));
        if *worker.ending.borrow() {
            return Err(cancelled());
        }
        tokio::select! {
            biased;
            _ = life.changed() => Err(cancelled()),
            prepared = self.try_prepare(&worker.pod) => prepared,
        }
    }

    async fn try_prepare(&self, pod: &Pod) -> Result<Prepared, PrepareError> {
        let mut plugins = BTreeMap::new();
        for claim in &pod.claims {
            if !claim.reserved_for.contains(&pod.uid) {
                return Err(PrepareError::NotReserved {
                    pod: pod.name.clone(),
                    pod_uid: pod.uid.clone(),
                    claim: claim.name.clone(),
                    claim_uid: claim.uid.clone(),
                });
            }
            if claim.results.is_empty() {
                return Err(PrepareError::NotAllocated { claim: claim.name.clone() });
            }
            for result in &claim.results {
                let plugin = self
                    .plugin(&result.driver)
                    .ok_or_else(|| PrepareError::NotRegistered { driver: result.driver.clone() })?;
                plugins.insert(result.driver.clone(), plugin);
            }
        }
        let batches = self.claims().begin_prepare(pod)?;
        for (driver, asked) in &batches {
            // A claim's drivers may be those of an older allocation.
            let plugin =
                plugins.get(driver).ok_or_else(|| PrepareError::NotRegistered { driver: driver.clone() })?;
            let limit = self.settings.timings.call;
            let answer = calls::prepare(&plugin.connection, plugin.service, asked.clone(), limit)
                .await
                .map_err(PrepareError::Call)?;
            self.claims().answered(driver, asked, answer)?;
        }
        let mut claims = self.claims();
        claims.prepared(&batches);
        let containers = pod.containers.iter().map(|container| PreparedContainer {
            name: container.name.clone(),
            cdi_devices: claims.cdi_devices(pod, container),
        });
        Ok(Prepared { containers: containers.collect() })
    }

    async fn unprepare(&self, worker: &Worker) -> Result<(), UnprepareError> {
        let _busy = worker.busy.lock().await;
        let pod = &worker.pod;
        if !self.pods().contains_key(&pod.uid) {
            // Another attempt was faster. One more would take a claim from the pod that still shares it.
            return Ok(());
        }
        let names: Vec<String> = pod.claims.iter().map(|claim| claim.name.clone()).collect();
        let batches = self.claims().begin_unprepare(&pod.uid, &pod.namespace, &names);
        self.call_unprepare(&batches).await?;
        self.claims().unprepared(&batches);
        self.pods().remove(&pod.uid);
        Ok(())
    }

    async fn call_unprepare(&self, batches: &Batches) -> Result<(), UnprepareError> {
        for (driver, asked) in batches {
            let plugin = self
                .plugin(driver)
                .ok_or_else(|| UnprepareError::NotRegistered { driver: driver.clone() })?;
            let limit = self.settings.timings.call;
            let answer = calls::unprepare(&plugin.connection, plugin.service, asked.clone(), limit)
                .await
                .map_err(UnprepareError::Call)?;
            check_unprepare(asked, answer)?;
        }
        Ok(())
    }

    fn plugin(&self, driver: &str) -> Option<Plugin> {
        self.session().as_ref()?.plugins.get(driver)
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pods(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Worker>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries again to unprepare the pods that should have ended.
async fn retry_unprepare(kubelet: Weak<Inner>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(kubelet) = kubelet.upgrade() else { return };
        let ending: Vec<_> =
            kubelet.pods().values().filter(|worker| *worker.ending.borrow()).cloned().collect();
        for worker in ending {
            // What fails is tried again the next time.
            let _ = kubelet.unprepare(&worker).await;
        }
    }
}

/// A duration of the range, by chance.
fn draw(range: &RangeInclusive<Duration>) -> Duration {
    let width = range.end().saturating_sub(*range.start());
    *range.start() + width.mul_f64(fastrand::f64())
}
