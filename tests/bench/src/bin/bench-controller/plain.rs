//! What a plain client takes: kube's reflectors, with the objects as the API has them.

use std::fmt::Debug;
use std::hash::Hash;

use futures_util::{StreamExt, future};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use kube::runtime::{reflector, watcher};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;

use crate::controller::memory;

/// Reads all there is, and prints how much memory that takes, in bytes.
pub(crate) async fn run(url: &str) {
    let client = Client::try_from(Config::new(url.parse().expect("an address"))).expect("a client");
    let slices = read::<ResourceSlice>(client.clone());
    let claims = read::<ResourceClaim>(client.clone());
    let pods = read::<Pod>(client.clone());
    let nodes = read::<Node>(client);
    // They are kept until the memory has been looked at.
    let _kept = future::join4(slices, claims, pods, nodes).await;
    println!("{}", memory(std::process::id()).0);
}

async fn read<K>(client: Client) -> reflector::Store<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone,
{
    let (store, writer) = reflector::store();
    let stream = reflector(writer, watcher(Api::<K>::all(client), watcher::Config::default()));
    tokio::spawn(stream.for_each(|_| future::ready(())));
    store.wait_until_ready().await.expect("the writer is there");
    store
}
