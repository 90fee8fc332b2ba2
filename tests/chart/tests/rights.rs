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

/// What the rules of a part allow besides reading: verbs, resource and names.
fn writes(objects: &[Value]) -> Vec<Value> {
    let reads = |verb: &Value| ["get", "list", "watch"].iter().any(|read| verb == read);
    let writes = |rule: &Value| {
        let verbs: Vec<Value> =
            rule["verbs"].as_array().unwrap().iter().filter(|verb| !reads(verb)).cloned().collect();
        (!verbs.is_empty()).then(|| json!([rule["resources"], rule["resourceNames"], verbs]))
    };
    rules(objects).filter_map(writes).collect()
}

#[test]
fn the_controller_writes_events_and_its_lease_and_what_it_translates() {
    let off = part("controller", &["--set=controller.translation.enabled=false"]);
    let lease =
        [json!([["leases"], ["dra-driver-controller"], ["update"]]), json!([["leases"], null, ["create"]])];
    let events = json!([["events"], null, ["create", "patch"]]);
    assert_eq!(writes(&off), [std::slice::from_ref(&events), &lease[..]].concat());
    let translation = part("controller", &[]);
    let translated = [
        json!([["deviceclasses"], null, ["create", "update", "delete"]]),
        events.clone(),
        json!([["resourceclaimtemplates"], null, ["create", "delete"]]),
        // Those about ConfigMaps are of the newer group.
        events,
    ];
    assert_eq!(writes(&translation), [&translated[..], &lease[..]].concat());
    // Rights in its own namespace alone are given there, not for the cluster.
    for (objects, kind) in [(&off, "Role"), (&translation, "Role")] {
        let role = objects.iter().find(|object| object["kind"] == kind).unwrap();
        assert!(rules(std::slice::from_ref(role)).all(|rule| rule["resources"] == json!(["leases"])));
    }
}

#[test]
fn the_controller_reads_what_it_has_to_and_no_secrets() {
    for (translate, configmaps) in [(true, true), (false, false)] {
        let set = format!("--set=controller.translation.enabled={translate}");
        let controller = part("controller", &[&set]);
        let mut read: Vec<String> = rules(&controller)
            .filter(|rule| rule["verbs"].as_array().unwrap().iter().any(|verb| verb == "list"))
            .map(|rule| rule["resources"][0].as_str().unwrap().to_owned())
            .collect();
        read.sort();
        let mut wanted =
            vec!["configmaps", "deviceclasses", "nodes", "pods", "resourceclaims", "resourceslices"];
        wanted.retain(|resource| configmaps || *resource != "configmaps");
        assert_eq!(read, wanted, "translate: {translate}");
    }
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
