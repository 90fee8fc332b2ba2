//! Plugins and kubelets that come back, and what happens to the slices of those that do not.

use e2e::objects::{Claim, PodPlan};
use e2e::plugin::Plugin;
use e2e::stage::{Stage, on_both, on_both_alone};
use std::time::{Duration, Instant};

fn gpu() -> [Claim; 1] {
    [Claim::new("gpu", &[("one", "a", "0")])]
}

#[tokio::test]
async fn a_restarted_plugin_is_registered_again_and_pods_are_left_alone() {
    let expected = [
        "first: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  asked for health in vain",
        "second: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("plugin-restart", &gpu(), &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |_| {}).await;
        stage.run(&PodPlan::new("first", &["gpu"])).await;
        stage.stop(plugin).await;
        let plugin = stage.plugin("a", |_| {}).await;
        stage.run(&PodPlan::new("second", &["gpu"])).await;
        stage.end("first").await;
        stage.end("second").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_killed_plugin_that_comes_back_is_registered_again() {
    let expected = [
        "  asked for its info",
        "  registered",
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("plugin-kill", &gpu(), &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |_| {}).await;
        let calls: Vec<_> =
            plugin.kill().await.into_iter().filter(|call| call.short() != "NodeWatchResources").collect();
        stage.add(&calls);
        let plugin = stage.plugin("a", |_| {}).await;
        stage.run(&PodPlan::new("pod", &["gpu"])).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_dropped_connection_is_made_again_without_a_registration() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("dropped", &gpu(), &expected, async |stage: &mut Stage| {
        let mut plugin = stage.plugin("a", |_| {}).await;
        plugin.command(serde_json::json!({"do": "drop"})).await;
        // The next stream of health tells that there is a connection again.
        plugin.called("NodeWatchResources", 2).await;
        stage.run(&PodPlan::new("pod", &["gpu"])).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_restarted_kubelet_registers_plugins_again_and_prepares_claims_in_use_again() {
    let expected = [
        "first: main got [<driver a> gpu-0]",
        "the kubelet restarts",
        "second: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both_alone("kubelet-restart", &gpu(), &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |_| {}).await;
        stage.run(&PodPlan::new("first", &["gpu"])).await;
        stage.note("the kubelet restarts");
        stage.node.restart().await;
        stage.registered(&plugin, 2).await;
        stage.run(&PodPlan::new("second", &["gpu"])).await;
        stage.end("first").await;
        stage.end("second").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_starting_kubelet_deletes_the_slices_of_its_node() {
    on_both_alone("wipe-at-start", &[], &["the slice is gone"], async |stage: &mut Stage| {
        let slice = stage.slice("a").await;
        stage.node.restart().await;
        e2e::api::gone(&stage.slices(), &slice.0, &slice.1).await;
        stage.note("the slice is gone");
    })
    .await;
}

#[tokio::test]
#[ignore = "long: the kubelet waits 30 s"]
async fn the_slices_of_a_plugin_that_went_are_deleted_after_thirty_seconds() {
    let expected = ["  asked for its info", "  registered", "  asked for health in vain", "waited: true"];
    on_both("wipe-late", &[], &expected, async |stage: &mut Stage| {
        let plugin: Plugin = stage.plugin("a", |_| {}).await;
        let slice = stage.slice("a").await;
        let went = Instant::now();
        stage.stop(plugin).await;
        e2e::api::gone(&stage.slices(), &slice.0, &slice.1).await;
        stage.note(format!("waited: {}", went.elapsed() >= Duration::from_secs(29)));
    })
    .await;
}
