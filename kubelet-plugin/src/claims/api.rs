//! Asking the API server for claims.

use std::time::Duration;

use dra_driver::claim::ClaimRef;
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::{Api, Client};
use tokio::time::timeout;

/// What the API server says of a claim.
#[derive(Debug)]
pub(super) enum Said {
    /// This is what there is under its name. It may have another UID.
    Claim(Box<ResourceClaim>),
    /// There is none of this name.
    Gone,
    /// Nothing: it cannot be reached or is overloaded.
    Unreachable(String),
    /// That we may not know, or something that cannot be understood.
    Refused(String),
}

/// Asks for a claim, waiting at most `within`.
pub(super) async fn get(client: &Client, claim: &ClaimRef, within: Duration) -> Said {
    let claims: Api<ResourceClaim> = Api::namespaced(client.clone(), &claim.namespace);
    match timeout(within, claims.get_opt(&claim.name)).await {
        Ok(Ok(Some(found))) => Said::Claim(Box::new(found)),
        Ok(Ok(None)) => Said::Gone,
        Ok(Err(kube::Error::Api(status))) if status.code == 429 || status.code >= 500 => {
            Said::Unreachable(format!("the API server answers {}: {}", status.code, status.message))
        }
        Ok(Err(kube::Error::Api(status))) => {
            let remedy = match status.code {
                401 | 403 => "; check that the plugin's ServiceAccount may get resourceclaims",
                _ => "",
            };
            Said::Refused(format!("the API server answers {}: {}{remedy}", status.code, status.message))
        }
        Ok(Err(error @ kube::Error::SerdeError(_))) => Said::Refused(error.to_string()),
        Ok(Err(error)) => Said::Unreachable(format!("the API server cannot be reached: {}", chain(&error))),
        Err(_elapsed) => {
            Said::Unreachable(format!("the API server gave no answer within {} s", within.as_secs_f32()))
        }
    }
}

/// An error with its causes: the first names none of the things that matter.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
