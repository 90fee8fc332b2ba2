//! Removed for good: what the plugin does when it ends because the driver was taken off the cluster.
//!
//! It knows by its DaemonSet, which is gone or going then, and stays where the plugin is only updated or restarted.
//! While a claim is prepared here all is left as it is, since containers may still be started with it.

use std::fs;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dra_driver::cdi::folder::{Folder, FolderError};
use dra_driver::claim::StateError;
use dra_driver::claim::journal::{Journal, OnDisk};
use dra_driver::node::Epoch;
use dra_runtime::flags::ObjectName;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use thiserror::Error;

/// How long the API server may take for an answer: a pod that ends has half a minute.
const ANSWER: Duration = Duration::from_secs(3);

/// Why something of the driver could not be removed.
#[derive(Debug, Error)]
enum RemovalError {
    /// What the claims' records say.
    #[error(transparent)]
    Records(#[from] StateError),
    /// The CDI specs.
    #[error(transparent)]
    Specs(#[from] FolderError),
    /// The boot's id, without which records cannot be told from those of an earlier boot.
    #[error("cannot read the boot's id: {0}; set --procfs")]
    Boot(io::Error),
    /// A folder.
    #[error("cannot remove the folder {path}: {source}", path = .path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What the driver has on its node.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The driver's name.
    pub driver: String,
    /// The name of this node's Node object.
    pub node: String,
    /// The driver's state folder.
    pub state: PathBuf,
    /// The folder of the CDI specs.
    pub cdi: PathBuf,
    /// The driver's folder among the kubelet's plugins.
    pub plugin: PathBuf,
    /// What the kernel shows as `/proc`.
    pub procfs: PathBuf,
}

/// Whether the driver is taken off: its DaemonSet is gone or is being deleted. An API server that does not say so
/// has not said so.
pub async fn is_due(client: Client, daemon_set: &ObjectName) -> bool {
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client, &daemon_set.namespace);
    match answered(daemon_sets.get_opt(&daemon_set.name)).await {
        Ok(found) => found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()),
        Err(error) => {
            tracing::info!(error, %daemon_set, "not known whether the driver is taken off; everything is left");
            false
        }
    }
}

impl Traces {
    /// Removes them, unless claims are prepared here. Nothing else of the plugin may run any more.
    pub async fn remove(&self, client: Client) {
        match self.prepared() {
            Ok(claims) if claims.is_empty() => {}
            Ok(claims) => {
                let claims = claims.join(", ");
                tracing::warn!(
                    claims,
                    "the driver is taken off while claims are prepared here; everything is left"
                );
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "not known whether claims are prepared here; everything is left");
                return;
            }
        }
        // First, so that no pod is sent here any more.
        let slices: Api<ResourceSlice> = Api::all(client);
        let own =
            ListParams::default().fields(&format!("spec.driver={},spec.nodeName={}", self.driver, self.node));
        if let Err(error) = delete(&slices, &own).await {
            tracing::warn!(error, "ResourceSlices of this node not deleted; they go with the Node object");
        }
        match self.remove_files() {
            Ok(()) => {
                tracing::info!("the driver is taken off: its slices and files are removed from this node")
            }
            Err(error) => {
                tracing::warn!(%error, "not all files of the driver are removed; they go with the next boot")
            }
        }
    }

    /// The UIDs of the claims that are prepared, or may be.
    fn prepared(&self) -> Result<Vec<String>, RemovalError> {
        let boot_id = Epoch::read(&self.procfs, None).map_err(RemovalError::Boot)?.boot_id;
        let journal = Journal::look(&self.state);
        let mut claims = journal.claims()?;
        // A spec alone serves containers, too.
        claims.extend(Folder::new(self.cdi.clone(), &self.driver).claims()?);
        claims.sort_unstable();
        claims.dedup();
        let mut prepared = Vec::new();
        for uid in claims {
            if !matches!(journal.read(&uid, &boot_id)?, OnDisk::Void(_) | OnDisk::Tombstone(_)) {
                prepared.push(uid);
            }
        }
        Ok(prepared)
    }

    fn remove_files(&self) -> Result<(), RemovalError> {
        let specs = Folder::new(self.cdi.clone(), &self.driver);
        for uid in specs.claims()? {
            specs.remove_claim(&uid)?;
        }
        specs.remove_driver()?;
        remove_folder(&self.plugin)?;
        remove_folder(&self.state)
    }
}

/// Removes a folder with all that is in it. Of one that is mounted into the pod itself, the folder stays.
fn remove_folder(path: &Path) -> Result<(), RemovalError> {
    match fs::remove_dir_all(path) {
        Err(error) if ![ErrorKind::NotFound, ErrorKind::ResourceBusy].contains(&error.kind()) => {
            Err(RemovalError::Folder { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Deletes what a list has, one by one: the plugin has no right to delete a collection.
async fn delete(slices: &Api<ResourceSlice>, which: &ListParams) -> Result<(), String> {
    for slice in answered(slices.list(which)).await?.items {
        let name = slice.metadata.name.unwrap_or_default();
        let deleted = async {
            match slices.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                deleted => deleted.map(drop),
            }
        };
        answered(deleted).await?;
    }
    Ok(())
}

async fn answered<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer from the API server within {} s", ANSWER.as_secs())),
    }
}
