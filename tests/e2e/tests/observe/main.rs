//! Dashboards and alerts on a real Prometheus that scrapes the plugin and the controller: each panel shows the numbers
//! of a node about which everything is known, and alerts fire for what happened and for nothing else.
//!
//! Prometheus scrapes every second with the relabelling of deploy/prometheus. Only these things differ from what users
//! have: the pods' addresses are given instead of discovered, alerts do not wait (`for` is left out), and a sum that is
//! taken every five minutes is taken every second.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod cluster_truth;
mod controller;
mod scene;
mod truth;

use std::collections::{BTreeMap, BTreeSet};

use e2e::gpu::kubelet;
use e2e::prometheus::{Prometheus, Sample};
use observe::dashboards::{self, Query, fill_in};
use scene::Scene;
use truth::{Truth, truth};

/// A query of a panel as the test asks it.
fn filled(query: &Query, node: &str) -> String {
    let variables = |range| {
        [
            ("cluster", ".*"),
            ("node", node),
            ("namespace", ".*"),
            ("price", "0.1099"),
            ("__range", range),
            ("__rate_interval", truth::RATE_INTERVAL),
        ]
    };
    if query.expression.contains("[$__range:5m]") {
        let every_second = query.expression.replace("[$__range:5m]", "[$__range:1s]");
        return fill_in(&every_second, &variables(truth::SHORT_RANGE));
    }
    fill_in(&query.expression, &variables(truth::RANGE))
}

/// Whether an answer is the truth: the same series, and each value within its bounds.
fn agrees(answer: &[Sample], truth: &Truth) -> bool {
    // A quantile of nothing.
    let answer: Vec<&Sample> = answer.iter().filter(|sample| !sample.value.is_nan()).collect();
    answer.len() == truth.len()
        && answer
            .iter()
            .all(|sample| truth.get(&sample.labels).is_some_and(|wanted| wanted.contains(&sample.value)))
}

async fn firing(prometheus: &Prometheus, wanted: &BTreeSet<[String; 3]>) {
    let of = |sample: &Sample| {
        ["alertname", "device", "class"].map(|label| sample.labels.get(label).cloned().unwrap_or_default())
    };
    let all = |samples: &[Sample]| samples.iter().map(of).collect::<BTreeSet<_>>();
    let answer = prometheus.until("ALERTS{alertstate=\"firing\"}", |answer| all(answer) == *wanted).await;
    let last = answer.unwrap_or_else(|last| panic!("these fire: {:?}\nand should: {wanted:?}", all(&last)));
    for alert in &last {
        assert!(alert.labels.contains_key("severity"), "{alert:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_and_alerts_tell_the_truth() {
    let _kubelet = kubelet().await;
    let mut scene = Scene::new().await;
    let prometheus = Prometheus::start(&scene.scrape_configuration()).await;
    // Two targets of four: the others are no pods of the plugin or the controller, or have ended.
    let all_up = |up: &[Sample]| up.len() == 2 && up.iter().all(|one| one.value == 1.0);
    let up = prometheus.until("up", all_up).await.unwrap();
    let pods: BTreeMap<&str, Option<&str>> = up
        .iter()
        .map(|one| (one.labels["pod"].as_str(), one.labels.get("node").map(String::as_str)))
        .collect();
    // The controller's own node is not attached: `node` is the one of the devices that it counts.
    assert_eq!(pods, BTreeMap::from([(scene::PODS[0], None), (scene::PODS[1], Some(scene.node()))]));
    let zero =
        prometheus.until("sum(dra_device_xid_errors_total)", |sum| sum.iter().any(|s| s.value == 0.0)).await;
    zero.unwrap();

    scene.play().await;

    let truth = truth(&scene).await;
    let queries: Vec<Query> =
        dashboards::all().unwrap().iter().flat_map(|one| one.queries().collect::<Vec<_>>()).collect();
    let mut untold: BTreeMap<_, _> = truth.iter().collect();
    for query in &queries {
        let key = (query.dashboard.clone(), query.panel.clone(), query.letter.clone());
        let wanted = untold.remove(&key).unwrap_or_else(|| panic!("what should {key:?} show?"));
        let expression = filled(query, scene.node());
        if let Err(last) = prometheus.until(&expression, |answer| agrees(answer, wanted)).await {
            panic!("{key:?} shows\n{last:#?}\ninstead of\n{wanted:#?}\nfor\n{expression}");
        }
    }
    assert!(untold.is_empty(), "no panel shows {:?}", untold.keys());
    println!("{} queries of panels tell the truth", queries.len());

    let alert = |name: &str, device: &str, class: &str| [name, device, class].map(str::to_owned);
    let [sick, idle] = [&scene.training[0], &scene.notebook];
    let mut fire = BTreeSet::from([
        alert("DRAGpuXid", sick, ""),
        alert("DRAGpuFault", sick, "reset"),
        alert("DRAGpuAllocatedIdle", idle, ""),
        alert("DRAGpuRowRemapPending", &scene.worn, ""),
        alert("DRAGpuRowRemapFailed", &scene.worn, ""),
    ]);
    firing(&prometheus, &fire).await;

    // The plugin's end takes what was known of its GPUs with it.
    scene.gpus.stop().await;
    fire = BTreeSet::from([alert("DRADriverDown", "", "")]);
    firing(&prometheus, &fire).await;
    scene.controller.kill().await;
    fire.insert(alert("DRAControllerDown", "", ""));
    firing(&prometheus, &fire).await;
    scene.finish().await;
}
