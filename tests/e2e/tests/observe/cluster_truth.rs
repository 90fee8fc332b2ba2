//! What the panels about the cluster must show, which the controller counts: of eight GPUs two claims have three, one
//! claim waits for what no node has, and two claims are over.

use std::collections::BTreeMap;

use crate::truth::{Bounds, Facts, Labels, Truth, bytes, exactly, labels, number, rate_of, series};

/// Memory of an H100 as it is published: 80Gi less what the firmware keeps.
const MEMORY_MIB: u64 = 81_559;
/// `brief`, `wrong`, `training` and `notebook` were allocated.
const ALLOCATED: f64 = 4.0;

/// Says it all.
pub(crate) fn tell(facts: &Facts<'_>, metrics: &str, say: &mut impl FnMut(&str, &str, Vec<Truth>)) {
    claims(facts, metrics, &mut |panel, letters| say("claims", panel, letters));
    fleet(facts, &mut |panel, letters| say("fleet", panel, letters));
    itself(metrics, &mut |panel, letters| say("controller", panel, letters));
}

fn one(bounds: Bounds) -> Truth {
    BTreeMap::from([(Labels::new(), bounds)])
}

fn claims(facts: &Facts<'_>, metrics: &str, say: &mut dyn FnMut(&str, Vec<Truth>)) {
    let class = facts.scene.gpus.class.as_str();
    let took = |quantile| quantile_of(metrics, "dra_allocation_duration_seconds", quantile);
    let since_pod = |quantile| quantile_of(metrics, "dra_pod_allocation_duration_seconds", quantile);
    let waits = [("reason", "request_selector"), ("device_class", class)];
    say("Claims that wait", vec![number(1.0)]);
    say("Longest wait", vec![one(0.1..=300.0)]);
    let allocated = buckets(metrics, "dra_allocation_duration_seconds");
    let within = |bound: f64| allocated.iter().find(|(le, _)| *le == bound).unwrap().1;
    assert_eq!(within(f64::INFINITY), ALLOCATED, "claims were allocated");
    say("Allocated within a second", vec![number(within(1.0) / ALLOCATED)]);
    say("Claims kept by nobody", vec![number(0.0)]);
    say("Claims that wait, by reason", vec![series("reason", [("request_selector", exactly(1.0))])]);
    say("Claims that came to wait, by reason", vec![series("reason", [("request_selector", rate_of(1.0))])]);
    say("What is waited for", vec![BTreeMap::from([(labels(&waits), exactly(1.0))])]);
    say("Time to allocate, by class", vec![series("device_class", [(class, took(0.9))])]);
    say("Time to allocate a claim", [0.5, 0.9, 0.99].map(|quantile| one(took(quantile))).into());
    say("Time from a pod to its devices", [0.5, 0.9, 0.99].map(|quantile| one(since_pod(quantile))).into());
    let alias = format!("gpu-compute-class.{}", facts.scene.gpus.driver);
    let rates = [(class, rate_of(ALLOCATED)), (&alias, exactly(0.0))];
    say("Allocations per second", vec![series("device_class", rates)]);
    let pool = format!("{}/gpu", facts.node);
    let devices = facts.held().into_iter().map(|(device, owner, claim, pod)| {
        let labels = labels(&[
            ("dra_claim_namespace", &facts.owners[owner]),
            ("dra_claim_name", claim),
            ("owner_pod", pod),
            ("node", &facts.node),
            ("pool", &pool),
            ("device", device),
        ]);
        (labels, exactly(1.0))
    });
    say("Allocated claims and their devices", vec![devices.collect()]);
}

fn fleet(facts: &Facts<'_>, say: &mut dyn FnMut(&str, Vec<Truth>)) {
    let class = &facts.scene.gpus.class;
    let alias = format!("gpu-compute-class.{}", facts.scene.gpus.driver);
    let (node, pool) = (&*facts.node, format!("{}/gpu", facts.node));
    let by_class = |value: f64| series("device_class", [(class, exactly(value)), (&alias, exactly(value))]);
    let pools = |value: f64| {
        let of = |class: &str| labels(&[("node", node), ("pool", &pool), ("device_class", class)]);
        BTreeMap::from([(of(class), exactly(value)), (of(&alias), exactly(value))])
    };
    let memory = |gpus: u64| {
        let labels = labels(&[("node", node), ("pool", &pool)]);
        BTreeMap::from([(labels, exactly(bytes(gpus * MEMORY_MIB)))])
    };
    say("Share of devices allocated, by class", vec![by_class(0.375)]);
    say("Share of devices allocated, by node", vec![facts.on_node(0.375)]);
    say("Devices by class", vec![by_class(8.0), by_class(3.0)]);
    say("Memory of the devices", vec![number(bytes(8 * MEMORY_MIB)), number(bytes(3 * MEMORY_MIB))]);
    say("Pools", vec![pools(8.0), pools(3.0), pools(0.375)]);
    say("Memory of the pools", vec![memory(8), memory(3)]);
}

/// What the controller says of itself can only be compared with what it says elsewhere; that it leads, sees everything
/// and loses nothing is known.
fn itself(metrics: &str, say: &mut dyn FnMut(&str, Vec<Truth>)) {
    let by = |metric: &str, wanted: &[&str], bounds: &dyn Fn(f64) -> Bounds| -> Truth {
        let samples = samples(metrics, metric).into_iter();
        samples
            .map(|(mut all, value)| {
                all.retain(|label, _| wanted.contains(&label.as_str()));
                (all, bounds(value))
            })
            .collect()
    };
    say("Controllers", vec![number(1.0)]);
    say("Leaders", vec![number(1.0)]);
    say("Resources not read yet", vec![number(0.0)]);
    say("Devices left out of the join", vec![number(0.0)]);
    // Other tests make and delete objects meanwhile.
    say("Objects", vec![by("dra_watched_objects", &["resource"], &|count| 0.0..=count + 1000.0)]);
    let some = |_: f64| 0.0..=100.0;
    say("Errors of watches", vec![by("dra_watch_errors_total", &["resource"], &some)]);
    // Other tests' claims were explained before Prometheus began to count: an explanation takes up to ten seconds.
    say("Time to explain a claim", vec![one(0.0..=10.0), one(0.0..=10.0)]);
    say("Explanations per second", vec![one(0.5 / 300.0..=100.0)]);
    say("Writes per second", vec![by("dra_controller_writes_total", &["kind", "result"], &some)]);
    say("Writes dropped", vec![number(0.0)]);
    say("Versions", vec![series("version", [(env!("CARGO_PKG_VERSION"), exactly(1.0))])]);
}

/// All samples of a metric.
fn samples(metrics: &str, metric: &str) -> Vec<(Labels, f64)> {
    let start = format!("{metric}{{");
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(&start)?.rsplit_once("} "));
    let sample = |(text, value): (&str, &str)| {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
        (labels.collect(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

/// The buckets of a histogram over all its labels: upper bounds, and how many took at most as long.
fn buckets(metrics: &str, metric: &str) -> Vec<(f64, f64)> {
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for (labels, count) in samples(metrics, &format!("{metric}_bucket")) {
        let bound: f64 = labels["le"].trim_start_matches('+').parse().unwrap();
        match buckets.iter_mut().find(|(le, _)| *le == bound) {
            Some((_, sum)) => *sum += count,
            None => buckets.push((bound, count)),
        }
    }
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    buckets
}

/// Between which bounds a quantile lies.
fn quantile_of(metrics: &str, metric: &str, quantile: f64) -> Bounds {
    let buckets = buckets(metrics, metric);
    let all = buckets.last().unwrap_or_else(|| panic!("{metric} has buckets")).1;
    let at = buckets.iter().position(|(_, count)| *count >= quantile * all).unwrap();
    let below = at.checked_sub(1).map_or(0.0, |below| buckets[below].0);
    below..=buckets[at].0
}
