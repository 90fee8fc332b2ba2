//! The deletion of a lost driver's ResourceSlices.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use kube::client::Body;

use crate::{
    plugin::{SOON, Script},
    setup::Node,
};

const ALL: &str = "DELETE /apis/resource.k8s.io/v1/resourceslices?&fieldSelector=spec.nodeName%3Dnode-a";

fn of_driver(driver: &str) -> String {
    ALL.replace("spec.nodeName", &format!("spec.driver%3D{driver}%2Cspec.nodeName"))
}

/// An API server that notes its requests. The first `failures` of them fail.
#[derive(Clone, Default)]
struct Server {
    requests: Arc<Mutex<Vec<String>>>,
    failures: usize,
}

impl Server {
    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let mut requests = server.requests.lock().unwrap();
            requests.push(format!("{} {}", request.method(), request.uri()));
            let code = if requests.len() <= server.failures { 500 } else { 200 };
            let status = match code {
                200 => "Success",
                _ => "Failure",
            };
            let body = format!(r#"{{"kind":"Status","apiVersion":"v1","status":"{status}","code":{code}}}"#);
            std::future::ready(Response::builder().status(code).body(Body::from(body.into_bytes())))
        });
        kube::Client::new(service, "default")
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_nodes_slices_are_deleted_at_every_start_until_it_works() {
    let server = Server { failures: 2, ..Server::default() };
    let node = Node::with(|settings| settings.client = Some(server.client())).await;
    assert!(node.kubelet.wait(SOON, || server.requests().len() == 3).await);
    node.kubelet.restart().await;
    assert!(node.kubelet.wait(SOON, || server.requests().len() == 4).await);
    assert_eq!(server.requests(), [ALL; 4]);
}

#[tokio::test]
async fn the_slices_of_a_driver_that_stays_away_are_deleted_once() {
    let server = Server::default();
    let node = Node::with(|settings| {
        settings.client = Some(server.client());
        // The delay also runs before the first connection; it must not be over by then.
        settings.timings.wipe = Duration::from_secs(2);
    })
    .await;
    let mut returns = node.registered("r", Script::new("returns.example.com")).await;
    let mut crashes = node.registered("c", Script::new("crashes.example.com")).await;
    let leaves = node.registered("l", Script::new("leaves.example.com")).await;
    let connected = || node.kubelet.plugins().iter().filter(|plugin| plugin.connected).count();

    returns.crash();
    assert!(node.kubelet.wait(SOON, || connected() == 2).await);
    let _again = node.registered("r", Script::new("returns.example.com")).await;
    // The delays of these two begin later: when they are over, that of the first would be, too.
    crashes.crash();
    leaves.withdraw();
    assert!(node.kubelet.wait(SOON, || server.requests().len() == 3).await);
    let mut requests = server.requests();
    requests.sort();
    assert_eq!(requests, [of_driver("crashes.example.com"), of_driver("leaves.example.com"), ALL.to_owned()]);
}
