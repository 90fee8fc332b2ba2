//! The guide's manifests run after `kubectl-dra convert`, and labelled ConfigMaps become templates and classes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dra_controller::translate::live::{self, Settings};
use dra_runtime::events::{self, Events};
use dra_runtime::lease::{self, LeaseSettings};
use e2e::api::{GUARD, Space, delete, phase, unique, wait};
use e2e::gpu::{Gpus, IMAGE, kubelet, program};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaimTemplate};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const GUIDE: &str = include_str!("../../../controller/tests/data/guide-manifests.yaml");

/// What `kubectl-dra convert` prints: on standard output, and on standard error.
async fn convert(manifests: &str) -> (String, String) {
    let mut child = Command::new(program().with_file_name("kubectl-dra"))
        .args(["convert", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start kubectl-dra");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(manifests.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn the_manifests_of_the_guide_run_on_one_gpu_when_they_are_converted() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::new("converted").await;
    let (manifests, told) = convert(GUIDE).await;
    for part in [
        "spec.template.spec.tolerations[0]",
        "CUDA_VISIBLE_DEVICES=0",
        "spec.suitableNodes",
        "no devices for CPUs",
    ] {
        assert!(told.contains(part), "{part} is not told:\n{told}");
    }
    let training = "- python\n        - train.py\n";
    assert_eq!(manifests.matches(training).count(), 1, "{manifests}");
    let cpus = unique("cpu-compute-class");
    let manifests = manifests
        .replace(training, "- sh\n        - -c\n        - nvidia-smi -L && echo end\n")
        .replace("cpu-compute-class", &cpus);
    gpus.apply(&manifests).await;
    wait(&gpus.space.api::<Job>(), "ml-training-job", "complete", |job: Option<&Job>| {
        job.and_then(|job| job.status.as_ref()).and_then(|status| status.succeeded) == Some(1)
    })
    .await;
    let pods = gpus.space.api::<Pod>().list(&ListParams::default().labels("app=ml-training")).await.unwrap();
    let [pod] = &pods.items[..] else { panic!("the job should need one pod: {pods:#?}") };
    let seen = gpus.sees_one(pod.metadata.name.as_deref().unwrap(), "training").await;
    let state = gpus.fake.state().unwrap();
    assert!(state.gpus.iter().any(|gpu| gpu.uuid == seen), "{seen}");
    let classes: Api<DeviceClass> = Api::all(gpus.space.client.clone());
    classes.delete(&cpus, &DeleteParams::default()).await.unwrap();
    gpus.finish().await;
}

/// A translator that runs.
struct Translator {
    writes: Arc<AtomicUsize>,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Translator {
    fn start(space: &Space, driver: &str, class: &str) -> Self {
        let (cancel, client) = (CancellationToken::new(), space.client.clone());
        let settings = LeaseSettings {
            lease: format!("{}/translator", space.name).parse().unwrap(),
            identity: unique("replica"),
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(5),
        };
        let (leadership, leasing) = lease::start(client.clone(), settings, cancel.clone());
        let (events, queue) = Events::queue();
        let telling =
            events::run(client.clone(), queue, driver.to_owned(), "test".to_owned(), cancel.clone());
        let settings = Settings {
            driver: driver.to_owned(),
            device_class: class.to_owned(),
            namespace: space.name.clone(),
        };
        let writes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&writes);
        let wrote: live::Wrote = Arc::new(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let running = live::run(client, settings, events, leadership, wrote, cancel.clone());
        Self { writes, cancel, tasks: vec![leasing, tokio::spawn(telling), tokio::spawn(running)] }
    }

    async fn stop(self) -> usize {
        self.cancel.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.writes.load(Ordering::SeqCst)
    }
}

async fn config(space: &Space, driver: &str, name: &str, label: &str, data: Value) {
    let config: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {format!("{driver}/{label}"): "true"}},
        "data": data,
    }))
    .unwrap();
    space.api::<ConfigMap>().create(&PostParams::default(), &config).await.unwrap();
}

async fn change(space: &Space, name: &str, data: Value) {
    let patch = Patch::Merge(json!({"data": data}));
    space.api::<ConfigMap>().patch(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Waits for an Event about a ConfigMap.
async fn told(space: &Space, about: &str, reason: &str, part: &str) {
    let events = space.api::<Event>();
    let end = tokio::time::Instant::now() + GUARD;
    loop {
        assert!(tokio::time::Instant::now() < end, "no Event {reason} about {about} says {part}");
        let all = events.list(&ListParams::default()).await.unwrap().items;
        let found = all.iter().any(|event| {
            let name = event.regarding.as_ref().and_then(|about| about.name.as_deref());
            name == Some(about)
                && event.reason.as_deref() == Some(reason)
                && event.note.as_deref().is_some_and(|note| note.contains(part))
        });
        if found {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn count_of(template: &ResourceClaimTemplate) -> Option<i64> {
    let devices = template.spec.as_ref()?.spec.as_ref()?.devices.as_ref()?;
    devices.requests.as_ref()?.first()?.exactly.as_ref()?.count
}

#[tokio::test]
async fn config_maps_become_templates_and_classes_and_take_them_along() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::new("live").await;
    let (space, driver) = (&gpus.space, gpus.driver.as_str());
    let templates = space.api::<ResourceClaimTemplate>();
    let classes: Api<DeviceClass> = Api::all(space.client.clone());
    let translator = Translator::start(space, driver, &gpus.class);

    config(space, driver, "params", "claim-parameters", json!({"gpu-count": "2", "gpu-memory": "16Gi"}))
        .await;
    wait(&templates, "params", "be there", |template: Option<&ResourceClaimTemplate>| {
        template.and_then(count_of) == Some(2)
    })
    .await;
    told(space, "params", "ParametersTranslated", "ResourceClaimTemplate params was made of it").await;

    // It works.
    let pod = json!({
        "metadata": {"name": "uses"},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "params"}],
            "containers": [{
                "name": "main", "image": IMAGE, "command": ["sh", "-c", "nvidia-smi -L && echo end"],
                "resources": {"claims": [{"name": "gpu"}]},
            }],
        },
    });
    space.api::<Pod>().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    wait(&space.api::<Pod>(), "uses", "end", |pod: Option<&Pod>| phase(pod) == Some("Succeeded")).await;
    assert_eq!(gpus.sees("uses", "main").await.len(), 2);
    delete(&space.api::<Pod>(), "uses").await;

    // It follows its ConfigMap, and stays as it is while that makes no sense.
    change(space, "params", json!({"gpu-count": "3"})).await;
    wait(&templates, "params", "ask for three", |template: Option<&ResourceClaimTemplate>| {
        template.and_then(count_of) == Some(3)
    })
    .await;
    change(space, "params", json!({"gpu-count": "many"})).await;
    told(space, "params", "ParametersInvalid", "data.gpu-count: \"many\" is no number of GPUs").await;
    assert_eq!(count_of(&templates.get("params").await.unwrap()), Some(3));
    change(space, "params", json!({"gpu-count": "3"})).await;

    // A template of somebody else is not touched.
    let foreign = json!({
        "metadata": {"name": "foreign"},
        "spec": {"spec": {"devices": {"requests": [gpus.request("gpu")]}}},
    });
    let foreign: ResourceClaimTemplate = serde_json::from_value(foreign).unwrap();
    let foreign = templates.create(&PostParams::default(), &foreign).await.unwrap();
    config(space, driver, "foreign", "claim-parameters", json!({"gpu-count": "4"})).await;
    told(space, "foreign", "ParametersInvalid", "was not made of this ConfigMap").await;
    assert_eq!(templates.get("foreign").await.unwrap(), foreign);

    // Classes: here, and in no other namespace.
    let class = unique("large");
    config(space, driver, &class, "class-parameters", json!({"gpu-memory": "40Gi"})).await;
    wait(&classes, &class, "be there", |class: Option<&DeviceClass>| class.is_some()).await;
    let other = Space::create(space.client.clone(), "tenant", json!({})).await;
    let tenants = unique("tenants");
    config(&other, driver, &tenants, "class-parameters", json!({})).await;
    told(&other, &tenants, "ParametersInvalid", "count only in the namespace of the driver's controller")
        .await;
    assert!(classes.get_opt(&tenants).await.unwrap().is_none());

    // A restart writes nothing; what went in between goes then.
    let before = templates.get("params").await.unwrap();
    // A template, its successor in its place, and a class.
    assert_eq!(translator.stop().await, 4);
    let translator = Translator::start(space, driver, &gpus.class);
    // It is done with the others when it has taken up this one.
    config(space, driver, "last", "claim-parameters", json!({})).await;
    wait(&templates, "last", "be there", |template: Option<&ResourceClaimTemplate>| template.is_some()).await;
    // It counts what it has written before it tells of it.
    told(space, "last", "ParametersTranslated", "was made of it").await;
    assert_eq!(translator.stop().await, 1);
    assert_eq!(templates.get("params").await.unwrap(), before);
    delete(&space.api::<ConfigMap>(), &class).await;
    let translator = Translator::start(space, driver, &gpus.class);
    wait(&classes, &class, "be gone", |class: Option<&DeviceClass>| class.is_none()).await;
    delete(&space.api::<ConfigMap>(), "params").await;
    wait(&templates, "params", "be gone", |template: Option<&ResourceClaimTemplate>| template.is_none())
        .await;
    let labels: BTreeMap<String, Option<String>> = [(format!("{driver}/claim-parameters"), None)].into();
    let unlabelled = Patch::Merge(json!({"metadata": {"labels": labels}}));
    space.api::<ConfigMap>().patch("last", &PatchParams::default(), &unlabelled).await.unwrap();
    wait(&templates, "last", "be gone", |template: Option<&ResourceClaimTemplate>| template.is_none()).await;
    translator.stop().await;
    gpus.finish().await;
}
