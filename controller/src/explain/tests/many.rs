//! Large clusters, within a time.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::cluster::Shared;

/// A guard against what hangs: far longer than it takes.
const GUARD: Duration = Duration::from_secs(60);

/// So many nodes with eight GPUs each, all of which one claim of each node has.
fn full(nodes: usize) -> Cluster {
    let (mut cluster, mut shared) = (Cluster::default(), Shared::default());
    let kind = "device.attributes['gpu.example.com'].type == 'gpu'";
    cluster.apply_class(serde_json::from_value(class("gpu", kind)).unwrap());
    for number in 0..nodes {
        let name = format!("node-{number:05}");
        cluster.apply_node(serde_json::from_value(node(&name)).unwrap());
        let pool = format!("{name}/gpu");
        let devices: Vec<_> = (0..8)
            .map(|index| {
                let uuid = json!({"attributes": {"uuid": {"string": format!("GPU-{number}-{index}")}}});
                gpu(&format!("gpu-{index}"), &uuid)
            })
            .collect();
        let slice = slice(&name, &pool, 1, &json!({"devices": devices}));
        cluster.apply_slice(serde_json::from_value(slice).unwrap(), &mut shared);
        let all: Vec<String> = (0..8).map(|index| format!("{pool}/gpu-{index}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let claim = holder(&format!("other:claim-{number}"), &all);
        cluster.apply_claim(serde_json::from_value(claim).unwrap(), &mut shared);
    }
    cluster
}

fn train(cluster: &mut Cluster, over: &Value) {
    let claim = json!({
        "metadata": {"namespace": "team", "name": "train", "uid": "train"},
        "spec": {"devices": wanted(over)},
    });
    cluster.apply_claim(serde_json::from_value(claim).unwrap(), &mut Shared::default());
}

#[test]
fn ten_thousand_nodes_are_one_kind_of_node() {
    let mut cluster = full(10_000);
    train(&mut cluster, &json!({}));
    let (cache, started) = (cel::Cache::default(), Instant::now());
    let explained = explain(&cluster, &asked(&cluster), &cache, &Cancel::default());
    eprintln!("10,000 nodes: {:?}", started.elapsed());
    assert!(started.elapsed() < GUARD);

    // What tells nodes apart is found once for all claims.
    let (explainer, question) = (Explainer::new(&cluster, &cache), asked(&cluster));
    assert_eq!(explainer.explain(&question, &Cancel::default()), explained);
    let started = Instant::now();
    assert_eq!(explainer.explain(&question, &Cancel::default()), explained);
    eprintln!("the next claim: {:?}", started.elapsed());
    assert_eq!(
        explained.text(&Audience::Namespace("team")),
        "0/10000 nodes: 80000 devices on 10000 nodes are in use (10000 claims). It would fit on node-00000 if 1 claim \
         of another namespace gave back its devices."
    );

    // One UUID is on one node: here nodes differ.
    let uuid = "device.attributes['gpu.example.com'].uuid == 'GPU-9999-7'";
    train(&mut cluster, &selecting(&[uuid]));
    let started = Instant::now();
    let explainer = Explainer::new(&cluster, &cache);
    let explained = explainer.explain(&asked(&cluster), &Cancel::default());
    eprintln!("10,000 different nodes: {:?}", started.elapsed());
    assert!(started.elapsed() < GUARD);
    assert_eq!(explained.blocker, Blocker::InUse, "{}", explained.text(&Audience::Everything));
}

#[test]
fn the_time_is_kept_and_said() {
    let mut cluster = full(100);
    train(&mut cluster, &json!({}));
    let cancel = Cancel::default();
    cancel.set();
    let explained = explain(&cluster, &asked(&cluster), &cel::Cache::default(), &cancel);
    assert_eq!(explained.blocker, Blocker::NoAnswer);
    assert_eq!(
        explained.text(&Audience::Everything),
        "0/100 nodes: the time for an answer was over when 0 nodes had been looked at."
    );
}
