//! Each right of the webhook and of the check before an uninstall is taken away in turn, and something is missed:
//! docs/privileges.md has the table. The programs run as processes, with the tokens of the chart's ServiceAccounts.

use std::path::PathBuf;
use std::process::Stdio;

use e2e::api::{GUARD, Space, delete, make, make_global, uid, unique};
use e2e::cluster::Cluster;
use e2e::gpu::{kubeconfig_of, program};
use futures_util::StreamExt;
use futures_util::stream::iter;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::release::{apply, run};
use crate::scene::take_right;

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
    driver: String,
    /// What was applied.
    objects: String,
    /// The program's arguments in the chart.
    arguments: Vec<String>,
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
        ];
        let mut arguments = vec!["--namespace", &space.name];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        let mut objects = chart::helm::objects(&chart::helm::render(&arguments).unwrap()).unwrap();
        if let Some((verb, resource, _)) = without {
            take_right(&mut objects, resource, verb);
        }
        let of_part = |object: &&Value| {
            object["metadata"]["labels"]["app.kubernetes.io/component"] == component
                || object["kind"] == "DeviceClass"
        };
        let (programs, others): (Vec<_>, Vec<_>) = objects
            .iter()
            .filter(of_part)
            .partition(|object| ["Job", "Deployment"].contains(&object["kind"].as_str().unwrap()));
        let pod = &programs[0]["spec"]["template"]["spec"];
        let arguments = pod["containers"][0]["args"].as_array().unwrap();
        let arguments = arguments.iter().map(|argument| argument.as_str().unwrap().to_owned());
        let objects: String = others.iter().map(|object| format!("---\n{object}\n")).collect();
        apply(&space.name, &objects).await;
        let folder = TempDir::new().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let account = pod["serviceAccountName"].as_str().unwrap();
        let config = kubeconfig_of(&space.client, &space.name, account).await;
        fs_err::write(&kubeconfig, config.to_string()).unwrap();
        // Beside the tests of this machine no port is free for certain.
        let anywhere = |argument: String| match argument.split_once("0.0.0.0:") {
            Some((flag, _)) => format!("{flag}127.0.0.1:0"),
            None => argument,
        };
        let arguments = [component.to_owned()].into_iter().chain(arguments.map(anywhere)).collect();
        Self { space, driver, objects, arguments, kubeconfig, _folder: folder }
    }

    /// The program with its arguments.
    fn command(&self) -> Command {
        let mut command = Command::new(program().with_file_name("dra-controller"));
        command.args(&self.arguments).arg("--kubeconfig").arg(&self.kubeconfig).stdin(Stdio::null());
        command
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
