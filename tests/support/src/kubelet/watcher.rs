//! The registry folder: what appears there is registered, what vanishes is deregistered.

use std::{
    collections::BTreeMap,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use dra_kubelet_proto::names::DRA_PLUGIN_TYPE;
use tokio::{task::JoinSet, time::Instant};

use super::{
    plugins::Plugins,
    registration::Registration,
    settings::{Backoff, Settings},
};

/// Tells a socket from a later one at the same path: its inode and when it was made, in seconds and nanoseconds.
type Identity = (u64, i64, i64);

/// What failed, in order of time.
pub(super) type Failures = Arc<Mutex<Vec<String>>>;

/// A socket whose plugin is registered.
struct Actual {
    identity: Identity,
    driver: String,
    endpoint: PathBuf,
}

/// A socket whose last registration failed.
struct Failed {
    backoff: Backoff,
    again: Instant,
}

/// Registers and deregisters until it is dropped.
pub(super) async fn watch(settings: Settings, plugins: Arc<Plugins>, failures: Failures) {
    let mut actual: BTreeMap<PathBuf, Actual> = BTreeMap::new();
    let mut failed: BTreeMap<PathBuf, Failed> = BTreeMap::new();
    let mut running: BTreeMap<PathBuf, Identity> = BTreeMap::new();
    let mut work: JoinSet<(PathBuf, Result<Actual, String>)> = JoinSet::new();
    let mut ticks = tokio::time::interval(settings.timings.reconcile);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(Ok((socket, result))) = work.join_next() => {
                running.remove(&socket);
                match result {
                    Ok(plugin) => {
                        failed.remove(&socket);
                        actual.insert(socket, plugin);
                    }
                    Err(error) => {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                        let entry = failed.entry(socket).or_insert_with(|| Failed {
                            backoff: Backoff::new(&settings.timings.registration_backoff, 200),
                            again: Instant::now(),
                        });
                        entry.again = Instant::now() + entry.backoff.failed();
                    }
                }
            }
            _ = ticks.tick() => {
                let desired = sockets(&settings.registry);
                actual.retain(|socket, plugin| {
                    let stays = desired.get(socket) == Some(&plugin.identity);
                    if !stays {
                        plugins.remove(&plugin.driver, &plugin.endpoint);
                    }
                    stays
                });
                for (socket, identity) in desired {
                    let waits = failed.get(&socket).is_some_and(|failed| Instant::now() < failed.again);
                    if waits || actual.contains_key(&socket) || running.contains_key(&socket) {
                        continue;
                    }
                    running.insert(socket.clone(), identity);
                    let (settings, plugins) = (settings.clone(), Arc::clone(&plugins));
                    work.spawn(async move {
                        let result = register(&settings, &plugins, &socket, identity).await;
                        (socket, result)
                    });
                }
            }
        }
    }
}

/// Registers the plugin behind `socket`. Errors have the kubelet's words.
async fn register(
    settings: &Settings,
    plugins: &Plugins,
    socket: &Path,
    identity: Identity,
) -> Result<Actual, String> {
    let (timings, path) = (&settings.timings, socket.display());
    let mut connection = Registration::dial(socket, settings.authority, timings)
        .await
        .map_err(|error| format!("RegisterPlugin error -- dial failed at socket {path}, err: {error}"))?;
    let info = connection.get_info(timings.get_info).await.map_err(|error| {
        format!(
            "RegisterPlugin error -- failed to get plugin info using RPC GetInfo at socket {path}, err: {error}"
        )
    })?;
    if info.r#type != DRA_PLUGIN_TYPE {
        let why = format!(
            "RegisterPlugin error -- no handler registered for plugin type: {} at socket {path}",
            info.r#type
        );
        return Err(refuse(&mut connection, settings, why, socket).await);
    }
    let endpoint = if info.endpoint.is_empty() { socket.to_owned() } else { PathBuf::from(info.endpoint) };
    let service = match Plugins::validate(&info.name, &endpoint, &info.supported_versions) {
        Ok(service) => service,
        Err(error) => {
            let why = format!("RegisterPlugin error -- plugin validation failed with err: {error}");
            return Err(refuse(&mut connection, settings, why, socket).await);
        }
    };
    if let Err(error) = plugins.add(&info.name, &endpoint, service) {
        let why = format!("RegisterPlugin error -- plugin registration failed with err: {error}");
        return Err(refuse(&mut connection, settings, why, socket).await);
    }
    if let Err(error) = connection.notify(None, timings.notify).await {
        plugins.remove(&info.name, &endpoint);
        return Err(format!(
            "RegisterPlugin error -- failed to send registration status at socket {path}, err: {error}"
        ));
    }
    plugins.told(&info.name, &endpoint);
    Ok(Actual { identity, driver: info.name, endpoint })
}

/// Tells a plugin why it is not taken; answers the same.
async fn refuse(connection: &mut Registration, settings: &Settings, why: String, socket: &Path) -> String {
    match connection.notify(Some(&why), settings.timings.notify).await {
        Ok(()) => why,
        Err(error) => format!(
            "RegisterPlugin error -- failed to send error at socket {}, err: {why}: {error}",
            socket.display()
        ),
    }
}

/// The sockets under `folder`, but for what is named with a dot in front.
fn sockets(folder: &Path) -> BTreeMap<PathBuf, Identity> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // A folder or file that vanishes meanwhile is as good as one that was never there.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.file_type().is_socket() {
                found.insert(entry.path(), (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()));
            }
        }
    }
    found
}
