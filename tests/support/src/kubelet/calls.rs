//! The calls of `DRAPlugin`, in the version that a plugin registered for.

use std::time::Duration;

use dra_kubelet_proto::{
    dra::{v1, v1beta1},
    names::{DRA_V1, DRA_V1BETA1},
};
use tonic::Request;

use super::{connection::Connection, status::Status};

/// A version of `DRAPlugin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    V1,
    V1Beta1,
}

impl Service {
    /// All that the kubelet knows.
    pub(super) const ALL: [Self; 2] = [Self::V1, Self::V1Beta1];

    /// Its name in a plugin's list.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V1 => DRA_V1,
            Self::V1Beta1 => DRA_V1BETA1,
        }
    }
}

/// Prepares `claims`.
pub(super) async fn prepare(
    connection: &Connection,
    service: Service,
    claims: Vec<v1::Claim>,
    limit: Duration,
) -> Result<v1::NodePrepareResourcesResponse, Status> {
    within(limit, async {
        let channel = connection.channel().await?;
        match service {
            Service::V1 => {
                let mut client =
                    v1::dra_plugin_client::DraPluginClient::with_origin(channel, connection.origin());
                let request = with_deadline(v1::NodePrepareResourcesRequest { claims }, limit);
                Ok(client.node_prepare_resources(request).await?.into_inner())
            }
            Service::V1Beta1 => {
                let mut client =
                    v1beta1::dra_plugin_client::DraPluginClient::with_origin(channel, connection.origin());
                let claims = claims.into_iter().map(older).collect();
                let request = with_deadline(v1beta1::NodePrepareResourcesRequest { claims }, limit);
                Ok(newer(client.node_prepare_resources(request).await?.into_inner()))
            }
        }
    })
    .await
}

/// Unprepares `claims`.
pub(super) async fn unprepare(
    connection: &Connection,
    service: Service,
    claims: Vec<v1::Claim>,
    limit: Duration,
) -> Result<v1::NodeUnprepareResourcesResponse, Status> {
    within(limit, async {
        let channel = connection.channel().await?;
        match service {
            Service::V1 => {
                let mut client =
                    v1::dra_plugin_client::DraPluginClient::with_origin(channel, connection.origin());
                let request = with_deadline(v1::NodeUnprepareResourcesRequest { claims }, limit);
                Ok(client.node_unprepare_resources(request).await?.into_inner())
            }
            Service::V1Beta1 => {
                let mut client =
                    v1beta1::dra_plugin_client::DraPluginClient::with_origin(channel, connection.origin());
                let claims = claims.into_iter().map(older).collect();
                let request = with_deadline(v1beta1::NodeUnprepareResourcesRequest { claims }, limit);
                let answer = client.node_unprepare_resources(request).await?.into_inner();
                let claims = answer
                    .claims
                    .into_iter()
                    .map(|(uid, result)| (uid, v1::NodeUnprepareResourceResponse { error: result.error }));
                Ok(v1::NodeUnprepareResourcesResponse { claims: claims.collect() })
            }
        }
    })
    .await
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded()))
}

fn with_deadline<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

fn older(claim: v1::Claim) -> v1beta1::Claim {
    v1beta1::Claim { namespace: claim.namespace, uid: claim.uid, name: claim.name }
}

fn newer(answer: v1beta1::NodePrepareResourcesResponse) -> v1::NodePrepareResourcesResponse {
    let claims = answer.claims.into_iter().map(|(uid, result)| {
        let devices = result.devices.into_iter().map(|device| v1::Device {
            request_names: device.request_names,
            pool_name: device.pool_name,
            device_name: device.device_name,
            cdi_device_ids: device.cdi_device_ids,
            share_id: None,
        });
        (uid, v1::NodePrepareResourceResponse { devices: devices.collect(), error: result.error })
    });
    v1::NodePrepareResourcesResponse { claims: claims.collect() }
}
