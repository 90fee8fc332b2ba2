//! The registered plugins of all drivers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{
    calls::Service,
    connection::Connection,
    health::{self, Reports},
    settings::Settings,
    slices,
    task::Task,
};

/// A plugin that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The driver's name.
    pub driver: String,
    /// The socket that serves `DRAPlugin`.
    pub endpoint: PathBuf,
    /// The service that was chosen of the plugin's list, such as `v1.DRAPlugin`.
    pub service: &'static str,
    /// Whether there is a connection.
    pub connected: bool,
}

/// A plugin that may be called.
#[derive(Clone, Debug)]
pub(super) struct Plugin {
    pub(super) service: Service,
    pub(super) connection: Connection,
}

#[derive(Debug)]
pub(super) struct Plugins {
    settings: Settings,
    reports: Arc<Reports>,
    this: Weak<Self>,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    /// By driver, in order of registration.
    drivers: BTreeMap<String, Vec<Entry>>,
    /// The running delays of drivers without a connection. One that is over stays until there is a connection:
    /// ResourceSlices are deleted once for each loss.
    delays: BTreeMap<String, Task>,
    /// Deletions that have begun; they go on when the driver comes back, as with the kubelet.
    wiping: Vec<Task>,
}

#[derive(Debug)]
struct Entry {
    endpoint: PathBuf,
    plugin: Plugin,
    /// Whether the plugin knows that it is registered.
    told: bool,
    _health: Task,
}

impl Plugins {
    /// Starts without any plugin; all ResourceSlices of the node are deleted.
    pub(super) fn start(settings: Settings, reports: Arc<Reports>) -> Arc<Self> {
        let plugins = Arc::new_cyclic(|this| Self {
            settings,
            reports,
            this: Weak::clone(this),
            store: Mutex::default(),
        });
        plugins.wipe(&mut plugins.store(), None);
        plugins
    }

    /// Chooses of a plugin's list.
    ///
    /// # Errors
    ///
    /// The kubelet's words, for an empty list or one without a service that is known.
    pub(super) fn validate(driver: &str, endpoint: &Path, versions: &[String]) -> Result<Service, String> {
        let known = Service::ALL.map(Service::name);
        let chosen =
            versions.iter().find_map(|version| Service::ALL.into_iter().find(|s| s.name() == version));
        let why = match chosen {
            Some(service) => return Ok(service),
            None if versions.is_empty() => {
                "empty list of supported gRPC services (aka supported versions)".to_owned()
            }
            None => format!(
                "none of services supported by the plugin ({}) are supported by the kubelet ({})",
                quoted(versions),
                quoted(&known)
            ),
        };
        Err(format!(
            "invalid supported gRPC versions of DRA driver plugin {driver} at endpoint {}: {why}",
            endpoint.display()
        ))
    }

    /// Adds a plugin and connects to it.
    ///
    /// # Errors
    ///
    /// The kubelet's words, for an endpoint that the driver registered already.
    pub(super) fn add(&self, driver: &str, endpoint: &Path, service: Service) -> Result<(), String> {
        let mut store = self.store();
        let entries = store.drivers.entry(driver.to_owned()).or_default();
        if entries.iter().any(|entry| entry.endpoint == endpoint) {
            return Err(format!(
                "endpoint {} already registered for DRA driver plugin {driver}",
                endpoint.display()
            ));
        }
        let (this, name) = (Weak::clone(&self.this), driver.to_owned());
        let connection = Connection::open(endpoint.to_owned(), &self.settings.timings, move || {
            if let Some(plugins) = this.upgrade() {
                plugins.sync(&mut plugins.store(), &name);
            }
        });
        let health = Task::start(health::watch(
            connection.clone(),
            Arc::clone(&self.reports),
            driver.to_owned(),
            self.settings.timings.clone(),
        ));
        let plugin = Plugin { service, connection };
        entries.push(Entry { endpoint: endpoint.to_owned(), plugin, told: false, _health: health });
        self.sync(&mut store, driver);
        Ok(())
    }

    /// Notes that a plugin knows that it is registered.
    pub(super) fn told(&self, driver: &str, endpoint: &Path) {
        let mut store = self.store();
        let entries = store.drivers.get_mut(driver).into_iter().flatten();
        for entry in entries.filter(|entry| entry.endpoint == endpoint) {
            entry.told = true;
        }
    }

    /// Removes a plugin and ends its connection.
    pub(super) fn remove(&self, driver: &str, endpoint: &Path) {
        let mut store = self.store();
        if let Some(entries) = store.drivers.get_mut(driver) {
            entries.retain(|entry| entry.endpoint != endpoint);
            if entries.is_empty() {
                store.drivers.remove(driver);
            }
            self.sync(&mut store, driver);
        }
    }

    /// The driver's plugin to call: the last registered of those with a connection, else the last registered.
    pub(super) fn get(&self, driver: &str) -> Option<Plugin> {
        let store = self.store();
        let entries = store.drivers.get(driver)?;
        let connected = entries.iter().rev().find(|entry| entry.plugin.connection.connected());
        connected.or(entries.last()).map(|entry| entry.plugin.clone())
    }

    /// All plugins that know that they are registered, in order of registration for each driver.
    pub(super) fn list(&self) -> Vec<Registered> {
        let store = self.store();
        let all = store.drivers.iter().flat_map(|(driver, entries)| entries.iter().map(move |e| (driver, e)));
        all.filter(|(_, entry)| entry.told)
            .map(|(driver, entry)| Registered {
                driver: driver.clone(),
                endpoint: entry.endpoint.clone(),
                service: entry.plugin.service.name(),
                connected: entry.plugin.connection.connected(),
            })
            .collect()
    }

    /// Starts or cancels the delay after which a driver's ResourceSlices are deleted.
    fn sync(&self, store: &mut Store, driver: &str) {
        let entries = store.drivers.get(driver);
        if entries.is_some_and(|entries| entries.iter().any(|entry| entry.plugin.connection.connected())) {
            store.delays.remove(driver);
            return;
        }
        if store.delays.contains_key(driver) {
            return;
        }
        let (this, name, delay) = (Weak::clone(&self.this), driver.to_owned(), self.settings.timings.wipe);
        let task = Task::start(async move {
            tokio::time::sleep(delay).await;
            if let Some(plugins) = this.upgrade() {
                plugins.wipe(&mut plugins.store(), Some(name));
            }
        });
        store.delays.insert(driver.to_owned(), task);
    }

    fn wipe(&self, store: &mut Store, driver: Option<String>) {
        if let Some(client) = self.settings.client.clone() {
            let (node, timings) = (self.settings.node.clone(), self.settings.timings.clone());
            store.wiping.push(Task::start(slices::wipe(client, node, driver, timings)));
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A list as the kubelet prints it.
fn quoted(names: &[impl AsRef<str>]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{:?}", name.as_ref())).collect();
    format!("[{}]", names.join(" "))
}
