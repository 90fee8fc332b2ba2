//! Speaking with the kubelet: sockets, registration, the DRA and health services.
//!
//! ```text
//! kubelet ──▶ registration socket ──▶ authority ──▶ registration ──▶ link
//!         ──▶ DRA socket ──┬──▶ dra ──▶ request ──▶ claims
//!                          └──▶ health ◀── view of the node
//! ```

mod authority;
mod connections;
mod dra;
mod health;
mod probe;
mod registration;
mod request;
mod serve;
mod sockets;

use std::path::PathBuf;
use std::sync::Arc;

use dra_driver::node::View;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use probe::ProbeError;
pub use sockets::SocketError;

use crate::claims::Claims;

/// What is known of the kubelet's connection to this plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// How many times the kubelet has confirmed the registration.
    pub registrations: u64,
    /// Whether the kubelet holds a connection to the DRA socket.
    pub connected: bool,
    /// Why the kubelet refused the plugin, in its words, if it did since the last confirmation.
    pub refusal: Option<String>,
}

/// How to meet the kubelet.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The driver's name.
    pub driver: String,
    /// The name of the pool of this node's GPUs.
    pub pool: String,
    /// The kubelet's folder of registration sockets.
    pub registry: PathBuf,
    /// The kubelet's folder of plugins.
    pub plugins: PathBuf,
    /// The UID of the plugin's pod, with which instances can overlap.
    pub pod_uid: Option<String>,
}

/// The sockets that are served.
#[derive(Debug)]
pub struct Server {
    paths: serve::Paths,
    link: watch::Receiver<Link>,
    task: JoinHandle<()>,
}

/// Serves the DRA socket, and then the registration socket, until `cancel`: then calls that run are answered, and no
/// new ones are taken.
///
/// # Errors
/// A socket cannot be had.
pub async fn start(
    settings: &Settings,
    claims: Claims,
    views: watch::Receiver<Arc<View>>,
    cancel: CancellationToken,
) -> Result<Server, SocketError> {
    let paths = serve::Paths {
        registration: sockets::registration(
            &settings.registry,
            &settings.driver,
            settings.pod_uid.as_deref(),
        )?,
        dra: sockets::dra(&settings.plugins, &settings.driver, settings.pod_uid.as_deref())?,
    };
    let link = watch::Sender::new(Link::default());
    let receiver = link.subscribe();
    let services = serve::Services {
        registration: registration::Service {
            driver: settings.driver.clone(),
            endpoint: paths.dra.display().to_string(),
            link,
        },
        dra: dra::Service { claims },
        health: health::Service { views, pool: settings.pool.clone(), cancel: cancel.clone() },
    };
    let task = serve::start(paths.clone(), services, cancel).await?;
    Ok(Server { paths, link: receiver, task })
}

impl Server {
    /// What is known of the kubelet's connection, now and whenever it changes.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// What asks whether both sockets are answered.
    #[must_use]
    pub fn probe(&self) -> probe::Probe {
        probe::Probe::new(self.paths.clone())
    }

    /// Waits for the end that the cancelling of [`start`] brings.
    pub async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "serving the kubelet ended badly");
        }
    }
}
