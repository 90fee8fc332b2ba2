//! The deletion of ResourceSlices whose driver is gone.

use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};

use super::settings::{Backoff, Timings};

/// Deletes the node's ResourceSlices, all or those of one driver, and tries until it is done.
pub(super) async fn wipe(client: Client, node: String, driver: Option<String>, timings: Timings) {
    let selector = match driver {
        // In the order in which the kubelet's library writes them.
        Some(driver) => format!("spec.driver={driver},spec.nodeName={node}"),
        None => format!("spec.nodeName={node}"),
    };
    let slices: Api<ResourceSlice> = Api::all(client);
    let mut backoff = Backoff::new(&timings.wipe_backoff, 200);
    loop {
        let deleted = slices
            .delete_collection(&DeleteParams::default(), &ListParams::default().fields(&selector))
            .await;
        match deleted {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            Err(_) => tokio::time::sleep(backoff.failed()).await,
        }
    }
}
