//! What goes wrong, and what users read about it in the pod's events.

use e2e::objects::{Claim, PodPlan};
use e2e::stage::{Stage, on_both};
use k8s_openapi::api::resource::v1::ResourceClaim;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn gpu() -> [Claim; 1] {
    [Claim::new("gpu", &[("one", "a", "0")])]
}

/// Gives a pod with all the stage's claims to a plugin with a rule that comes before the usual ones.
async fn fails_with(stage: &mut Stage, claims: &[&'static str], rule: Value) {
    let plugin = stage.plugin("a", |settings| settings.rules.insert(0, rule)).await;
    stage.fail(&PodPlan::new("pod", claims)).await;
    stage.end("pod").await;
    stage.stop(plugin).await;
}

#[tokio::test]
async fn an_error_for_a_claim_is_in_the_pods_event() {
    let expected = [
        "pod: Failed to prepare dynamic resources: prepare dynamic resources: NodePrepareResources failed for \
         ResourceClaim gpu: the device is on fire",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu (the device is on fire)",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("claim-error", &gpu(), &expected, async |stage: &mut Stage| {
        let rule =
            json!({"method": "NodePrepareResources", "claim": "gpu", "error": "the device is on fire"});
        fails_with(stage, &["gpu"], rule).await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_fails_when_one_of_its_claims_does() {
    let claims = [Claim::new("good", &[("one", "a", "0")]), Claim::new("bad", &[("one", "a", "1")])];
    let expected = [
        "pod: Failed to prepare dynamic resources: prepare dynamic resources: NodePrepareResources failed for \
         ResourceClaim bad: out of order",
        "  asked for its info",
        "  registered",
        "  v1 prepare good bad (out of order)",
        "  v1 unprepare good bad",
        "  asked for health in vain",
    ];
    on_both("one-of-two", &claims, &expected, async |stage: &mut Stage| {
        let rule = json!({"method": "NodePrepareResources", "claim": "bad", "error": "out of order"});
        fails_with(stage, &["good", "bad"], rule).await;
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_the_answer_lacks_counts_as_skipped() {
    let claims = [Claim::new("there", &[("one", "a", "0")]), Claim::new("lacking", &[("one", "a", "1")])];
    let expected = [
        "pod: Failed to prepare dynamic resources: prepare dynamic resources: NodePrepareResources skipped 1 \
         ResourceClaims",
        "  asked for its info",
        "  registered",
        "  v1 prepare there lacking (left out)",
        "  v1 unprepare there lacking",
        "  asked for health in vain",
    ];
    on_both("skipped", &claims, &expected, async |stage: &mut Stage| {
        let rule = json!({"method": "NodePrepareResources", "claim": "lacking", "omit": true});
        fails_with(stage, &["there", "lacking"], rule).await;
    })
    .await;
}

#[tokio::test]
async fn a_failed_call_is_in_the_pods_event_with_its_code() {
    let expected = [
        "pod: Failed to prepare dynamic resources: prepare dynamic resources: NodePrepareResources: rpc error: \
         code = ResourceExhausted desc = too many claims",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu -> ResourceExhausted: too many claims",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("call-fails", &gpu(), &expected, async |stage: &mut Stage| {
        let rule = json!({
            "method": "NodePrepareResources", "code": "RESOURCE_EXHAUSTED", "message": "too many claims",
        });
        fails_with(stage, &["gpu"], rule).await;
    })
    .await;
}

#[tokio::test]
async fn a_version_that_is_advertised_and_not_served_fails_the_call() {
    let expected = [
        "pod: Failed to prepare dynamic resources: prepare dynamic resources: NodePrepareResources: rpc error: \
         code = Unimplemented desc = /k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources is not served",
        "  asked for its info",
        "  registered",
        "  v1 prepare  -> Unimplemented: /k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources is not \
         served",
        "  asked for health in vain",
        "and it stays so until v1 is served",
        "  asked for its info",
        "  registered",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("not-served", &gpu(), &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |settings| settings.services.clear()).await;
        stage.fail(&PodPlan::new("pod", &["gpu"])).await;
        stage.stop(plugin).await;
        stage.note("and it stays so until v1 is served");
        let plugin = stage.plugin("a", |_| {}).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_without_its_driver_fails_and_leaves_nothing_behind() {
    let expected = [
        "pod: Failed to prepare dynamic resources: prepare dynamic resources: DRA driver <driver a> is not \
         registered",
    ];
    on_both("no-driver", &gpu(), &expected, async |stage: &mut Stage| {
        stage.fail(&PodPlan::new("pod", &["gpu"])).await;
        stage.end("pod").await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_may_not_use_a_claim_that_is_not_reserved_for_it() {
    let expected = [
        "pod: Failed to prepare dynamic resources: prepare dynamic resources: pod pod (<uid of pod>) is not allowed to \
         use ResourceClaim gpu (<uid of gpu>)",
        "  asked for its info",
        "  registered",
        "  asked for health in vain",
    ];
    on_both("not-reserved", &gpu(), &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |_| {}).await;
        stage.fail_without_allocation(&PodPlan::new("pod", &["gpu"])).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_whose_claim_does_not_exist_fails() {
    let expected =
        ["pod: Failed to prepare dynamic resources: prepare dynamic resources: fetch ResourceClaim gpu: \
         resourceclaims.resource.k8s.io \"gpu\" not found"];
    on_both("no-claim", &gpu(), &expected, async |stage: &mut Stage| {
        stage.space.delete::<ResourceClaim>("gpu").await;
        stage.fail_without_allocation(&PodPlan::new("pod", &["gpu"])).await;
        stage.end("pod").await;
    })
    .await;
}

#[tokio::test]
async fn a_driver_is_not_called_when_that_of_another_claim_is_missing() {
    let claims = [Claim::new("gpu", &[("one", "a", "0")]), Claim::new("nic", &[("one", "b", "0")])];
    let expected = [
        "pod: Failed to prepare dynamic resources: prepare dynamic resources: DRA driver <driver b> is not \
         registered",
        "  asked for its info",
        "  registered",
        "  asked for health in vain",
    ];
    on_both("one-driver", &claims, &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |_| {}).await;
        stage.fail(&PodPlan::new("pod", &["gpu", "nic"])).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_deleted_during_prepare_is_prepared_to_the_end_and_then_unprepared() {
    let expected = [
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("deleted", &gpu(), &expected, async |stage: &mut Stage| {
        let mut plugin = stage.plugin("a", |settings| settings.rules[0]["hold"] = json!("prepare")).await;
        stage.create(&PodPlan::new("pod", &["gpu"])).await;
        plugin.called("NodePrepareResources", 1).await;
        stage.begin_end("pod").await;
        plugin.command(json!({"do": "release", "hold": "prepare"})).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "long: the deadline of a call is 45 s"]
async fn the_deletion_of_a_pod_does_not_cut_a_prepare_short() {
    let expected = [
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu -> Canceled: the caller gave up",
        "  v1 unprepare gpu",
        "  asked for health in vain",
        "at the deadline: true",
    ];
    on_both("deadline", &gpu(), &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |settings| settings.rules[0]["hold"] = json!("for ever")).await;
        stage.create(&PodPlan::new("pod", &["gpu"])).await;
        plugin.called("NodePrepareResources", 1).await;
        let called = Instant::now();
        stage.end("pod").await;
        stage.stop(plugin).await;
        stage.note(format!("at the deadline: {}", called.elapsed() >= Duration::from_secs(44)));
    })
    .await;
}

#[tokio::test]
async fn a_claim_whose_object_is_gone_is_unprepared_all_the_same() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("claim-gone", &gpu(), &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |_| {}).await;
        stage.run(&PodPlan::new("pod", &["gpu"])).await;
        stage.space.delete::<ResourceClaim>("gpu").await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "long: the kubelet tries again after 10 s"]
async fn a_failed_unprepare_is_tried_again_and_the_pod_waits_for_it() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu (still busy)",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("unprepare", &gpu(), &expected, async |stage: &mut Stage| {
        let rule = json!({"method": "NodeUnprepareResources", "times": 1, "error": "still busy"});
        let plugin = stage.plugin("a", |settings| settings.rules.push(rule)).await;
        stage.run(&PodPlan::new("pod", &["gpu"])).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "long: the kubelet tries again after 10 s"]
async fn a_pod_whose_plugin_is_away_ends_when_it_is_back() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  asked for health in vain",
        "  asked for its info",
        "  registered",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("away", &gpu(), &expected, async |stage: &mut Stage| {
        let plugin = stage.plugin("a", |_| {}).await;
        stage.run(&PodPlan::new("pod", &["gpu"])).await;
        stage.stop(plugin).await;
        stage.begin_end("pod").await;
        let plugin = stage.plugin("a", |_| {}).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "long: the kubelet tries again after 60 to 90 s"]
async fn a_failed_prepare_is_tried_again() {
    let expected = [
        "pod: Failed to prepare dynamic resources: prepare dynamic resources: NodePrepareResources failed for \
         ResourceClaim gpu: not ready",
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu (not ready)",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("retry", &gpu(), &expected, async |stage: &mut Stage| {
        let rule = json!({"method": "NodePrepareResources", "times": 1, "error": "not ready"});
        let plugin = stage.plugin("a", |settings| settings.rules.insert(0, rule)).await;
        let pod = PodPlan::new("pod", &["gpu"]);
        stage.fail(&pod).await;
        stage.runs(&pod).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}
