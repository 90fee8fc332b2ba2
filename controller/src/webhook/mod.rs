//! `webhook`: mistakes in opaque configurations are told when an object is made, not when its pod waits.
//!
//! ```text
//! API server ──HTTPS──▶ serve ──▶ review ──▶ answer
//!     ▲                   ▲ shown
//!     └── caBundle ── keeper ──▶ Secret
//! ```

pub mod certificates;
pub mod check;
pub mod keeper;
pub mod metrics;
pub mod next;
pub mod review;
pub mod serve;
pub mod shown;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use dra_runtime::admin::{self, Admin};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::arguments::WebhookOptions;
use check::Checks;
use metrics::Metrics;
use shown::Shown;

/// Threads of the runtime.
const THREADS: usize = 2;
/// For how long the webhook goes on after it was asked to end: API servers hear a little late that it does.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until a signal asks for the end.
///
/// # Errors
/// What keeps the webhook from starting at all: a setting that cannot be, or an address that is taken.
pub fn run(options: &WebhookOptions) -> Result<ExitCode> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(webhook(options)).map(|()| ExitCode::SUCCESS)
}

async fn webhook(options: &WebhookOptions) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let version = env!("CARGO_PKG_VERSION");
    let driver = &options.driver_name;
    let user_agent = concat!("dra-controller/", env!("CARGO_PKG_VERSION"));
    let client = dra_runtime::client::client(&options.client, user_agent).await?;
    let (shown, metrics, end) = (Shown::default(), Metrics::new(driver, version), CancellationToken::new());
    let name = certificates::name_of(&options.service);

    let listen = TcpListener::bind(options.listen).await;
    let listen = listen.with_context(|| {
        format!("cannot serve the webhook at {}; choose another with --listen", options.listen)
    })?;
    let address = listen.local_addr()?;
    let admin = admin::bind(options.admin_address).await?;
    let admin_address = admin.local_addr()?;
    tracing::info!(driver, version, %address, %admin_address, name, "starting");

    let settings = keeper::Settings {
        name: name.clone(),
        lifetime: options.certificate_lifetime,
        secret: options.secret.clone(),
        configuration: options.configuration.clone(),
    };
    let checks = Checks { address, name, shown: shown.clone() };
    tokio::spawn(admin::serve(admin, endpoints(&checks, &metrics), end.clone()));
    tokio::spawn(keeper::run(client, settings, shown.clone(), metrics.clone(), end.clone()));
    let mut serving = tokio::spawn({
        let (driver, end) = (driver.clone(), end.clone());
        async move { serve::serve(listen, &driver, shown, metrics, end).await }
    });

    tokio::select! {
        served = &mut serving => return served.context("the webhook's server failed")?.context("cannot set up TLS"),
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => {}
    }
    tracing::info!("asked to end; requests that still come are answered for {} s", FAREWELL.as_secs());
    tokio::select! {
        () = tokio::time::sleep(FAREWELL) => {}
        _ = interrupt.recv() => {}
    }
    end.cancel();
    Ok(())
}

fn endpoints(checks: &Checks, metrics: &Metrics) -> Admin {
    let (healthy, ready) = (checks.clone(), checks.clone());
    Admin {
        metrics: metrics.registry(),
        healthy: admin::check(move || healthy.clone().healthy()),
        ready: admin::check(move || ready.clone().ready()),
    }
}
