//! What goes wrong with controllers and their way to the API server distorts nothing.

use std::time::Duration;

use kube::Api;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use crate::controller::Controller;
use crate::scene::Scene;

/// A node with so many devices of a kind, and their class.
async fn devices(scene: &Scene, kind: &str, count: usize) -> (String, String) {
    let node = scene.node(kind).await;
    let class = scene.class(kind, None).await;
    let devices: Vec<_> =
        (0..count).map(|number| scene.device(&format!("gpu-{number}"), kind, json!({}))).collect();
    scene.slice("gpus", &node, json!({"devices": devices})).await;
    (node, class)
}

#[tokio::test]
async fn a_controller_that_was_killed_comes_back_and_observes_nothing_twice() {
    let mut scene = Scene::new("restart").await;
    let (node, class) = devices(&scene, "restart", 2).await;
    scene.wants("before", &class, json!({})).await;
    scene.allocated("before").await;
    scene.wants("waits", &class, json!({"count": 2})).await;
    scene.blocked("waits", &class, "in_use").await;
    let by_class = [("device_class", &*class)];
    let count = "dra_allocation_duration_seconds_count";
    scene.controller.until_value(count, &by_class, Some(1.0)).await;

    scene.controller = scene.controller.restart().await;
    scene.controller.until_ready().await;
    scene.controller.until_leader().await;
    let pending = [("device_class", &*class), ("reason", "in_use")];
    scene.controller.until_value("dra_pending_claims", &pending, Some(1.0)).await;
    let pool = format!("{node}/gpu");
    let of_class = [("node", &*node), ("pool", &*pool), ("device_class", &*class)];
    scene.controller.until_value("dra_resource_utilization_ratio", &of_class, Some(0.5)).await;
    assert!(
        scene.controller.value(count, &by_class).await.unwrap_or(0.0) == 0.0,
        "an old claim was observed again"
    );
    // Some rounds of explanations.
    sleep(Duration::from_secs(2)).await;
    let events = scene.events("ResourceClaim", "waits").await;
    assert_eq!(events.len(), 1, "the Event that is there is the same: {events:#?}");

    // What waited all the time is observed now, once, with the time before the restart.
    let began = creation(&scene, "waits").await;
    scene.gone("before").await;
    scene.allocated("waits").await;
    scene.controller.until_value(count, &by_class, Some(1.0)).await;
    let sum = scene.controller.value("dra_allocation_duration_seconds_sum", &by_class).await.unwrap();
    let most = (jiff::Timestamp::now() - began).total(jiff::Unit::Second).unwrap();
    assert!(sum > 2.0 && sum <= most + 1.0, "{sum} s, and the claim is {most} s old");
    scene.remove().await;
}

async fn creation(scene: &Scene, claim: &str) -> jiff::Timestamp {
    let claims: Api<k8s_openapi::api::resource::v1::ResourceClaim> = scene.space.api();
    claims.get(claim).await.unwrap().metadata.creation_timestamp.unwrap().0
}

#[tokio::test]
async fn of_two_replicas_one_speaks_and_the_other_takes_over() {
    let mut scene = Scene::new("replicas").await;
    let second = Scene::settings(&scene.space, &scene.driver, "two");
    let second = Controller::start(second).await;
    second.until_ready().await;
    second.until_value("dra_controller_leader", &[], Some(0.0)).await;
    let (_, class) = devices(&scene, "replicas", 1).await;
    scene.wants("waits", &class, json!({"count": 2})).await;
    scene.blocked("waits", &class, "too_few_devices").await;
    assert_eq!(second.samples("dra_pending_claims").await, [], "a follower says nothing of the cluster");

    // The leader ends, and gives its Lease back.
    scene.controller.end().await;
    second.until_leader().await;
    let pending = [("device_class", &*class), ("reason", "too_few_devices")];
    second.until_value("dra_pending_claims", &pending, Some(1.0)).await;
    sleep(Duration::from_secs(1)).await;
    let events = scene.events("ResourceClaim", "waits").await;
    assert_eq!(events.len(), 1, "{events:#?}");
    scene.controller = second;
    scene.remove().await;
}

#[tokio::test]
async fn the_api_server_goes_away_and_comes_back() {
    let mut scene = Scene::new("away").await;
    let (node, class) = devices(&scene, "away", 2).await;
    let link = link::Link::new().await;
    scene.controller.end().await;
    let mut settings = Scene::settings(&scene.space, &scene.driver, "cut off");
    settings.kubeconfig = Some(link.kubeconfig.path().to_owned());
    scene.controller = Controller::start(settings).await;
    scene.controller.until_ready().await;
    scene.controller.until_leader().await;
    scene.wants("first", &class, json!({})).await;
    scene.allocated("first").await;
    let by_class = [("device_class", &*class)];
    let name = "dra_allocation_duration_seconds";
    scene.controller.until_value(&format!("{name}_count"), &by_class, Some(1.0)).await;

    // Behind its back, one claim comes and is allocated, another one comes and waits, and one goes.
    link.cut();
    let cut = Instant::now();
    scene.wants("second", &class, json!({})).await;
    scene.allocated("second").await;
    scene.wants("third", &class, json!({"count": 2})).await;
    scene.gone("first").await;
    sleep(Duration::from_secs(4).saturating_sub(cut.elapsed())).await;
    assert!(
        scene.controller.ask("/healthz").await.starts_with("HTTP/1.1 200"),
        "it is not restarted for that"
    );
    link.restore();

    let back = Instant::now();
    let pending = [("device_class", &*class), ("reason", "in_use")];
    scene.controller.until_value("dra_pending_claims", &pending, Some(1.0)).await;
    let pool = format!("{node}/gpu");
    let of_class = [("node", &*node), ("pool", &*pool), ("device_class", &*class)];
    scene.controller.until_value("dra_allocated_devices", &of_class, Some(1.0)).await;
    assert!(back.elapsed() < Duration::from_secs(60), "{:?}", back.elapsed());
    // The claim that came and was allocated in between is not made longer by the outage.
    let sum = scene.controller.value(&format!("{name}_sum"), &by_class).await.unwrap();
    assert!(sum < 3.0, "{sum}");
    scene.remove().await;
}

mod link {
    //! A way to the API server that can be cut.

    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    use super::{NamedTempFile, Value};

    pub(super) struct Link {
        pub(super) kubeconfig: NamedTempFile,
        is_cut: Arc<AtomicBool>,
        cut: Arc<Notify>,
        _task: JoinSet<()>,
    }

    impl Link {
        pub(super) async fn new() -> Self {
            let own = std::env::var_os("KUBECONFIG").expect("the cluster's kubeconfig");
            let mut config: Value = serde_saphyr::from_str(&fs_err::read_to_string(own).unwrap()).unwrap();
            let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
            let server = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            config["clusters"][0]["cluster"]["server"] = format!("https://{address}").into();
            let kubeconfig = NamedTempFile::new().unwrap();
            fs_err::write(kubeconfig.path(), config.to_string()).unwrap();
            let (is_cut, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
            let mut task = JoinSet::new();
            task.spawn(forward(listener, server, Arc::clone(&is_cut), Arc::clone(&cut)));
            Self { kubeconfig, is_cut, cut, _task: task }
        }

        /// Ends all connections; new ones are ended at once.
        pub(super) fn cut(&self) {
            self.is_cut.store(true, Ordering::SeqCst);
            self.cut.notify_waiters();
        }

        pub(super) fn restore(&self) {
            self.is_cut.store(false, Ordering::SeqCst);
        }
    }

    async fn forward(listener: TcpListener, server: String, is_cut: Arc<AtomicBool>, cut: Arc<Notify>) {
        let mut connections = JoinSet::new();
        while let Ok((mut here, _)) = listener.accept().await {
            if is_cut.load(Ordering::SeqCst) {
                continue;
            }
            let (server, cut) = (server.clone(), Arc::clone(&cut));
            connections.spawn(async move {
                let is_over = cut.notified();
                let Ok(mut there) = TcpStream::connect(&server).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                    () = is_over => {}
                }
            });
        }
    }
}
