//! What pods ask for and what their containers get.

use e2e::objects::{Claim, ContainerPlan, PodPlan};
use e2e::stage::{Stage, on_both};

/// Runs one pod to its end with a plugin for each of the drivers.
async fn one_pod(stage: &mut Stage, drivers: &[&str], pod: &PodPlan) {
    let mut plugins = Vec::new();
    for driver in drivers {
        plugins.push(stage.plugin(driver, |_| {}).await);
    }
    stage.run(pod).await;
    stage.end(&pod.name).await;
    for plugin in plugins {
        stage.stop(plugin).await;
    }
}

#[tokio::test]
async fn one_claim() {
    let claims = [Claim::new("gpu", &[("one", "a", "0")])];
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("one-claim", &claims, &expected, async |stage: &mut Stage| {
        one_pod(stage, &["a"], &PodPlan::new("pod", &["gpu"])).await;
    })
    .await;
}

#[tokio::test]
async fn two_claims_of_one_driver_come_in_one_call() {
    let claims = [Claim::new("left", &[("one", "a", "0")]), Claim::new("right", &[("one", "a", "1")])];
    let expected = [
        "pod: main got [<driver a> left-0, <driver a> right-1]",
        "  asked for its info",
        "  registered",
        "  v1 prepare left right",
        "  v1 unprepare left right",
        "  asked for health in vain",
    ];
    on_both("two-claims", &claims, &expected, async |stage: &mut Stage| {
        one_pod(stage, &["a"], &PodPlan::new("pod", &["left", "right"])).await;
    })
    .await;
}

#[tokio::test]
async fn two_drivers_are_called_for_their_own_claims_and_for_those_they_share() {
    let claims = [
        Claim::new("first", &[("one", "a", "0")]),
        Claim::new("second", &[("one", "b", "0")]),
        Claim::new("mixed", &[("one", "a", "1"), ("two", "b", "2")]),
    ];
    let expected = [
        "pod: main got [<driver a> first-0, <driver a> mixed-1, <driver b> mixed-2, <driver b> second-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare first mixed",
        "  v1 unprepare first mixed",
        "  asked for health in vain",
        "  asked for its info",
        "  registered",
        "  v1 prepare second mixed",
        "  v1 unprepare second mixed",
        "  asked for health in vain",
    ];
    on_both("two-drivers", &claims, &expected, async |stage: &mut Stage| {
        one_pod(stage, &["a", "b"], &PodPlan::new("pod", &["first", "second", "mixed"])).await;
    })
    .await;
}

#[tokio::test]
async fn a_shared_claim_is_prepared_once_and_unprepared_after_its_last_pod() {
    let claims = [Claim::new("gpu", &[("one", "a", "0")])];
    let expected = [
        "first: main got [<driver a> gpu-0]",
        "second: main got [<driver a> gpu-0]",
        "calls while the second pod runs: 1",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("shared", &claims, &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |_| {}).await;
        stage.run(&PodPlan::new("first", &["gpu"])).await;
        stage.run(&PodPlan::new("second", &["gpu"])).await;
        stage.end("first").await;
        let calls = plugin.calls().iter().filter(|call| call.method.contains(".dra.")).count();
        stage.note(format!("calls while the second pod runs: {calls}"));
        stage.end("second").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_container_that_names_a_request_gets_the_devices_of_that_request() {
    let claims = [Claim::new("gpu", &[("one", "a", "0"), ("two", "a", "1"), ("two", "a", "2")])];
    let pod = PodPlan::of(
        "pod",
        &["gpu"],
        &[
            ContainerPlan::new("all", &[("gpu", None)]),
            ContainerPlan::new("first", &[("gpu", Some("one"))]),
            ContainerPlan::new("none", &[]),
            ContainerPlan::new("rest", &[("gpu", Some("two"))]),
        ],
    );
    let expected = [
        "pod: all got [<driver a> gpu-0, <driver a> gpu-1, <driver a> gpu-2], first got [<driver a> gpu-0], \
         none got [], rest got [<driver a> gpu-1, <driver a> gpu-2]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("requests", &claims, &expected, async |stage: &mut Stage| one_pod(stage, &["a"], &pod).await)
        .await;
}

#[tokio::test]
async fn a_chosen_subrequest_goes_by_the_name_of_its_request() {
    let claims = [Claim::new("gpu", &[("one/small", "a", "0"), ("two", "a", "1")])];
    let pod = PodPlan::of("pod", &["gpu"], &[ContainerPlan::new("main", &[("gpu", Some("one"))])]);
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("subrequest", &claims, &expected, async |stage: &mut Stage| one_pod(stage, &["a"], &pod).await)
        .await;
}

#[tokio::test]
async fn an_init_container_gets_its_devices_too() {
    let claims = [Claim::new("gpu", &[("one", "a", "0")]), Claim::new("setup", &[("one", "a", "1")])];
    let pod = PodPlan::of(
        "pod",
        &["gpu", "setup"],
        &[ContainerPlan::init("before", &[("setup", None)]), ContainerPlan::new("main", &[("gpu", None)])],
    );
    let expected = [
        "pod: before got [<driver a> setup-1], main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu setup",
        "  v1 unprepare gpu setup",
        "  asked for health in vain",
    ];
    on_both("init", &claims, &expected, async |stage: &mut Stage| one_pod(stage, &["a"], &pod).await).await;
}

#[tokio::test]
async fn two_containers_get_the_devices_of_their_own_claims() {
    let claims = [Claim::new("left", &[("one", "a", "0")]), Claim::new("right", &[("one", "a", "1")])];
    let pod = PodPlan::of(
        "pod",
        &["left", "right"],
        &[ContainerPlan::new("one", &[("left", None)]), ContainerPlan::new("other", &[("right", None)])],
    );
    let expected = [
        "pod: one got [<driver a> left-0], other got [<driver a> right-1]",
        "  asked for its info",
        "  registered",
        "  v1 prepare left right",
        "  v1 unprepare left right",
        "  asked for health in vain",
    ];
    on_both("containers", &claims, &expected, async |stage: &mut Stage| one_pod(stage, &["a"], &pod).await)
        .await;
}

#[tokio::test]
async fn administrators_access_is_prepared_like_any_other() {
    let claims = [Claim::new("watch", &[("one", "a", "0")]).admin()];
    let expected = [
        "pod: main got [<driver a> watch-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare watch",
        "  v1 unprepare watch",
        "  asked for health in vain",
    ];
    on_both("admin", &claims, &expected, async |stage: &mut Stage| {
        one_pod(stage, &["a"], &PodPlan::new("pod", &["watch"])).await;
    })
    .await;
}

#[tokio::test]
async fn ten_pods_at_once_get_a_call_each() {
    const NAMES: [&str; 10] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"];
    let claims = NAMES.map(|name| Claim::new(name, &[("one", "a", "0")]));
    let mut expected: Vec<String> =
        NAMES.iter().map(|name| format!("pod-{name}: main got [<driver a> {name}-0]")).collect();
    expected
        .extend(["  asked for health in vain", "  asked for its info", "  registered"].map(str::to_owned));
    expected.extend(NAMES.map(|name| format!("  v1 prepare {name}")));
    expected.extend(NAMES.map(|name| format!("  v1 unprepare {name}")));
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    on_both("ten-pods", &claims, &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |_| {}).await;
        let pods = NAMES.map(|name| PodPlan::new(format!("pod-{name}"), &[name]));
        for pod in &pods {
            stage.create(pod).await;
        }
        for pod in &pods {
            stage.runs(pod).await;
        }
        stage.end_all(pods.iter().map(|pod| pod.name.as_str())).await;
        stage.stop_in_any_order(plugin).await;
    })
    .await;
}
