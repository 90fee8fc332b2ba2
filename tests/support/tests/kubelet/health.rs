//! The health of devices.

use std::time::Duration;

use dra_kubelet_proto::health::v1alpha1::{
    DeviceHealth, DeviceIdentifier, HealthStatus, NodeWatchResourcesResponse,
};
use support::kubelet::Health;
use tokio::sync::mpsc;

use crate::{
    plugin::{SOON, Script},
    setup::Node,
};

const DRIVER: &str = "gpu.example.com";

fn device(name: &str, health: HealthStatus, timeout: i64, message: &str) -> DeviceHealth {
    DeviceHealth {
        device: Some(DeviceIdentifier { pool_name: "pool".to_owned(), device_name: name.to_owned() }),
        health: health.into(),
        last_updated_time: 0,
        health_check_timeout_seconds: timeout,
        message: message.to_owned(),
    }
}

#[tokio::test]
async fn the_health_of_devices_is_known_while_the_stream_lasts() {
    let node = Node::start().await;
    let (opened, mut streams) = mpsc::unbounded_channel();
    let mut script = Script::new(DRIVER);
    script.health = Some(opened);
    let _plugin = node.registered("a", script).await;
    let health = |device: &str| node.kubelet.health(DRIVER, "pool", device);

    let stream = streams.recv().await.unwrap();
    assert_eq!(health("gpu-0"), Health::Unknown, "nothing was reported");
    let long = "x".repeat(1025);
    let devices = vec![
        device("gpu-0", HealthStatus::Healthy, 0, ""),
        device("gpu-1", HealthStatus::Unhealthy, 0, &long),
        device("gpu-2", HealthStatus::Unknown, 0, "no driver"),
    ];
    stream.send(Ok(NodeWatchResourcesResponse { devices })).unwrap();
    assert!(node.kubelet.wait(SOON, || health("gpu-1") == Health::Unhealthy).await);
    assert_eq!(health("gpu-0"), Health::Healthy);
    assert_eq!(health("gpu-2"), Health::Unknown);
    assert_eq!(node.kubelet.health(DRIVER, "pool-2", "gpu-0"), Health::Unknown);
    let message = node.kubelet.device_health(DRIVER, "pool", "gpu-1").message;
    assert_eq!(message, format!("{}...", "x".repeat(1021)));

    // A device that is not in the next message keeps its health for its time.
    let devices = vec![device("gpu-0", HealthStatus::Unhealthy, 0, "")];
    stream.send(Ok(NodeWatchResourcesResponse { devices })).unwrap();
    assert!(node.kubelet.wait(SOON, || health("gpu-0") == Health::Unhealthy).await);
    assert_eq!(health("gpu-1"), Health::Unhealthy);

    drop(stream);
    let forgotten = || health("gpu-0") == Health::Unknown && health("gpu-1") == Health::Unknown;
    assert!(node.kubelet.wait(SOON, forgotten).await);
    let again = streams.recv().await.unwrap();
    let devices = vec![device("gpu-0", HealthStatus::Healthy, 0, "")];
    again.send(Ok(NodeWatchResourcesResponse { devices })).unwrap();
    assert!(node.kubelet.wait(SOON, || health("gpu-0") == Health::Healthy).await);
}

#[tokio::test]
async fn health_that_is_not_reported_again_becomes_unknown() {
    let node = Node::with(|settings| settings.timings.health_timeout = Duration::from_millis(50)).await;
    let (opened, mut streams) = mpsc::unbounded_channel();
    let mut script = Script::new(DRIVER);
    script.health = Some(opened);
    let _plugin = node.registered("a", script).await;
    let stream = streams.recv().await.unwrap();
    let devices = vec![
        device("patient", HealthStatus::Healthy, 3600, ""),
        device("default", HealthStatus::Healthy, 0, ""),
        device("negative", HealthStatus::Healthy, -1, ""),
    ];
    stream.send(Ok(NodeWatchResourcesResponse { devices })).unwrap();
    let health = |device: &str| node.kubelet.health(DRIVER, "pool", device);
    assert!(node.kubelet.wait(SOON, || health("patient") == Health::Healthy).await);
    let old = || health("default") == Health::Unknown && health("negative") == Health::Unknown;
    assert!(node.kubelet.wait(SOON, old).await);
    assert_eq!(health("patient"), Health::Healthy);
}

#[tokio::test]
async fn a_deregistered_drivers_health_is_unknown() {
    let node = Node::start().await;
    let (opened, mut streams) = mpsc::unbounded_channel();
    let mut script = Script::new(DRIVER);
    script.health = Some(opened);
    let plugin = node.registered("a", script).await;
    let stream = streams.recv().await.unwrap();
    let devices = vec![device("gpu-0", HealthStatus::Healthy, 0, "")];
    stream.send(Ok(NodeWatchResourcesResponse { devices })).unwrap();
    let health = || node.kubelet.health(DRIVER, "pool", "gpu-0");
    assert!(node.kubelet.wait(SOON, || health() == Health::Healthy).await);
    plugin.withdraw();
    assert!(node.kubelet.wait(SOON, || health() == Health::Unknown).await);
}

#[tokio::test]
async fn a_stand_in_that_is_stopped_or_dropped_ends_its_connections() {
    for stop in [true, false] {
        let node = Node::start().await;
        let (opened, mut streams) = mpsc::unbounded_channel();
        let mut script = Script::new(DRIVER);
        script.health = Some(opened);
        let _plugin = node.registered("a", script).await;
        let stream = streams.recv().await.unwrap();
        // While it is stopped, the other handle is still there.
        let other = if stop {
            node.kubelet.clone().stop().await;
            Some(node)
        } else {
            drop(node);
            None
        };
        tokio::time::timeout(SOON, stream.closed()).await.unwrap();
        assert!(other.is_none_or(|node| node.kubelet.plugins().is_empty()));
    }
}
