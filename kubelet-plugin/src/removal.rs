//! What the plugin takes with it when it is removed from the cluster for good.
//!
//! A plugin that ends is usually one that comes back: after an update, a drain, a reboot. Then its slices, CDI specs and
//! records stay. When its DaemonSet is gone there is none that comes back, and what it has put on the node and into the
//! API goes with it, unless claims are still prepared: their pods need the specs.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, io};

use dra_driver::cdi::folder::Folder;
use dra_driver::claim::StateError;
use dra_driver::claim::journal::{Journal, OnDisk};
use dra_runtime::object_name::ObjectName;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use thiserror::Error;
use tokio::time::timeout;

/// How long the API server may take for an answer; the kubelet kills the plugin 30 s after it has asked it to end.
const ANSWER: Duration = Duration::from_secs(5);

/// What a removal is about.
pub struct Removal {
    /// The client.
    pub client: Client,
    /// The DaemonSet that the plugin belongs to.
    pub daemon_set: ObjectName,
    /// The DRA driver's name.
    pub driver: String,
    /// The name of the Node object.
    pub node: String,
    /// The driver's own folders, which go as a whole.
    pub folders: Folders,
}

impl fmt::Debug for Removal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Removal").field("folders", &self.folders).finish_non_exhaustive()
    }
}

/// Where the plugin's traces on the node are.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The driver's state.
    pub state: PathBuf,
    /// The driver's folder among those of the kubelet's plugins.
    pub plugin: PathBuf,
    /// The CDI specs.
    pub cdi: Folder,
}

/// Why something stays.
#[derive(Debug, Error)]
pub enum RemovalError {
    /// The API server.
    #[error("cannot {attempt}: {source}")]
    Api {
        /// What was attempted.
        attempt: &'static str,
        /// What went wrong.
        source: kube::Error,
    },
    /// The API server, which said nothing.
    #[error("cannot {0}: the API server gives no answer")]
    NoAnswer(&'static str),
    /// Claims.
    #[error("{0} claims are still prepared on this node; their pods have to end first")]
    Prepared(usize),
    /// The records.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file.
    #[error("cannot remove {path}: {source}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A panic.
    #[error("a defect of the plugin; its log has the panic")]
    Defect,
}

impl Removal {
    /// Takes everything along if the plugin is removed for good. Call it when nothing else of the plugin runs any more.
    pub async fn clean_up(self, boot_id: String) {
        match self.is_for_good().await {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                tracing::info!(%error, "whether the plugin is removed for good is not known: everything stays");
                return;
            }
        }
        let folders = self.folders.clone();
        let removed = tokio::task::spawn_blocking(move || folders.remove(&boot_id)).await;
        if let Err(error) = removed.unwrap_or(Err(RemovalError::Defect)) {
            tracing::warn!(%error, "the plugin is removed from the cluster, and leaves things on this node");
        }
        match self.remove_slices().await {
            Ok(()) => tracing::info!("the plugin is removed for good, and so is what it had published"),
            Err(error) => {
                tracing::warn!(%error, "the plugin is removed from the cluster, and leaves ResourceSlices")
            }
        }
    }

    async fn is_for_good(&self) -> Result<bool, RemovalError> {
        let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.daemon_set.namespace);
        let set = answer("get the plugin's DaemonSet", sets.get_opt(&self.daemon_set.name)).await?;
        Ok(set.is_none_or(|set| set.metadata.deletion_timestamp.is_some()))
    }

    async fn remove_slices(&self) -> Result<(), RemovalError> {
        let slices: Api<ResourceSlice> = Api::all(self.client.clone());
        let own =
            ListParams::default().fields(&format!("spec.driver={},spec.nodeName={}", self.driver, self.node));
        for slice in answer("list the node's ResourceSlices", slices.list(&own)).await? {
            let name = slice.metadata.name.unwrap_or_default();
            let deleted =
                answer("delete a ResourceSlice", slices.delete(&name, &DeleteParams::default())).await;
            match deleted {
                Err(RemovalError::Api { source: kube::Error::Api(status), .. }) if status.code == 404 => {}
                other => drop(other?),
            }
        }
        Ok(())
    }
}

async fn answer<T>(
    attempt: &'static str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RemovalError> {
    match timeout(ANSWER, request).await {
        Ok(answer) => answer.map_err(|source| RemovalError::Api { attempt, source }),
        Err(_elapsed) => Err(RemovalError::NoAnswer(attempt)),
    }
}

impl Folders {
    /// Removes them, unless a claim is prepared.
    fn remove(&self, boot_id: &str) -> Result<(), RemovalError> {
        let journal = Journal::look(&self.state);
        let mut prepared = 0;
        for uid in journal.claims()? {
            match journal.read(&uid, boot_id)? {
                OnDisk::Absent | OnDisk::Tombstone(_) | OnDisk::Void(_) => {}
                _ => prepared += 1,
            }
        }
        if prepared > 0 {
            return Err(RemovalError::Prepared(prepared));
        }
        gone(&self.cdi.driver_path(), fs::remove_file(self.cdi.driver_path()))?;
        for folder in [&self.plugin, &self.state] {
            gone(folder, fs::remove_dir_all(folder))?;
        }
        Ok(())
    }
}

/// What is not there need not be removed.
fn gone(path: &Path, removed: io::Result<()>) -> Result<(), RemovalError> {
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(RemovalError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
