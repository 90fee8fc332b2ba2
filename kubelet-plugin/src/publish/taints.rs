//! Whether the API server keeps device taints. Where it drops them, a faulty device has to be left out.

use dra_driver::device::Faulty;
use dra_driver::device::slices::dropped_taints;
use k8s_openapi::api::resource::v1::{Device, DeviceTaint, ResourcePool, ResourceSlice, ResourceSliceSpec};
use kube::api::ObjectMeta;

use super::Settings;
use super::server::{RequestError, Server};

/// What is known of the API server and taints.
#[derive(Debug, Default)]
pub(super) struct Taints {
    /// What was learned, and from which version of the API server.
    learned: Option<(Faulty, String)>,
    /// Whether the server may have become another one since.
    doubted: bool,
}

impl Taints {
    /// The server may be another one.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// What was learned last.
    pub(super) fn known(&self) -> Option<Faulty> {
        self.learned.as_ref().map(|(faulty, _)| *faulty)
    }

    /// A write showed that taints are dropped.
    pub(super) fn were_dropped(&mut self) {
        let version = self.learned.take().map(|(_, version)| version).unwrap_or_default();
        self.learned = Some((Faulty::LeftOut, version));
    }

    /// What to do with faulty devices: asks the server when it has not been asked yet, or may be another one.
    pub(super) async fn learn(
        &mut self,
        server: &Server,
        settings: &Settings,
    ) -> Result<Faulty, RequestError> {
        if let Some((faulty, _)) = self.learned.as_ref().filter(|_| !self.doubted) {
            return Ok(*faulty);
        }
        let version = server.version().await?;
        let faulty = match &self.learned {
            Some((faulty, known)) if *known == version => *faulty,
            _ => {
                let sent = probe(settings);
                let stored = server.try_create(&sent).await?;
                if dropped_taints(&sent, &stored) { Faulty::LeftOut } else { Faulty::Tainted }
            }
        };
        self.learned = Some((faulty, version));
        self.doubted = false;
        Ok(faulty)
    }
}

/// A slice with a tainted device, which is never stored.
fn probe(settings: &Settings) -> ResourceSlice {
    let Settings { driver, node } = settings;
    let taint = DeviceTaint {
        key: format!("{driver}/fault"),
        value: Some("probe".to_owned()),
        effect: "NoSchedule".to_owned(),
        time_added: None,
    };
    ResourceSlice {
        metadata: ObjectMeta { generate_name: Some("dra-probe-".to_owned()), ..ObjectMeta::default() },
        spec: ResourceSliceSpec {
            driver: driver.clone(),
            node_name: Some(node.clone()),
            pool: ResourcePool { generation: 0, name: format!("{node}/probe"), resource_slice_count: 1 },
            devices: Some(vec![Device {
                name: "probe".to_owned(),
                taints: Some(vec![taint]),
                ..Device::default()
            }]),
            ..ResourceSliceSpec::default()
        },
    }
}
