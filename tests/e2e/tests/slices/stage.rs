//! A Node, a publisher whose requests a script meets, and what the API server has.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use dra_driver::health::{Class, Fault};
use dra_driver::inventory::{Gpu, Inventory, Memory, Pci, PciAddress, Version, Versions};
use dra_driver::node::View;
use dra_kubelet_plugin::kubelet::Link;
use dra_kubelet_plugin::metrics::Metrics;
use dra_kubelet_plugin::publish::{self, Inputs, Settings};
use dra_runtime::events::{Event, Events};
use e2e::api::{GUARD, delete, make_global, uid, unique};
use e2e::cluster::Cluster;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::resource::v1::{Device, ResourceSlice};
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, Config};
use serde_json::json;
use support::transport::{Matching, Script, Verb, client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) struct Stage {
    /// The driver's name.
    pub(crate) driver: String,
    /// The name of the Node, and its UID at the start.
    pub(crate) node: String,
    pub(crate) node_uid: String,
    /// What happens to the publisher's requests.
    pub(crate) script: Script,
    pub(crate) views: watch::Sender<Arc<View>>,
    pub(crate) link: watch::Sender<Link>,
    pub(crate) owns: watch::Sender<bool>,
    pub(crate) metrics: Metrics,
    pub(crate) events: mpsc::Receiver<Event>,
    /// Slices, without the script.
    pub(crate) slices: Api<ResourceSlice>,
    pub(crate) client: Client,
    hand_over: Events,
    cancel: CancellationToken,
    publisher: Option<JoinHandle<()>>,
}

impl Stage {
    /// A Node without slices; the kubelet has registered the plugin and holds a connection.
    pub(crate) async fn new(stem: &str, view: View) -> Self {
        let client = Cluster::current().client().await;
        let node = unique(stem);
        let made: Node = make_global(&client, node_object(&node)).await;
        let (hand_over, events) = Events::queue();
        let driver = format!("{node}.example.com");
        Self {
            metrics: Metrics::new(&driver, "0.0.0"),
            driver,
            node,
            node_uid: uid(&made),
            script: Script::new(),
            views: watch::channel(Arc::new(view)).0,
            link: watch::channel(Link { registrations: 1, connected: true, ..Link::default() }).0,
            owns: watch::channel(true).0,
            events,
            slices: Api::all(client.clone()),
            client,
            hand_over,
            cancel: CancellationToken::new(),
            publisher: None,
        }
    }

    /// Starts the publisher.
    pub(crate) async fn publish(&mut self) {
        let client = client(Config::infer().await.unwrap(), &self.script).unwrap();
        let settings = Settings { driver: self.driver.clone(), node: self.node.clone() };
        let inputs = Inputs {
            views: self.views.subscribe(),
            link: self.link.subscribe(),
            owns: self.owns.subscribe(),
        };
        self.cancel = CancellationToken::new();
        self.publisher = Some(tokio::spawn(publish::run(
            client,
            settings,
            inputs,
            self.metrics.clone(),
            self.hand_over.clone(),
            self.cancel.clone(),
        )));
    }

    /// Ends the publisher.
    pub(crate) async fn stop(&mut self) {
        self.cancel.cancel();
        if let Some(publisher) = self.publisher.take() {
            timeout(GUARD, publisher).await.expect("the publisher ends").unwrap();
        }
    }

    /// Ends the publisher and removes what there is.
    pub(crate) async fn remove(mut self) {
        self.stop().await;
        let params = ListParams::default().fields(&self.selector());
        self.slices.delete_collection(&DeleteParams::default(), &params).await.unwrap();
        delete(&Api::<Node>::all(self.client.clone()), &self.node).await;
    }

    pub(crate) fn see(&self, view: View) {
        self.views.send_replace(Arc::new(view));
    }

    fn selector(&self) -> String {
        format!("spec.driver={},spec.nodeName={}", self.driver, self.node)
    }

    /// The slices as the API server has them.
    pub(crate) async fn now(&self) -> Vec<ResourceSlice> {
        self.slices.list(&ListParams::default().fields(&self.selector())).await.unwrap().items
    }

    /// Waits until the slices are as they should be, and returns them.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl Fn(&[ResourceSlice]) -> bool,
    ) -> Vec<ResourceSlice> {
        let list = self.slices.list(&ListParams::default().fields(&self.selector())).await.unwrap();
        let version = list.metadata.resource_version.unwrap();
        let of = |slice: ResourceSlice| (slice.metadata.name.clone().unwrap(), slice);
        let mut known: BTreeMap<String, ResourceSlice> = list.items.into_iter().map(of).collect();
        let follow = async {
            let params = WatchParams::default().fields(&self.selector());
            let events = self.slices.watch(&params, &version).await.unwrap();
            let mut events = std::pin::pin!(events);
            loop {
                let slices: Vec<ResourceSlice> = known.values().cloned().collect();
                if holds(&slices) {
                    return slices;
                }
                match events.try_next().await.unwrap().expect("a watch lasts longer than the guard") {
                    WatchEvent::Added(slice) | WatchEvent::Modified(slice) => known.extend([of(slice)]),
                    WatchEvent::Deleted(slice) => drop(known.remove(&of(slice).0)),
                    WatchEvent::Bookmark(_) => {}
                    WatchEvent::Error(status) => panic!("{status:?}"),
                }
            }
        };
        let seen = timeout(GUARD, follow).await;
        match seen {
            Ok(slices) => slices,
            Err(_) => panic!("the slices are not {what} within {GUARD:?} but {:#?}", self.now().await),
        }
    }

    /// Waits until one slice has devices of just these names, and returns it.
    pub(crate) async fn until_devices(&self, wanted: &[&str]) -> ResourceSlice {
        let slices = self
            .until(&format!("one with {wanted:?}"), |slices| {
                matches!(slices, [slice] if devices(slice).iter().map(|device| &device.name).eq(wanted))
            })
            .await;
        slices.into_iter().next().unwrap()
    }

    /// Waits until the publisher knows of so many slices.
    pub(crate) async fn until_known(&self, count: usize) {
        let wanted = format!("dra_slices_published{{driver=\"{}\"}} {count}\n", self.driver);
        let known = async {
            loop {
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &self.metrics.registry()).unwrap();
                if text.contains(&wanted) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(GUARD, known)
            .await
            .unwrap_or_else(|_| panic!("the publisher does not know of {count} slices"));
    }

    /// The writes that the publisher has asked for until now, as "+create ~update -delete".
    pub(crate) fn writes(&self) -> String {
        let mut text = String::new();
        for (sign, verb) in [('+', Verb::Create), ('~', Verb::Update), ('-', Verb::Delete)] {
            let matching = Matching::verb(verb).resource("resourceslices");
            let stored = self.script.requests_to(&matching).into_iter();
            let stored = stored.filter(|seen| !seen.uri.query().unwrap_or_default().contains("dryRun"));
            write!(text, "{sign}{} ", stored.count()).unwrap();
        }
        text.trim_end().to_owned()
    }

    /// Waits until the publisher follows the slices.
    pub(crate) async fn until_watching(&self, watches: usize) {
        let matching = Matching::verb(Verb::Watch).resource("resourceslices");
        self.script.saw(&matching, watches, GUARD).await.unwrap();
    }

    /// A stranger deletes a slice.
    pub(crate) async fn delete(&self, slice: &ResourceSlice) {
        self.slices.delete(slice.metadata.name.as_ref().unwrap(), &DeleteParams::default()).await.unwrap();
    }

    /// Replaces the Node by another one of its name, and returns the new one's UID.
    pub(crate) async fn replace_node(&self) -> String {
        delete(&Api::<Node>::all(self.client.clone()), &self.node).await;
        uid::<Node>(&make_global(&self.client, node_object(&self.node)).await)
    }

    /// Whether the API server keeps device taints, by an attempt of the test's own.
    pub(crate) async fn server_keeps_taints(&self) -> bool {
        let slice: ResourceSlice = serde_json::from_value(json!({
            "metadata": {"generateName": "try-"},
            "spec": {
                "driver": self.driver, "nodeName": self.node,
                "pool": {"name": "try", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "try", "taints": [{"key": "example.com/try", "effect": "NoSchedule"}]}],
            },
        }))
        .unwrap();
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let stored = self.slices.create(&params, &slice).await.unwrap();
        devices(&stored)[0].taints.is_some()
    }
}

/// A Node that pods can be bound to, though none of them runs.
fn node_object(name: &str) -> serde_json::Value {
    let room = json!({"pods": "10", "cpu": "1", "memory": "1Gi"});
    json!({
        "metadata": {"name": name, "labels": {"for": name}},
        "status": {"capacity": room, "allocatable": room},
    })
}

pub(crate) fn devices(slice: &ResourceSlice) -> &[Device] {
    slice.spec.devices.as_deref().unwrap_or_default()
}

/// A node with an H100 at each of these PCI buses.
pub(crate) fn view(buses: &[u8]) -> View {
    let gpu = |&bus: &u8| {
        let address = PciAddress { domain: 0, bus, device: 0, function: 0 };
        Gpu {
            name: Some(address.gpu_name()),
            usable: true,
            uuid: Some(format!("GPU-00000000-0000-4000-8000-0000000000{bus:02x}")),
            product_name: Some("NVIDIA H100 80GB HBM3".into()),
            brand: Some("Nvidia".into()),
            architecture: Some("Hopper".into()),
            cuda_compute_capability: Version::of_text("9.0"),
            pci: Pci { address: Some(address), root: Some("pci0000:15".into()), ..Pci::default() },
            memory: Some(Memory { total_bytes: 81_559 << 20, reserved_bytes: 450 << 20 }),
            cores: Some(16_896),
            multiprocessors: Some(132),
            numa_node: Some(0),
            ..Gpu::default()
        }
    };
    let versions =
        Versions { driver: Version::of_text("570.170.01"), nvml: None, cuda: Version::of_cuda(12_080) };
    let gpus = buses.iter().map(gpu).collect();
    View { inventory: Inventory { versions, gpus, ..Inventory::default() }, ..View::default() }
}

/// The view with a fault of a device.
pub(crate) fn faulty(mut view: View, device: &str, class: Class) -> View {
    let fault = Fault {
        class,
        cause: "xid-79".into(),
        message: "the GPU fell off the bus".into(),
        since: Timestamp::from_second(1_790_000_000).unwrap(),
    };
    view.faults.insert(device.into(), vec![fault]);
    view
}
