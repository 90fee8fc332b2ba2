//! Claims that are prepared by calls of the DRA socket, as the kubelet makes them: one call for each pod.

use std::time::{Duration, Instant};

use dra_kubelet_proto::dra::v1::dra_plugin_client::DraPluginClient;
use dra_kubelet_proto::dra::v1::{Claim, NodePrepareResourcesRequest, NodeUnprepareResourcesRequest};
use e2e::api::{Space, make, uid};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::node::Node;

/// What the kubelet gives a call.
const DEADLINE: Duration = Duration::from_secs(45);
/// How many claims are made at once.
const SIDE_BY_SIDE: usize = 16;

/// The claims, and the connection.
pub(crate) struct Prepares<'a> {
    node: &'a Node,
    space: &'a Space,
    client: DraPluginClient<Channel>,
    devices: Vec<String>,
    /// One for each GPU.
    claims: Vec<Claim>,
    /// With administrators' access, so that many can be prepared on one GPU. They stay prepared.
    held: Vec<Claim>,
}

impl<'a> Prepares<'a> {
    pub(crate) async fn new(node: &'a Node, space: &'a Space) -> Self {
        let socket = node.socket();
        let connect = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await;
        let client = DraPluginClient::new(channel.expect("connect to the DRA socket"));
        let devices = node.devices();
        let mut prepares = Self { node, space, client, devices, claims: Vec::new(), held: Vec::new() };
        prepares.claims = prepares.make("ordinary", 0..prepares.devices.len(), false).await;
        prepares
    }

    /// Makes claims to which devices are allocated, in turn.
    async fn make(&self, stem: &str, numbers: std::ops::Range<usize>, admin: bool) -> Vec<Claim> {
        let made = numbers.map(|number| self.make_one(format!("{stem}-{number}"), number, admin));
        stream::iter(made).buffered(SIDE_BY_SIDE).collect().await
    }

    async fn make_one(&self, name: String, number: usize, admin: bool) -> Claim {
        let claims = self.space.api::<ResourceClaim>();
        let request = json!({"name": "gpu", "exactly": {"deviceClassName": "any", "adminAccess": admin}});
        let manifest = json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}});
        let claim = make(&claims, manifest).await;
        let mut result = json!({
            "request": "gpu", "driver": self.node.driver, "pool": self.node.pool(),
            "device": self.devices[number % self.devices.len()],
        });
        if admin {
            result["adminAccess"] = json!(true);
        }
        let status = json!({"status": {
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"resource": "pods", "name": name, "uid": name}],
        }});
        let patch = claims.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
        patch.expect("allocate the claim");
        Claim { namespace: self.space.name.clone(), uid: uid(&claim), name }
    }

    /// Sees to it that so many claims are prepared and stay so.
    pub(crate) async fn hold(&mut self, wanted: usize) {
        let more = self.make("held", self.held.len()..wanted, true).await;
        for some in more.chunks(SIDE_BY_SIDE) {
            join_all(some.iter().map(|claim| self.prepare(claim))).await;
        }
        self.held.extend(more);
    }

    /// Prepares and unprepares so many claims at once, so often. Returns the times of all calls, and of all rounds.
    pub(crate) async fn measure(&self, at_once: usize, rounds: usize) -> (Vec<Duration>, Vec<Duration>) {
        let (mut each, mut all) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let claims: Vec<&Claim> = (0..at_once)
                .map(|number| &self.claims[(round * at_once + number) % self.claims.len()])
                .collect();
            let began = Instant::now();
            each.extend(join_all(claims.iter().map(|claim| self.prepare(claim))).await);
            all.push(began.elapsed());
            join_all(claims.iter().map(|claim| self.unprepare(claim))).await;
        }
        (each, all)
    }

    /// Unprepares what is held.
    pub(crate) async fn release(self) {
        for some in self.held.chunks(SIDE_BY_SIDE) {
            join_all(some.iter().map(|claim| self.unprepare(claim))).await;
        }
    }

    async fn prepare(&self, claim: &Claim) -> Duration {
        let mut request = Request::new(NodePrepareResourcesRequest { claims: vec![claim.clone()] });
        request.set_timeout(DEADLINE);
        let began = Instant::now();
        let answer = self.client.clone().node_prepare_resources(request).await;
        let took = began.elapsed();
        let answer = answer.expect("call the DRA socket").into_inner();
        let error = answer.claims.get(&claim.uid).map(|answer| answer.error.as_str());
        assert_eq!(error, Some(""), "prepare {}:\n{}", claim.name, self.node.log());
        took
    }

    async fn unprepare(&self, claim: &Claim) {
        let mut request = Request::new(NodeUnprepareResourcesRequest { claims: vec![claim.clone()] });
        request.set_timeout(DEADLINE);
        let answer = self.client.clone().node_unprepare_resources(request).await;
        let answer = answer.expect("call the DRA socket").into_inner();
        let error = answer.claims.get(&claim.uid).map(|answer| answer.error.as_str());
        assert_eq!(error, Some(""), "unprepare {}:\n{}", claim.name, self.node.log());
    }
}
