//! The health of devices, as their driver reports it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dra_kubelet_proto::health::v1alpha1::{
    self, HealthStatus, NodeWatchResourcesRequest, dra_resource_health_client::DraResourceHealthClient,
};
use tokio::time::Instant;

use super::{connection::Connection, settings::Timings, status::Status};

/// The longest message that is kept, in bytes.
const MESSAGE_LIMIT: usize = 1024;

/// The health of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not reported, reported so, or reported too long ago.
    #[default]
    Unknown,
    /// Reported healthy.
    Healthy,
    /// Reported unhealthy.
    Unhealthy,
}

/// The health of a device, with the driver's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceHealth {
    /// The health.
    pub health: Health,
    /// The driver's words, cut at 1024 bytes; empty if it said none.
    pub message: String,
}

/// The last reports, by driver.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<BTreeMap<String, Devices>>);

/// By pool and device.
type Devices = BTreeMap<(String, String), Report>;

#[derive(Debug)]
struct Report {
    device: DeviceHealth,
    at: Instant,
    holds: Duration,
}

impl Reports {
    /// The health of a device at `now`.
    pub(super) fn get(&self, driver: &str, pool: &str, device: &str, now: Instant) -> DeviceHealth {
        let drivers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let report =
            drivers.get(driver).and_then(|devices| devices.get(&(pool.to_owned(), device.to_owned())));
        match report {
            Some(report) if now.duration_since(report.at) <= report.holds => report.device.clone(),
            _ => DeviceHealth::default(),
        }
    }

    /// Takes in a driver's message. A device that it lacks keeps its last report until that is too old.
    fn update(
        &self,
        driver: &str,
        message: v1alpha1::NodeWatchResourcesResponse,
        now: Instant,
        default: Duration,
    ) {
        let mut drivers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = drivers.entry(driver.to_owned()).or_default();
        for device in message.devices {
            let health = match device.health() {
                HealthStatus::Unknown => Health::Unknown,
                HealthStatus::Healthy => Health::Healthy,
                HealthStatus::Unhealthy => Health::Unhealthy,
            };
            // Zero and less mean the default.
            let holds = match u64::try_from(device.health_check_timeout_seconds) {
                Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
                _ => default,
            };
            let id = device.device.unwrap_or_default();
            let report =
                Report { device: DeviceHealth { health, message: cut(device.message) }, at: now, holds };
            devices.insert((id.pool_name, id.device_name), report);
        }
    }

    fn clear(&self, driver: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(driver);
    }
}

fn cut(message: String) -> String {
    if message.len() <= MESSAGE_LIMIT {
        return message;
    }
    let mut end = MESSAGE_LIMIT - 3;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &message[..end])
}

/// Clears a driver's reports when its stream ends, or is given up.
struct Stream {
    reports: Arc<Reports>,
    driver: String,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reports.clear(&self.driver);
    }
}

/// Keeps a health stream of a plugin open, whatever the plugin says it serves.
pub(super) async fn watch(connection: Connection, reports: Arc<Reports>, driver: String, timings: Timings) {
    loop {
        // How the stream ended does not matter to the kubelet.
        let _ = stream(&connection, &reports, &driver, timings.health_timeout).await;
        tokio::time::sleep(timings.reopen_health).await;
    }
}

async fn stream(
    connection: &Connection,
    reports: &Arc<Reports>,
    driver: &str,
    default: Duration,
) -> Result<(), Status> {
    let channel = connection.channel().await?;
    let mut messages = DraResourceHealthClient::with_origin(channel, connection.origin())
        .node_watch_resources(NodeWatchResourcesRequest {})
        .await?
        .into_inner();
    let stream = Stream { reports: Arc::clone(reports), driver: driver.to_owned() };
    while let Some(message) = messages.message().await? {
        stream.reports.update(driver, message, Instant::now(), default);
    }
    Ok(())
}
