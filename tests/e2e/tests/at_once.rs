//! Many pods at once, by a stand-in for the kubelet: nothing is refused, and nothing waits for the kubelet's retry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use e2e::api::Space;
use e2e::cluster::Cluster;
use e2e::crash::requests::Proxy;
use e2e::crash::scene::Scene;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

/// Two have a GPU each to themselves, the others administrators' access to one of them.
const PODS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_pods_at_once_are_all_prepared_at_the_first_attempt() {
    let client = Cluster::current().client().await;
    let labels = json!({"resource.kubernetes.io/admin-access": "true"});
    let space = Space::create(client.clone(), "at-once", labels).await;
    let scene = Scene::new(client.clone()).await;
    let proxy = Proxy::start(client).await;
    let mut program = scene.start(&[], &proxy.kubeconfig());
    scene.published(&mut program).await.expect("the plugin lives");
    let mut claims = Vec::new();
    for number in 0..PODS {
        claims.push(scene.claim_of(&space, &format!("claim-{number}"), number % 2, number >= 2).await);
    }

    let began = Instant::now();
    let prepared = join_all(claims.iter().map(|used| scene.try_prepare(used))).await;
    println!("{PODS} at once: {:?}", began.elapsed());
    for (used, prepared) in claims.iter().zip(&prepared) {
        let ids = prepared.as_ref().unwrap_or_else(|error| panic!("{error}\n{}", scene.log()));
        let own = format!("{}/claim={}-", scene.driver, used.uid);
        assert_eq!(ids.iter().filter(|id| id.starts_with(&own)).count(), 1, "{ids:?}");
    }
    for used in &claims {
        scene.end(&mut program, used).await.expect("the plugin lives");
    }
    program.stop().await.expect("the plugin ends in order");
    scene.remove().await;
    space.remove().await;
}
