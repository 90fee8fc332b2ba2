//! The service `DRAPlugin`, in the two versions that kubelets speak.

use dra_driver::claim::{ClaimRef, PreparedDevice};
use dra_kubelet_proto::dra::{v1, v1beta1};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::request::{self, Asked};
use crate::claims::Claims;

/// Both versions of the service; they differ in names, and v1beta1 lacks share IDs.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) claims: Claims,
}

/// Implements one version.
macro_rules! version {
    ($version:ident, $device:expr) => {
        #[tonic::async_trait]
        impl $version::dra_plugin_server::DraPlugin for Service {
            async fn node_prepare_resources(
                &self,
                request: Request<$version::NodePrepareResourcesRequest>,
            ) -> Result<Response<$version::NodePrepareResourcesResponse>, Status> {
                let deadline = deadline(&request);
                let claims = request.into_inner().claims.into_iter();
                let Asked { claims, refused } = request::check(claims.map(claim!()));
                let answers = self.claims.prepare(claims, deadline).await;
                let answer = |answer: Result<Vec<PreparedDevice>, String>| match answer {
                    Ok(devices) => $version::NodePrepareResourceResponse {
                        devices: devices.into_iter().map($device).collect(),
                        error: String::new(),
                    },
                    Err(error) => $version::NodePrepareResourceResponse { devices: Vec::new(), error },
                };
                let refused = refused.into_iter().map(|(uid, wrong)| (uid, Err(wrong)));
                let claims = answers.into_iter().chain(refused).map(|(uid, said)| (uid, answer(said)));
                Ok(Response::new($version::NodePrepareResourcesResponse { claims: claims.collect() }))
            }

            async fn node_unprepare_resources(
                &self,
                request: Request<$version::NodeUnprepareResourcesRequest>,
            ) -> Result<Response<$version::NodeUnprepareResourcesResponse>, Status> {
                let deadline = deadline(&request);
                let claims = request.into_inner().claims.into_iter();
                let Asked { claims, refused } = request::check(claims.map(claim!()));
                let answers = self.claims.unprepare(claims, deadline).await;
                let refused = refused.into_iter().map(|(uid, wrong)| (uid, Err(wrong)));
                let claims = answers.into_iter().chain(refused).map(|(uid, said)| {
                    let error = said.err().unwrap_or_default();
                    (uid, $version::NodeUnprepareResourceResponse { error })
                });
                Ok(Response::new($version::NodeUnprepareResourcesResponse { claims: claims.collect() }))
            }
        }
    };
}

/// Reads a claim of either version.
macro_rules! claim {
    () => {
        |claim| ClaimRef { namespace: claim.namespace, name: claim.name, uid: claim.uid }
    };
}

version!(v1, |device: PreparedDevice| v1::Device {
    request_names: device.requests,
    pool_name: device.pool,
    device_name: device.device,
    cdi_device_ids: device.cdi_ids,
    share_id: device.share_id,
});

version!(v1beta1, |device: PreparedDevice| v1beta1::Device {
    request_names: device.requests,
    pool_name: device.pool,
    device_name: device.device,
    cdi_device_ids: device.cdi_ids,
});

fn deadline<T>(request: &Request<T>) -> Instant {
    let header = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok());
    Instant::now() + request::time_for_answer(header)
}
