//! The documentation shows what is said.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

/// A small cluster for each reason.
fn scene(reason: Blocker) -> Scene {
    let one = || Scene::nodes(1).pool("node-a", gpus(2));
    let two = || Scene::nodes(2).pool("node-a", gpus(2));
    let kind = "device.attributes['gpu.example.com'].type == 'gpu'";
    let memory = "device.capacity['gpu.example.com'].memory.compareTo(quantity('100Gi')) >= 0";
    match reason {
        Blocker::ClassMissing => one().wants(wanted(&json!({"deviceClassName": "gpus"}))),
        Blocker::ClassSelector => one()
            .class("mig", "device.attributes['gpu.example.com'].type == 'mig'")
            .wants(wanted(&json!({"deviceClassName": "mig"}))),
        Blocker::RequestSelector => one().wants(wanted(&selecting(&[kind, &format!("{kind} && {memory}")]))),
        Blocker::SelectorError => {
            one().wants(wanted(&selecting(&["device.attributes['gpu.example.com'].model == 'H100'"])))
        }
        Blocker::InUse => two()
            .holder("one", &["node-a/gpu/gpu-0"])
            .holder("other:two", &["node-a/gpu/gpu-1"])
            .wants(wanted(&json!({}))),
        Blocker::DeviceTaint => {
            let taint = json!({"taints": [{"key": "nvidia.com/xid", "value": "79", "effect": "NoExecute"}]});
            Scene::nodes(1)
                .pool("node-a", vec![gpu("gpu-0", &taint), gpu("gpu-1", &taint)])
                .wants(wanted(&json!({})))
        }
        Blocker::Counters => cases::partitions(&[("whole", "8"), ("half-0", "4"), ("half-1", "4")])
            .holder("one", &["node-a/gpu/half-0"])
            .wants(wanted(&selecting(&["device.attributes['gpu.example.com'].name == 'whole'"]))),
        Blocker::Capacity => cases::shared(json!({"capacity": {"requests": {"memory": "40Gi"}}})),
        Blocker::Constraint => {
            let on = |name: &str, numa: i64| gpu(name, &json!({"attributes": {"numaNode": {"int": numa}}}));
            let mut devices = wanted(&json!({"count": 2}));
            devices["constraints"] = json!([{"matchAttribute": "gpu.example.com/numaNode"}]);
            Scene::nodes(1).pool("node-a", vec![on("gpu-0", 0), on("gpu-1", 1)]).wants(devices)
        }
        Blocker::TooFewDevices => two().wants(wanted(&json!({"count": 3}))),
        Blocker::PoolIncomplete => {
            let half = slice("node-a", "node-a/gpu", 2, &json!({"devices": gpus(1)}));
            Scene::nodes(1).slice(half).wants(wanted(&json!({})))
        }
        Blocker::PoolInvalid => {
            let part = |count| slice("node-a", "node-a/gpu", 2, &json!({"devices": gpus(count)}));
            Scene::nodes(1).slice(part(1)).slice(part(2)).wants(wanted(&json!({})))
        }
        Blocker::NoDevices => Scene::nodes(2).wants(wanted(&json!({}))),
        Blocker::NodeRules => {
            let mut scene = two().wants(wanted(&json!({})));
            let taint = json!({"key": "dedicated", "value": "ml", "effect": "NoSchedule"});
            scene.nodes[0]["spec"] = json!({"taints": [taint]});
            scene
        }
        Blocker::ClaimElsewhere => cases::bound("node-b"),
        Blocker::Together => one().wants(json!({"requests": [
            {"name": "big", "exactly": ask(&json!({"count": 2}))},
            {"name": "small", "exactly": ask(&json!({"count": 1}))},
        ]})),
        Blocker::ReservedFull => cases::reserved(256),
        Blocker::Scheduler => {
            let gate = json!({"schedulingGates": [{"name": "example.com/quota"}]});
            two().claim("train", wanted(&json!({}))).pod(&["train"], &gate)
        }
        Blocker::NoAnswer | Blocker::Unexplained => one().wants(wanted(&json!({}))),
    }
}

fn said(reason: Blocker) -> String {
    let audience = Audience::Namespace("team");
    let scene = scene(reason);
    let cluster = scene.cluster();
    let explanation = match reason {
        Blocker::Unexplained => Explanation::unexplained(&asked(&cluster)),
        Blocker::NoAnswer => {
            let cancel = Cancel::default();
            cancel.set();
            explain(&cluster, &asked(&cluster), &cel::Cache::default(), &cancel)
        }
        _ => scene.explained(),
    };
    assert_eq!(explanation.blocker, reason);
    explanation.text(&audience)
}

#[test]
fn each_reason_has_its_meaning_and_an_example_that_is_true() {
    let page = docs::page("docs/explain.md").unwrap();
    let blocks = page.blocks();
    let examples: BTreeMap<&str, String> = blocks
        .iter()
        .filter_map(|block| {
            let text = block.text.split_whitespace().collect::<Vec<_>>().join(" ");
            Some((block.marks.first()?.as_str(), text))
        })
        .collect();
    let text = page.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut after = 0;
    for reason in Blocker::ALL {
        let word = reason.as_str();
        let meaning = reason.meaning();
        let (first, rest) = meaning.split_at(1);
        let section = format!("### {word} {}{rest}.", first.to_uppercase());
        let place = text.find(&section).unwrap_or_else(|| panic!("the page has no {section:?}"));
        assert!(place > after, "{word} is not in its place");
        after = place;
        assert_eq!(examples.get(word).map(String::as_str), Some(said(reason).as_str()), "{word}");
    }
    assert_eq!(examples.len(), Blocker::ALL.len(), "there are examples of other reasons");
}
