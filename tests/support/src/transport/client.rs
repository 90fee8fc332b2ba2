//! A client with a script around its transport.

use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;

use super::script::Script;

/// Requests that may wait for the transport at once; more than the tests make.
const BUFFER: usize = 1024;

/// A client for the server of `config` whose requests go through `script`.
///
/// The client's own retries (of 429, 503 and 504) happen above the script, as they would above a real network, so
/// that they meet the rules and stand in the log one by one.
///
/// # Errors
///
/// When no client can be made from `config`. It must be called in a tokio runtime.
pub fn client(mut config: Config, script: &Script) -> kube::Result<Client> {
    let retry = std::mem::replace(&mut config.default_retry, false);
    let builder = ClientBuilder::try_from(config)?.with_layer(&BufferLayer::new(BUFFER)).with_layer(script);
    Ok(if retry {
        builder.with_layer(&RetryLayer::new(RetryPolicy::server_retry())).build()
    } else {
        builder.build()
    })
}
