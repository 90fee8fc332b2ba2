//! `run`: the plugin, from start to graceful stop.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use dra_driver::cdi::{self, DriverFiles, check_driver_name};
use dra_driver::inventory;
use dra_runtime::admin::{self, Admin};
use dra_runtime::{client, events};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arguments::RunOptions;
use crate::claims::{self, Claims};
use crate::kubelet::{self, Link};
use crate::metrics::Metrics;
use crate::node::{self, Node, report};
use crate::removal::{Folders, Removal};
use crate::{driver_files, owner, publish, yielding};

/// Threads of the runtime: it only waits; files and NVML have threads of their own.
const THREADS: usize = 2;
/// How long the parts may take to end once no call of the kubelet runs any more.
const END: Duration = Duration::from_secs(3);

/// Runs until a signal asks for the end.
///
/// # Errors
/// What keeps the plugin from starting at all: a setting that cannot be, or a folder that cannot be used.
pub fn run(options: &RunOptions) -> Result<ExitCode> {
    check_driver_name(&options.driver_name)?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("cannot start threads; check the limit on processes (pids cgroup, ulimit -u)")?;
    let served = runtime.block_on(serve(options));
    // A thread that hangs in a file or in NVML is not waited for.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(options: &RunOptions) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut plugin = Plugin::start(options).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to end; calls of the kubelet that run are answered first");
    let (removal, view) = (plugin.removal.take(), plugin.node.view());
    plugin.end().await;
    if let Some(removal) = removal {
        removal.clean_up(view.epoch.boot_id.clone()).await;
    }
    Ok(())
}

/// The parts that run.
struct Plugin {
    kubelet: kubelet::Server,
    node: Node,
    /// What to do when this was the last plugin on the node.
    removal: Option<Removal>,
    /// Ends the kubelet's part: no new calls are taken.
    end_of_calls: CancellationToken,
    /// Ends all other parts.
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Plugin {
    async fn start(options: &RunOptions) -> Result<Self> {
        let driver = options.driver_name.clone();
        let node_name = options.node_name.clone();
        let pool = dra_driver::device::gpu_pool(&node_name);
        let end = CancellationToken::new();
        let end_of_calls = CancellationToken::new();
        let tasks = TaskTracker::new();
        let metrics = Metrics::new(&driver, env!("CARGO_PKG_VERSION"));
        tracing::info!(
            driver,
            node = node_name,
            version = env!("CARGO_PKG_VERSION"),
            driver_root = %options.roots.driver_root.display(),
            "starting"
        );

        let roots = inventory::Roots {
            driver: options.roots.driver_root.clone(),
            sysfs: options.roots.sysfs.clone(),
            procfs: options.roots.procfs.clone(),
        };
        match inventory::sysfs::online_cpus(&options.roots.sysfs) {
            Ok(count) => metrics.vcpus(count),
            Err(error) => tracing::warn!(error, "the node's CPUs are not counted: dra_node_vcpus is absent"),
        }
        let (asked, asked_to_yield) = watch::channel(None);
        let settings = node::Settings { roots, gpu_timeout: options.gpu_timeout, asked_to_yield };
        let node = Node::start(settings, metrics.clone(), end.clone())?;

        let user_agent = concat!("dra-kubelet-plugin/", env!("CARGO_PKG_VERSION"));
        let client = client::client(&options.client, user_agent).await?;
        let (events, queue) = events::Events::queue();
        tasks.spawn(events::run(client.clone(), queue, driver.clone(), node_name.clone(), end.clone()));

        let state = options.state_root.join(&driver);
        let settings = yielding::Settings {
            node: node_name.clone(),
            label: Some(options.yield_label.clone()).filter(|label| !label.is_empty()),
            file: state.join("yield"),
        };
        tasks.spawn(yielding::follow(client.clone(), settings, asked, end.clone()));
        let owns = owner::start(&state, end.clone())?;
        let files = DriverFiles::new(
            cdi::Roots {
                driver: options.roots.driver_root.clone(),
                host_driver: options
                    .host_driver_root
                    .clone()
                    .unwrap_or_else(|| options.roots.driver_root.clone()),
                dev: options.dev_root.clone(),
            },
            &driver,
        );
        let folder = cdi::folder::Folder::new(options.cdi_root.clone(), &driver);
        let removal = options.daemon_set.clone().map(|daemon_set| Removal {
            client: client.clone(),
            daemon_set,
            driver: driver.clone(),
            node: node_name.clone(),
            folders: Folders { state, plugin: options.kubelet_plugins.join(&driver), cdi: folder.clone() },
        });
        tasks.spawn(driver_files::keep(files.clone(), folder, node.changes(), end.clone()));
        let claims = Claims::start(
            claims::Settings {
                driver: driver.clone(),
                node_name: node_name.clone(),
                state_root: options.state_root.clone(),
                cdi_root: options.cdi_root.clone(),
                procfs: options.processes.clone(),
            },
            client.clone(),
            node.clone(),
            files,
            owns.clone(),
            metrics.clone(),
            events.clone(),
            // What waits ends with the calls that it waits for.
            end_of_calls.clone(),
        );
        let settings = kubelet::Settings {
            driver: driver.clone(),
            pool: pool.clone(),
            registry: options.kubelet_registry.clone(),
            plugins: options.kubelet_plugins.clone(),
            pod_uid: options.pod_uid.clone(),
        };
        let kubelet = kubelet::start(&settings, claims, node.changes(), end_of_calls.clone()).await?;

        tasks.spawn(publish::run(
            client,
            publish::Settings { driver, node: node_name.clone() },
            publish::Inputs { views: node.changes(), link: kubelet.link(), owns },
            metrics.clone(),
            events.clone(),
            end.clone(),
        ));
        tasks.spawn(report::run(node.clone(), node_name, pool, metrics.clone(), events, end.clone()));

        let listener = admin::bind(options.admin_address).await?;
        tracing::info!(address = %listener.local_addr()?, "serving /metrics, /healthz and /readyz");
        tasks.spawn(admin::serve(listener, endpoints(&kubelet, &metrics), end.clone()));
        Ok(Self { kubelet, node, removal, end_of_calls, end, tasks })
    }

    async fn end(self) {
        self.end_of_calls.cancel();
        self.kubelet.ended().await;
        self.end.cancel();
        self.tasks.close();
        if timeout(END, self.tasks.wait()).await.is_err() {
            tracing::warn!("a part of the plugin did not end in time and is left");
        }
    }
}

/// Healthy: both sockets answer. Ready: the kubelet has registered the plugin and is connected, too.
fn endpoints(kubelet: &kubelet::Server, metrics: &Metrics) -> Admin {
    let probe = kubelet.probe();
    let of_ready = probe.clone();
    let link = kubelet.link();
    Admin {
        metrics: metrics.registry(),
        healthy: admin::check(move || {
            let probe = probe.clone();
            async move { probe.ask().await.map_err(|error| error.to_string()) }
        }),
        ready: admin::check(move || {
            let (probe, link) = (of_ready.clone(), link.clone());
            async move {
                probe.ask().await.map_err(|error| error.to_string())?;
                linked(&link.borrow())
            }
        }),
    }
}

fn linked(link: &Link) -> Result<(), String> {
    match link {
        Link { refusal: Some(refusal), .. } => Err(format!("the kubelet refuses the plugin: {refusal}")),
        Link { registrations: 0, .. } => Err("the kubelet has not registered the plugin yet".to_owned()),
        Link { connected: false, .. } => Err("the kubelet is not connected".to_owned()),
        Link { .. } => Ok(()),
    }
}
