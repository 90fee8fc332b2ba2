//! The registration of a plugin, as the kubelet does it on one connection of its own.
//!
//! The kubelet names the socket's path as the server, percent-encoded, which Rust's `http` crate and so every
//! gRPC client made with it refuses to send. The two calls are therefore made with a small HTTP/2 client of raw
//! frames.

mod client;
mod frames;
mod headers;

use std::{path::Path, time::Duration};

use dra_kubelet_proto::registration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use prost::Message;
use tokio::net::UnixStream;

use super::{
    settings::{Authority, Backoff, Timings},
    status::Status,
};
use client::Http2;

/// A connection to a plugin's registration socket.
pub(super) struct Registration(Http2<UnixStream>);

impl Registration {
    /// Connects to `socket`; tries again until `timings.dial` is over.
    ///
    /// # Errors
    ///
    /// The kubelet's words.
    pub(super) async fn dial(socket: &Path, authority: Authority, timings: &Timings) -> Result<Self, String> {
        let authority = match authority {
            Authority::AsKubelet => headers::encode_authority(&socket.display().to_string()),
            Authority::Localhost => "localhost".to_owned(),
        };
        let connect = async {
            let mut backoff = Backoff::new(&timings.reconnect, 160);
            loop {
                if let Ok(stream) = UnixStream::connect(socket).await
                    && let Ok(connection) = Http2::open(stream, authority.clone()).await
                {
                    return connection;
                }
                tokio::time::sleep(backoff.failed()).await;
            }
        };
        match tokio::time::timeout(timings.dial, connect).await {
            Ok(connection) => Ok(Self(connection)),
            Err(_) => {
                Err(format!("failed to dial socket {}, err: context deadline exceeded", socket.display()))
            }
        }
    }

    /// Asks what the plugin is.
    pub(super) async fn get_info(&mut self, limit: Duration) -> Result<PluginInfo, Status> {
        self.call("/pluginregistration.Registration/GetInfo", &InfoRequest {}, limit).await
    }

    /// Tells the plugin whether it was taken.
    pub(super) async fn notify(&mut self, error: Option<&str>, limit: Duration) -> Result<(), Status> {
        let status = RegistrationStatus {
            plugin_registered: error.is_none(),
            error: error.unwrap_or_default().to_owned(),
        };
        let path = "/pluginregistration.Registration/NotifyRegistrationStatus";
        let _: RegistrationStatusResponse = self.call(path, &status, limit).await?;
        Ok(())
    }

    async fn call<A: Message + Default>(
        &mut self,
        path: &str,
        message: &impl Message,
        limit: Duration,
    ) -> Result<A, Status> {
        let answer = self.0.unary(path, &message.encode_to_vec(), limit).await?;
        A::decode(answer.as_slice()).map_err(|error| {
            Status::new(
                tonic::Code::Internal,
                format!("grpc: failed to unmarshal the received message: {error}"),
            )
        })
    }
}
