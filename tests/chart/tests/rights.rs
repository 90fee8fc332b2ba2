//! What a stolen token of the controller could do: the rights that the chart gives it, and when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use chart::helm::{objects, render};
use serde_json::{Value, json};

/// The objects of one part of the chart.
fn part(name: &str, arguments: &[&str]) -> Vec<Value> {
    let all = objects(&render(arguments).unwrap()).unwrap();
    let is_it = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/component"] == name;
    let part: Vec<Value> = all.into_iter().filter(is_it).collect();
    assert!(!part.is_empty(), "the chart has no part {name}");
    part
}

fn rules(objects: &[Value]) -> impl Iterator<Item = &Value> {
    objects
        .iter()
        .filter_map(|object| object["rules"].as_array())
        .flatten()
        .filter(|rule| rule["verbs"].is_array())
}

#[test]
fn the_webhook_may_touch_its_own_secret_and_configuration_alone() {
    let webhook = part("webhook", &[]);
    let names = |kind: &str| -> Vec<Value> {
        let of_kind = webhook.iter().filter(|object| object["kind"] == kind);
        of_kind.map(|object| object["metadata"]["name"].clone()).collect()
    };
    let may: Vec<Value> =
        rules(&webhook).map(|rule| json!([rule["resources"], rule["resourceNames"]])).collect();
    let expected = [
        json!([["validatingwebhookconfigurations"], names("ValidatingWebhookConfiguration")]),
        json!([["secrets"], names("Secret")]),
    ];
    assert_eq!(may, expected);
}

#[test]
fn rights_to_take_the_driver_away_are_there_while_helm_uninstalls() {
    for (force, deletes_pods) in [("uninstall.force=false", false), ("uninstall.force=true", true)] {
        let uninstall = part("uninstall", &["--set", force]);
        for object in uninstall.iter().filter(|object| object["kind"] != "NetworkPolicy") {
            let (kind, annotations) = (&object["kind"], &object["metadata"]["annotations"]);
            assert_eq!(annotations["helm.sh/hook"], "pre-delete", "{kind}");
            if kind != "Job" {
                let policy = annotations["helm.sh/hook-delete-policy"].as_str().unwrap();
                assert!(
                    ["hook-succeeded", "hook-failed"].iter().all(|end| policy.contains(end)),
                    "{kind}: {policy}"
                );
            }
        }
        let has = |list: &Value, one: &str| list.as_array().unwrap().iter().any(|other| other == one);
        let deletes =
            rules(&uninstall).any(|rule| has(&rule["resources"], "pods") && has(&rule["verbs"], "delete"));
        assert_eq!(deletes, deletes_pods, "{force}");
    }
}
