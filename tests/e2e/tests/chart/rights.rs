//! Each right of the controller, of the webhook and of the check before an uninstall is taken away in turn, and something is missed:
//! docs/privileges.md has the table. The programs run as processes, with the tokens of the chart's ServiceAccounts.

use std::path::PathBuf;
use std::process::Stdio;

use e2e::api::{GUARD, Space, delete, make, make_global, uid, unique, wait};
use e2e::cluster::Cluster;
use e2e::gpu::{kubeconfig_of, program};
use futures_util::StreamExt;
use futures_util::stream::iter;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{Duration, sleep, timeout};

use crate::release::{apply, run};
use crate::scene::take_right;

/// How often what cannot be followed is looked at.
const PACE: Duration = Duration::from_millis(100);
/// How many programs run at a time.
const AT_ONCE: usize = 4;
/// The plugin's DaemonSet.
const SET: &str = "dra-driver-kubelet-plugin";

/// The controller's Deployment.
const CONTROLLER: &str = "dra-driver-controller";

/// Verb, resource, and what is said without the right.
type Right = (&'static str, &'static str, &'static str);

const UNINSTALL: [Right; 11] = [
    ("list", "resourceclaims", "cannot list the ResourceClaims"),
    ("list", "resourceslices", "cannot list the ResourceSlices"),
    ("delete", "resourceslices", "cannot delete the ResourceSlice"),
    ("delete", "pods", "cannot delete pod"),
    ("delete", "deviceclasses", "cannot delete the DeviceClass"),
    ("list", "deviceclasses", "cannot list the DeviceClasses"),
    ("get", "deployments", "cannot get the Deployment"),
    ("delete", "deployments", "cannot delete the Deployment"),
    ("get", "daemonsets", "cannot get the DaemonSet"),
    ("delete", "daemonsets", "cannot delete the DaemonSet"),
    ("list", "pods", "cannot list the plugin's pods"),
];

const WEBHOOK: [Right; 4] = [
    ("get", "secrets", "cannot get the Secret"),
    ("update", "secrets", "cannot update the Secret"),
    ("get", "validatingwebhookconfigurations", "cannot get the ValidatingWebhookConfiguration"),
    ("patch", "validatingwebhookconfigurations", "cannot patch the ValidatingWebhookConfiguration"),
];

const RUN: [Right; 15] = [
    ("list", "resourceclaims", "cannot list resourceclaims"),
    ("watch", "resourceclaims", "cannot watch resourceclaims"),
    ("list", "resourceslices", "cannot list resourceslices"),
    ("watch", "resourceslices", "cannot watch resourceslices"),
    ("list", "deviceclasses", "cannot list deviceclasses"),
    ("watch", "deviceclasses", "cannot watch deviceclasses"),
    ("list", "pods", "cannot list pods"),
    ("watch", "pods", "cannot watch pods"),
    ("list", "nodes", "cannot list nodes"),
    ("watch", "nodes", "cannot watch nodes"),
    ("get", "leases", "cannot hold the Lease"),
    ("create", "leases", "cannot hold the Lease"),
    ("update", "leases", "cannot hold the Lease"),
    ("create", "events", "cannot write an Event"),
    ("patch", "events", "cannot write an Event"),
];

/// That Events are patched is seen after a minute alone, when the same is told again: the plugin's test waits for that.
const TRANSLATE: [Right; 10] = [
    ("list", "configmaps", r#"cannot list resource \"configmaps\""#),
    ("watch", "configmaps", r#"cannot watch resource \"configmaps\""#),
    ("get", "resourceclaimtemplates", "cannot get ResourceClaimTemplate"),
    ("create", "resourceclaimtemplates", "cannot create ResourceClaimTemplate"),
    ("delete", "resourceclaimtemplates", "cannot delete ResourceClaimTemplate"),
    ("get", "deviceclasses", "cannot get DeviceClass"),
    ("create", "deviceclasses", "cannot create DeviceClass"),
    ("update", "deviceclasses", "cannot update DeviceClass"),
    ("delete", "deviceclasses", "cannot delete DeviceClass"),
    ("create", "events", "Event not sent"),
];

/// The webhook says so when it has done all that it needs rights for.
const READY: &str = "told the API server what the certificate is checked by";

#[tokio::test]
async fn each_right_of_the_check_before_an_uninstall_is_missed_when_it_is_taken_away() {
    each("uninstall", &UNINSTALL, async |part| {
        part.hold().await;
        let output = part.command().output();
        let output = timeout(GUARD, output).await.expect("it ends").expect("start dra-controller");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            assert!(part.is_empty().await, "it says that all is gone:\n{said}");
        }
        (output.status.success(), said)
    })
    .await;
}

#[tokio::test]
async fn each_right_of_the_webhook_is_missed_when_it_is_taken_away() {
    each("webhook", &WEBHOOK, async |part| {
        let mut child = part.command().stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let reading = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                said += &format!("{line}\n");
                if line.contains(READY) {
                    return true;
                }
                if WEBHOOK.iter().any(|(_, _, text)| line.contains(text)) {
                    return false;
                }
            }
            panic!("the webhook has ended:\n{said}");
        };
        let ready = timeout(GUARD, reading).await.expect("the webhook says how it goes");
        (ready, said)
    })
    .await;
}

#[tokio::test]
async fn each_right_of_the_controller_is_missed_when_it_is_taken_away() {
    each("controller", &RUN, async |part| {
        part.wait_in_vain().await;
        let mut child = part.command().stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let reading = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                // What waits in other tests is none of this one's.
                if line.contains("\"about\":") && !line.contains(&part.space.name) {
                    continue;
                }
                said += &format!("{line}\n");
                if RUN.iter().any(|(_, _, text)| line.contains(text)) {
                    return false;
                }
            }
            panic!("the controller has ended:\n{said}");
        };
        // It says why the claim waits when it has done all that it needs rights for.
        let explained = async {
            let events = part.space.api::<Event>();
            let own = ListParams::default().fields("reason=CannotAllocate,involvedObject.name=waits");
            while part.lacks || events.list(&own).await.unwrap().items.len() < 2 {
                sleep(PACE).await;
            }
        };
        let done = async {
            tokio::select! {
                done = reading => done,
                () = explained => true,
            }
        };
        let done = timeout(GUARD, done).await.expect("the controller says how it goes");
        (done, said)
    })
    .await;
}

#[tokio::test]
async fn each_right_of_the_translation_is_missed_when_it_is_taken_away() {
    each("controller", &TRANSLATE, async |part| {
        let class = unique("translated");
        part.parameters("asks", "claim-parameters", json!({"gpu-count": "1"})).await;
        part.parameters(&class, "class-parameters", json!({"gpu-memory": "40Gi"})).await;
        let mut child = part.command().stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let reading = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                said += &format!("{line}\n");
                if TRANSLATE.iter().any(|(_, _, text)| line.contains(text)) {
                    return false;
                }
            }
            panic!("the controller has ended:\n{said}");
        };
        let done = async {
            tokio::select! {
                done = reading => done,
                () = part.translated_and_changed(&class) => true,
            }
        };
        let done = timeout(GUARD, done).await.expect("the controller says how it goes");
        drop(child);
        delete(&Api::<DeviceClass>::all(part.space.client.clone()), &class).await;
        (done, said)
    })
    .await;
}

/// Runs a part once with all its rights, and once without each of them; `play` says whether it could do its work, and
/// what it said.
async fn each(component: &str, rights: &[Right], play: impl AsyncFn(&Part) -> (bool, String)) {
    let all = rights.iter().map(Some).chain([None]);
    let failed: Vec<String> = iter(all)
        .map(async |right| {
            let part = Part::new(component, right).await;
            let (done, said) = play(&part).await;
            part.remove().await;
            let right_is_missed = right.is_some_and(|(_, _, text)| said.contains(text));
            let wrong = done != right.is_none() || right_is_missed != right.is_some();
            wrong.then(|| format!("without {right:?}: done: {done}; it said:\n{said}"))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |failed| failed)
        .collect()
        .await;
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// A part of the controller with the chart's rights, or with one less.
struct Part {
    space: Space,
    /// Whether it has a right less.
    lacks: bool,
    driver: String,
    /// What was applied.
    objects: String,
    /// The program's arguments in the chart.
    arguments: Vec<String>,
    /// The program's variables there.
    variables: Vec<(String, String)>,
    kubeconfig: PathBuf,
    _folder: TempDir,
}

impl Part {
    async fn new(component: &str, without: Option<&Right>) -> Self {
        let space = Space::create(Cluster::current().client().await, "rights", json!({})).await;
        let driver = format!("{}.example.com", unique("rights"));
        let values = [
            format!("driver.name={driver}"),
            "deviceClasses.alias.create=false".to_owned(),
            "uninstall.force=true".to_owned(),
            "controller.explainAfter=100ms".to_owned(),
        ];
        let mut arguments = vec!["--namespace", &space.name];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        let mut objects = chart::helm::objects(&chart::helm::render(&arguments).unwrap()).unwrap();
        if let Some((verb, resource, _)) = without {
            take_right(&mut objects, resource, verb);
        }
        // The controller makes the Lease itself where it is not there.
        let of_part = |object: &&Value| {
            object["metadata"]["labels"]["app.kubernetes.io/component"] == component
                && object["kind"] != "Lease"
                || object["kind"] == "DeviceClass"
        };
        let (programs, others): (Vec<_>, Vec<_>) = objects
            .iter()
            .filter(of_part)
            .partition(|object| ["Job", "Deployment"].contains(&object["kind"].as_str().unwrap()));
        let pod = &programs[0]["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let texts = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let program = texts(&container["command"]).remove(1);
        let arguments = texts(&container["args"]);
        let variables = container["env"].as_array().into_iter().flatten().map(|variable| {
            // Others than those with a value are about the pod.
            let value = variable["value"].as_str().unwrap_or("a-pod");
            (variable["name"].as_str().unwrap().to_owned(), anywhere(value))
        });
        let variables = variables.collect();
        let objects: String = others.iter().map(|object| format!("---\n{object}\n")).collect();
        apply(&space.name, &objects).await;
        let folder = TempDir::new().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let account = pod["serviceAccountName"].as_str().unwrap();
        let config = kubeconfig_of(&space.client, &space.name, account).await;
        fs_err::write(&kubeconfig, config.to_string()).unwrap();
        let arguments = arguments.iter().map(|argument| anywhere(argument));
        let arguments = [program].into_iter().chain(arguments).collect();
        let lacks = without.is_some();
        Self { space, lacks, driver, objects, arguments, variables, kubeconfig, _folder: folder }
    }

    /// The program with its arguments.
    fn command(&self) -> Command {
        let mut command = Command::new(program().with_file_name("dra-controller"));
        command.args(&self.arguments).arg("--kubeconfig").arg(&self.kubeconfig).stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Makes a pod and its claim, which no node can have: the driver has no devices.
    async fn wait_in_vain(&self) {
        let request = json!({"name": "gpu", "exactly": {"deviceClassName": format!("gpu.{}", self.driver)}});
        let claim = json!({"metadata": {"name": "waits"}, "spec": {"devices": {"requests": [request]}}});
        make(&self.space.api::<ResourceClaim>(), claim).await;
        let spec = json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "waits"}]});
        self.space.pod("waits", "", spec).await;
    }

    /// Makes a ConfigMap that is to be translated.
    async fn parameters(&self, name: &str, label: &str, data: Value) {
        let labels = json!({format!("{}/{label}", self.driver): "true"});
        let config = json!({"metadata": {"name": name, "labels": labels}, "data": data});
        make(&self.space.api::<ConfigMap>(), config).await;
    }

    /// Waits until the parameters are a template and a class, and changes them; takes those of the class away, and waits
    /// until all of that was followed and told. Never ends without all rights.
    async fn translated_and_changed(&self, class: &str) {
        let templates = self.space.api::<ResourceClaimTemplate>();
        let classes: Api<DeviceClass> = Api::all(self.space.client.clone());
        let configs = self.space.api::<ConfigMap>();
        let says = |spec: Option<Value>, text: &str| spec.is_some_and(|spec| spec.to_string().contains(text));
        let template = |text: &'static str| {
            move |one: Option<&ResourceClaimTemplate>| says(one.map(|one| json!(one.spec)), text)
        };
        let of_class =
            |text: &'static str| move |one: Option<&DeviceClass>| says(one.map(|one| json!(one.spec)), text);
        wait(&templates, "asks", "ask for one GPU", template(r#""count":1"#)).await;
        wait(&classes, class, "ask for 40Gi", of_class("40Gi")).await;
        for (name, data) in [("asks", json!({"gpu-count": "2"})), (class, json!({"gpu-memory": "80Gi"}))] {
            let change = Patch::Merge(json!({"data": data}));
            configs.patch(name, &PatchParams::default(), &change).await.unwrap();
        }
        wait(&templates, "asks", "ask for two GPUs", template(r#""count":2"#)).await;
        wait(&classes, class, "ask for 80Gi", of_class("80Gi")).await;
        delete(&configs, class).await;
        wait(&classes, class, "be gone", |one: Option<&DeviceClass>| one.is_none()).await;
        let told = ListParams::default().fields("reason=ParametersTranslated,regarding.name=asks");
        let events = self.space.api::<k8s_openapi::api::events::v1::Event>();
        while self.lacks || events.list(&told).await.unwrap().items.is_empty() {
            sleep(PACE).await;
        }
    }

    /// Makes what an uninstall has to take away: a claim that a pod holds, the controller and a class that it has
    /// translated, the plugin, a slice.
    async fn hold(&self) {
        // No scheduler looks after it, so nobody but the uninstall changes the claim.
        let nowhere = json!({
            "schedulerName": "none",
            "containers": [{"name": "main", "image": e2e::api::IMAGE}],
        });
        let mut holder = nowhere.clone();
        holder["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "held"}]);
        let pod = self.space.pod("holder", "", holder).await;
        let claims = self.space.api::<ResourceClaim>();
        let devices = json!({"requests": [{"name": "gpu", "exactly": {"deviceClassName": format!("gpu.{}", self.driver)}}]});
        let metadata = json!({"name": "held", "finalizers": ["resource.kubernetes.io/delete-protection"]});
        make(&claims, json!({"metadata": metadata, "spec": {"devices": devices}})).await;
        let result =
            json!({"request": "gpu", "driver": self.driver, "pool": "nowhere/gpu", "device": "gpu-0"});
        let status = json!({"status": {
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"resource": "pods", "name": "holder", "uid": uid(&pod)}],
        }});
        claims.patch_status("held", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        let program = |name: &str| {
            let labels = json!({"app": name});
            json!({
                "metadata": {"name": name},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": nowhere},
                },
            })
        };
        make(&self.space.api::<DaemonSet>(), program(SET)).await;
        let mut controller = program(CONTROLLER);
        // Those of a Deployment may not be of a kind that ends.
        controller["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
        make(&self.space.api::<Deployment>(), controller).await;
        let labels = json!({format!("{}/translated", self.driver): "true"});
        let class = json!({"metadata": {"name": self.translated(), "labels": labels}, "spec": {}});
        make_global::<DeviceClass>(&self.space.client, class).await;
        let slice = json!({
            "metadata": {"name": unique("rights")},
            "spec": {
                "driver": self.driver, "nodeName": "nowhere",
                "pool": {"name": "nowhere/gpu", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "gpu-0"}],
            },
        });
        make_global::<ResourceSlice>(&self.space.client, slice).await;
    }

    /// Whether an uninstall has taken all of it away.
    async fn is_empty(&self) -> bool {
        let set = self.space.api::<DaemonSet>().get_opt(SET).await.unwrap();
        let pod = self.space.api::<Pod>().get_opt("holder").await.unwrap();
        let classes: Api<DeviceClass> = Api::all(self.space.client.clone());
        let class = classes.get_opt(&format!("gpu.{}", self.driver)).await.unwrap();
        let translated = classes.get_opt(&self.translated()).await.unwrap();
        let controller = self.space.api::<Deployment>().get_opt(CONTROLLER).await.unwrap();
        set.is_none()
            && controller.is_none()
            && pod.is_none()
            && class.is_none()
            && translated.is_none()
            && self.slices().list(&self.own()).await.unwrap().items.is_empty()
    }

    /// The name of a class that the controller has translated.
    fn translated(&self) -> String {
        format!("translated.{}", self.driver)
    }

    fn slices(&self) -> Api<ResourceSlice> {
        Api::all(self.space.client.clone())
    }

    fn own(&self) -> ListParams {
        ListParams::default().fields(&format!("spec.driver={}", self.driver))
    }

    async fn remove(self) {
        let gone = ["delete", "--ignore-not-found", "--wait=false", "--namespace", &self.space.name];
        run("kubectl", &[&gone[..], &["--filename", "-"]].concat(), &self.objects).await.unwrap();
        self.slices().delete_collection(&DeleteParams::default(), &self.own()).await.unwrap();
        let classes: Api<DeviceClass> = Api::all(self.space.client.clone());
        delete(&classes, &self.translated()).await;
        self.space.remove().await;
    }
}

/// An argument with any free port in the place of a fixed one: beside the tests of this machine none is free for certain.
fn anywhere(argument: &str) -> String {
    match argument.split_once("0.0.0.0:") {
        Some((flag, _)) => format!("{flag}127.0.0.1:0"),
        None => argument.to_owned(),
    }
}
