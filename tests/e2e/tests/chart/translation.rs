//! The controller writes classes and templates that it has translated alone, whatever its token is used for.

use e2e::api::{GUARD, Space, delete, make, make_global, unique};
use e2e::cluster::Cluster;
use e2e::gpu::kubeconfig_of;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaimTemplate};
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::release::{apply, run};

/// How often the policy is tried before it counts.
const PACE: Duration = Duration::from_millis(100);

/// What is done with the token.
#[derive(Debug)]
enum Act {
    MakeClass(Value),
    ChangeClass(String, Value),
    DeleteClass(String),
    MakeTemplate(Value),
    DeleteTemplate(&'static str),
}

#[tokio::test]
async fn the_controller_writes_what_it_has_translated_alone() {
    let space = Space::create(Cluster::current().client().await, "translation", json!({})).await;
    let driver = format!("{}.example.com", unique("translation"));
    let name = format!("driver.name={driver}");
    let arguments = ["--namespace", &space.name, "--set", &name, "--set", "deviceClasses.alias.create=false"];
    let objects = chart::helm::objects(&chart::helm::render(&arguments).unwrap()).unwrap();
    let of_it = objects.iter().filter(|object| {
        object["metadata"]["labels"]["app.kubernetes.io/component"] == "controller"
            && object["kind"] != "Deployment"
    });
    let objects: String = of_it.map(|object| format!("---\n{object}\n")).collect();
    apply(&space.name, &objects).await;
    let config = kubeconfig_of(&space.client, &space.name, "dra-driver-controller").await;
    let config: Kubeconfig = serde_json::from_value(config).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    let controller = Client::try_from(config).unwrap();

    let label = json!({format!("{driver}/translated"): "true"});
    let own = json!({"cel": {"expression": format!("device.driver == '{driver}'")}});
    let class = |labels: &Value, spec: Value| json!({"metadata": {"generateName": "translation-", "labels": labels}, "spec": spec});
    let good = class(&label, json!({"selectors": [own]}));
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gpus", "uid": "1"}]);
    let template = |labels: &Value, owners: &Value| {
        let metadata = json!({"generateName": "translation-", "labels": labels, "ownerReferences": owners});
        json!({"metadata": metadata, "spec": {"spec": {}}})
    };
    // One of the users', and one of its own.
    let (users, translated) = (unique("users"), unique("translated"));
    make_global::<DeviceClass>(&space.client, json!({"metadata": {"name": users}, "spec": {}})).await;
    let mut made = good.clone();
    made["metadata"] = json!({"name": translated, "labels": label});
    make_global::<DeviceClass>(&space.client, made).await;
    let foreign = json!({"metadata": {"name": "users"}, "spec": {"spec": {}}});
    make::<ResourceClaimTemplate>(&space.api(), foreign).await;
    until_it_counts(&controller, &class(&json!({}), json!({}))).await;

    let marked = "with its label";
    let both = json!([own, {"cel": {"expression": "true"}}]);
    let of_gpus = format!("device.driver == '{driver}' && device.attributes['{driver}'].type == 'gpu'");
    let of_gpus = json!({"cel": {"expression": of_gpus}});
    let open = json!([{"cel": {"expression": format!("device.driver == '{driver}' || true")}}]);
    for (what, act, denied) in [
        ("a class", Act::MakeClass(good.clone()), None),
        ("a class that is narrower", Act::MakeClass(class(&label, json!({"selectors": both}))), None),
        ("a class as the chart has it", Act::MakeClass(class(&label, json!({"selectors": [of_gpus]}))), None),
        (
            "a class without the label",
            Act::MakeClass(class(&json!({}), json!({"selectors": [own]}))),
            Some(marked),
        ),
        (
            "a class of devices of any driver",
            Act::MakeClass(class(&label, json!({}))),
            Some("for the driver"),
        ),
        (
            "a class whose selector only looks like it",
            Act::MakeClass(class(&label, json!({"selectors": open}))),
            Some("for the driver"),
        ),
        (
            "a class that catches pods without claims",
            Act::MakeClass(class(
                &label,
                json!({"selectors": [own], "extendedResourceName": "nvidia.com/gpu"}),
            )),
            Some("no DeviceClass with an extended resource"),
        ),
        ("its own class, changed", Act::ChangeClass(translated.clone(), label.clone()), None),
        ("its own class, given away", Act::ChangeClass(translated.clone(), json!({})), Some(marked)),
        ("a class of the users', taken", Act::ChangeClass(users.clone(), label.clone()), Some(marked)),
        ("its own class, deleted", Act::DeleteClass(translated.clone()), None),
        ("a class of the users', deleted", Act::DeleteClass(users.clone()), Some(marked)),
        ("a template", Act::MakeTemplate(template(&label, &owner)), None),
        ("a template without the label", Act::MakeTemplate(template(&json!({}), &owner)), Some(marked)),
        (
            "a template that nobody owns",
            Act::MakeTemplate(template(&label, &json!([]))),
            Some("that belong to a ConfigMap"),
        ),
        ("a template of the users', deleted", Act::DeleteTemplate("users"), Some(marked)),
    ] {
        match (attempt(&controller, &space.name, act).await, denied) {
            (Ok(()), None) => {}
            (Err(kube::Error::Api(status)), Some(reason)) => {
                assert_eq!(status.code, 403, "{what}: {status:?}");
                assert!(status.message.contains(reason), "{what}: {}", status.message);
            }
            (result, denied) => panic!("{what}: {result:?}, though it should end with {denied:?}"),
        }
    }

    let classes: Api<DeviceClass> = Api::all(space.client.clone());
    delete(&classes, &users).await;
    delete(&classes, &translated).await;
    let gone =
        ["delete", "--ignore-not-found", "--wait=false", "--namespace", &space.name, "--filename", "-"];
    run("kubectl", &gone, &objects).await.unwrap();
    space.remove().await;
}

/// The API server follows policies with a delay.
async fn until_it_counts(controller: &Client, wrong: &Value) {
    let end = Instant::now() + GUARD;
    while attempt(controller, "", Act::MakeClass(wrong.clone())).await.is_ok() {
        assert!(Instant::now() < end, "the policy has no effect");
        sleep(PACE).await;
    }
}

/// Does it, but for keeping the outcome.
async fn attempt(client: &Client, namespace: &str, act: Act) -> kube::Result<()> {
    let classes: Api<DeviceClass> = Api::all(client.clone());
    let templates: Api<ResourceClaimTemplate> = Api::namespaced(client.clone(), namespace);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let dry_delete = DeleteParams { dry_run: true, ..DeleteParams::default() };
    match act {
        Act::MakeClass(class) => {
            classes.create(&dry, &serde_json::from_value(class).unwrap()).await.map(drop)
        }
        Act::ChangeClass(name, labels) => {
            let mut class = classes.get(&name).await?;
            class.metadata.labels = serde_json::from_value(labels).unwrap();
            classes.replace(&name, &dry, &class).await.map(drop)
        }
        Act::DeleteClass(name) => classes.delete(&name, &dry_delete).await.map(drop),
        Act::MakeTemplate(template) => {
            templates.create(&dry, &serde_json::from_value(template).unwrap()).await.map(drop)
        }
        Act::DeleteTemplate(name) => templates.delete(name, &dry_delete).await.map(drop),
    }
}
