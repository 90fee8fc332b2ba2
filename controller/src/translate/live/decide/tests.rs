use serde_json::{Value, json};

use super::*;

const DRIVER: &str = "gpu.example.com";

fn settings() -> Settings {
    Settings {
        driver: DRIVER.to_owned(),
        device_class: "gpu.gpu.example.com".to_owned(),
        namespace: "kube-system".to_owned(),
    }
}

fn config(uid: &str, data: &Value) -> ConfigMap {
    let metadata = json!({"namespace": "team", "name": "params", "uid": uid});
    serde_json::from_value(json!({"metadata": metadata, "data": data})).unwrap()
}

fn template_of(config: &ConfigMap) -> ResourceClaimTemplate {
    template(config, &settings()).unwrap().0
}

fn class_of(config: &ConfigMap) -> DeviceClass {
    class(config, &settings()).unwrap().0
}

/// As the API server keeps it.
fn kept(mut metadata: ObjectMeta) -> ObjectMeta {
    metadata.uid = Some("kept".to_owned());
    metadata.resource_version = Some("7".to_owned());
    metadata
}

/// What is done, in a word.
fn word<T>(step: &Step<T>) -> &'static str {
    match step {
        Step::Nothing => "nothing",
        Step::Create(_) => "create",
        Step::Replace { .. } => "replace",
        Step::Foreign => "foreign",
    }
}

#[test]
fn a_template_asks_for_what_its_config_map_says_and_belongs_to_it() {
    let data =
        json!({"gpu-count": "2", "gpu-memory": "16Gi", "cuda-version": "12.2", "device-class": "large"});
    let written = serde_json::to_value(template_of(&config("1", &data))).unwrap();
    let exactly = json!({
        "deviceClassName": "large",
        "allocationMode": "ExactCount",
        "count": 2,
        "selectors": [
            {"cel": {"expression": "device.capacity['gpu.example.com'].memory.compareTo(quantity('16Gi')) >= 0"}},
            {"cel": {"expression":
                "device.attributes['gpu.example.com'].cudaDriverVersion.compareTo(semver('12.2.0')) >= 0"}},
        ],
    });
    assert_eq!(
        written["spec"],
        json!({"spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}})
    );
    let metadata = &written["metadata"];
    assert_eq!((&metadata["namespace"], &metadata["name"]), (&json!("team"), &json!("params")));
    assert_eq!(metadata["labels"], json!({"gpu.example.com/translated": "true"}));
    let owner =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "params", "uid": "1", "controller": true});
    assert_eq!(metadata["ownerReferences"], json!([owner]));
    let plain = template_of(&config("1", &json!({})));
    let plain = serde_json::to_value(plain).unwrap();
    let exactly =
        json!({"deviceClassName": "gpu.gpu.example.com", "allocationMode": "ExactCount", "count": 1});
    assert_eq!(plain["spec"]["spec"]["devices"]["requests"][0]["exactly"], exactly);
}

#[test]
fn a_class_selects_gpus_of_the_driver_and_catches_no_pods() {
    let written = serde_json::to_value(class_of(&config("1", &json!({"gpu-memory": "40Gi"})))).unwrap();
    let selectors = json!([
        // The admission policy of the chart knows this one by its letters.
        {"cel": {"expression": "device.driver == 'gpu.example.com' && device.attributes['gpu.example.com'].type == 'gpu'"}},
        {"cel": {"expression": "device.capacity['gpu.example.com'].memory.compareTo(quantity('40Gi')) >= 0"}},
    ]);
    assert_eq!(written["spec"], json!({"selectors": selectors}));
    assert_eq!(written["metadata"].get("namespace"), None);
    assert_eq!(written["metadata"].get("ownerReferences"), None);
    assert_eq!(written["metadata"]["labels"], json!({"gpu.example.com/translated": "true"}));
}

/// A template, changed from what was made of a ConfigMap.
type Change = fn(&mut ResourceClaimTemplate);

#[test]
fn a_template_is_replaced_when_its_config_map_changes_and_never_when_it_is_somebody_elses() {
    let of = |uid: &str, count: &str| config(uid, &json!({"gpu-count": count}));
    let labels: Change = |there| there.metadata.labels = None;
    let annotations: Change = |there| there.metadata.annotations = None;
    let owners: Change = |there| there.metadata.owner_references = None;
    let other_owner: Change = |there| {
        for owner in there.metadata.owner_references.iter_mut().flatten() {
            owner.kind = "Deployment".to_owned();
        }
    };
    let another: Change = |there| {
        let made_of = there.metadata.annotations.as_mut().unwrap();
        made_of.insert(from(DRIVER), "team/another".to_owned());
    };
    let more: Change = |there| {
        let labels = there.metadata.labels.as_mut().unwrap();
        labels.insert("team".to_owned(), "a".to_owned());
    };
    let same: Change = |_| {};
    for (what, there, change, wanted) in [
        ("the same", of("1", "2"), same, "nothing"),
        ("the same, with a label more", of("1", "2"), more, "nothing"),
        ("another count", of("1", "3"), same, "replace"),
        ("of a ConfigMap that was made again", of("0", "2"), same, "replace"),
        ("without our label", of("1", "2"), labels, "foreign"),
        ("without our annotations", of("1", "3"), annotations, "foreign"),
        ("of another ConfigMap", of("1", "3"), another, "foreign"),
        ("owned by nobody", of("1", "3"), owners, "foreign"),
        ("owned by something else", of("1", "3"), other_owner, "foreign"),
    ] {
        let mut there = template_of(&there);
        there.metadata = kept(there.metadata);
        change(&mut there);
        let config = of("1", "2");
        let step = template_step(template_of(&config), Some(&there), &Key::of(&config), DRIVER);
        assert_eq!(word(&step), wanted, "{what}");
        if let Step::Replace { old, new } = step {
            assert_eq!(old.uid.as_deref(), Some("kept"), "{what}: this one and no other gives way");
            assert_eq!(new, template_of(&config), "{what}");
        }
    }
    let config = of("1", "2");
    let step = template_step(template_of(&config), None, &Key::of(&config), DRIVER);
    assert_eq!(step, Step::Create(template_of(&config)));
}

#[test]
fn a_class_is_changed_where_it_is_ours_and_only_in_the_version_that_was_read() {
    let of = |memory: &str| config("1", &json!({"gpu-memory": memory}));
    let step = |mut there: DeviceClass, is_ours: bool| {
        there.metadata = kept(there.metadata);
        if !is_ours {
            there.metadata.labels = None;
        }
        let wanted = of("40Gi");
        class_step(class_of(&wanted), Some(&there), &Key::of(&wanted), DRIVER)
    };
    assert_eq!(word(&step(class_of(&of("40Gi")), true)), "nothing");
    assert_eq!(word(&step(class_of(&of("40Gi")), false)), "foreign");
    assert_eq!(word(&step(class_of(&of("80G")), false)), "foreign");
    let Step::Replace { new, .. } = step(class_of(&of("80G")), true) else { panic!("it should change") };
    assert_eq!(new.metadata.resource_version.as_deref(), Some("7"));
    assert_eq!(new.spec, class_of(&of("40Gi")).spec);
    let wanted = of("40Gi");
    let made = class_step(class_of(&wanted), None, &Key::of(&wanted), DRIVER);
    assert_eq!(made, Step::Create(class_of(&wanted)));
}

#[test]
fn values_that_make_no_sense_make_nothing() {
    let told = |errors: Vec<ParameterError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let wrong = config("1", &json!({"gpu-count": "zero", "gpu-memmory": "16Gi"}));
    let errors = told(template(&wrong, &settings()).unwrap_err());
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("ConfigMap team/params, data.gpu-count: \"zero\""), "{errors:?}");
    assert!(errors[1].contains("did you mean gpu-memory?"), "{errors:?}");
    let errors = told(class(&config("1", &json!({"gpu-count": "2"})), &settings()).unwrap_err());
    assert!(matches!(&errors[..], [error] if error.contains("not how many")), "{errors:?}");
}
