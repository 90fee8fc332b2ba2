//! What the cluster's scheduler can do follows from its version, which may change while the controller runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::allocator::Features;
use crate::index::Index;

/// How long the API server may take to say its version.
const ANSWER: Duration = Duration::from_secs(10);
/// How soon it is asked again when it did not say, and when it did.
const RETRY: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(600);

/// Asks the API server for its version, again and again.
pub(super) async fn follow(client: Client, index: Arc<Mutex<Index>>, cancel: CancellationToken) {
    let mut known = None;
    let asking = async {
        loop {
            let wait = match timeout(ANSWER, client.apiserver_version()).await {
                Ok(Ok(version)) => {
                    let (major, minor) = (number(&version.major), number(&version.minor));
                    if known.replace((major, minor)) != Some((major, minor)) {
                        tracing::info!(major, minor, "the API server's version");
                        lock(&index).set_features(Features::of_server(major, minor));
                    }
                    AGAIN
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot ask the API server for its version; it is being tried again");
                    RETRY
                }
                Err(_) => RETRY,
            };
            sleep(wait).await;
        }
    };
    cancel.run_until_cancelled(asking).await;
}

/// The digits that a text begins with: some clusters' versions end in `+`.
fn number(text: &str) -> u32 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_clusters_write_them() {
        for (written, wanted) in [("1", 1), ("36", 36), ("36+", 36), ("", 0), ("x", 0)] {
            assert_eq!(number(written), wanted, "{written}");
        }
    }
}
