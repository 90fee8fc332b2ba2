//! The service `Registration`: the kubelet asks who is there, and says what came of it.

use dra_kubelet_proto::names::{DRA_PLUGIN_TYPE, DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1};
use dra_kubelet_proto::registration::registration_server::Registration;
use dra_kubelet_proto::registration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::Link;

/// What is served, the best first: the kubelet takes the first that it knows.
const VERSIONS: [&str; 4] = [DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1];

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) driver: String,
    /// The path of the DRA socket.
    pub(super) endpoint: String,
    pub(super) link: watch::Sender<Link>,
}

#[tonic::async_trait]
impl Registration for Service {
    async fn get_info(&self, _request: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: DRA_PLUGIN_TYPE.to_owned(),
            name: self.driver.clone(),
            endpoint: self.endpoint.clone(),
            supported_versions: VERSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus { plugin_registered, error } = request.into_inner();
        if plugin_registered {
            tracing::info!(driver = self.driver, "registered with the kubelet");
            self.link.send_modify(|link| {
                link.registrations += 1;
                link.refusal = None;
            });
        } else {
            tracing::error!(driver = self.driver, error, "the kubelet refuses the plugin");
            self.link.send_modify(|link| link.refusal = Some(error));
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
