//! Several pods of the webhook, with no other rights than the chart gives them: they agree on one certificate, and renew
//! it while the API server asks them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use dra_controller::webhook::certificates::Certificates;
use dra_controller::webhook::keeper::{self, Settings};
use dra_controller::webhook::metrics::Metrics;
use dra_controller::webhook::shown::Shown;
use e2e::api::{GUARD, Space, make, make_global};
use e2e::cluster::Cluster;
use e2e::gpu::{kubeconfig_of, program};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Node, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::transport::{Action, Answer, Matching, Script, Verb};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The name of everything in the test's namespace.
const NAME: &str = "webhook";
/// How often it is looked whether something has come.
const PACE: Duration = Duration::from_millis(50);

/// The objects of a webhook, in a namespace of their own.
struct Stage {
    space: Space,
    driver: String,
    /// The name of what is in no namespace.
    global: String,
    folder: TempDir,
}

impl Stage {
    /// With a Service, an empty Secret, and a configuration for the claims of the namespace.
    async fn new(stem: &str) -> Self {
        let space = Space::create(Cluster::current().client().await, stem, json!({})).await;
        let (driver, global) = (format!("{}.example.com", space.name), format!("{NAME}.{}", space.name));
        let named = json!({"name": NAME});
        make::<Secret>(&space.api(), json!({"metadata": named, "type": "Opaque"})).await;
        let ports = json!([{"name": NAME, "port": 443}]);
        make::<Service>(&space.api(), json!({"metadata": named, "spec": {"ports": ports}})).await;
        let stage = Self { space, driver, global, folder: TempDir::new().expect("make a folder") };
        stage.configure().await;
        stage.give_rights().await;
        stage
    }

    fn webhook_name(&self) -> String {
        format!("claim-parameters.dra-driver.{}", self.driver)
    }

    async fn configure(&self) {
        let service =
            json!({"namespace": self.space.name, "name": NAME, "path": "/validate-claim-parameters"});
        let webhook = json!({
            "name": self.webhook_name(),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 5,
            "clientConfig": {"service": service},
            "rules": [{
                "apiGroups": ["resource.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["resourceclaims"],
            }],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.space.name}},
        });
        let configuration = json!({"metadata": {"name": self.global}, "webhooks": [webhook]});
        make_global::<ValidatingWebhookConfiguration>(&self.space.client, configuration).await;
    }

    /// A ServiceAccount, and the rights that the chart gives it.
    async fn give_rights(&self) {
        let (space, global) = (&self.space, &self.global);
        let group = "rbac.authorization.k8s.io";
        let account = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": space.name}]);
        let named = json!({"name": NAME});
        make::<ServiceAccount>(&space.api(), json!({"metadata": named})).await;
        let secrets = json!({
            "apiGroups": [""], "resources": ["secrets"], "resourceNames": [NAME], "verbs": ["get", "update"],
        });
        make::<Role>(&space.api(), json!({"metadata": named, "rules": [secrets]})).await;
        let role = json!({"apiGroup": group, "kind": "Role", "name": NAME});
        let binding = json!({"metadata": named, "roleRef": role, "subjects": account});
        make::<RoleBinding>(&space.api(), binding).await;
        let named = json!({"name": global});
        let configurations = json!({
            "apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingwebhookconfigurations"],
            "resourceNames": [global], "verbs": ["get", "patch"],
        });
        make_global::<ClusterRole>(&space.client, json!({"metadata": named, "rules": [configurations]}))
            .await;
        let role = json!({"apiGroup": group, "kind": "ClusterRole", "name": global});
        let binding = json!({"metadata": named, "roleRef": role, "subjects": account});
        make_global::<ClusterRoleBinding>(&space.client, binding).await;
    }

    fn log(&self, pod: usize) -> PathBuf {
        self.folder.path().join(format!("log-{pod}"))
    }

    /// Starts a pod, and lets the API server find it.
    async fn start(&self, pod: usize) -> Child {
        let space = &self.space;
        let config = self.folder.path().join("kubeconfig");
        let text = kubeconfig_of(&space.client, &space.name, NAME).await.to_string();
        fs_err::write(&config, text).expect("write the kubeconfig");
        let log = self.log(pod);
        let file = fs_err::File::create(&log).expect("make the log").into_parts().0;
        let of = format!("{}/{NAME}", space.name);
        let child = Command::new(program().with_file_name("dra-controller"))
            .args(["webhook", "--listen=0.0.0.0:0", "--admin-address=127.0.0.1:0", "--log-format=json"])
            .args(["--certificate-lifetime=12s", "--configuration", &self.global])
            .args(["--service", &of, "--secret", &of, "--driver-name", &self.driver])
            .arg("--kubeconfig")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .expect("start dra-controller");
        let port: u16 = until("the webhook tells its port", async || {
            let text = fs_err::read_to_string(&log).ok()?;
            let line: Value = serde_json::from_str(text.lines().next()?).ok()?;
            line["address"].as_str()?.rsplit_once(':')?.1.parse().ok()
        })
        .await;
        let node: Node = Api::all(space.client.clone()).get(&Cluster::current().node).await.unwrap();
        let addresses = node.status.unwrap().addresses.unwrap();
        let address = addresses.into_iter().find(|address| address.type_ == "InternalIP").unwrap().address;
        let slice = json!({
            "metadata": {
                "name": format!("{NAME}-{pod}"),
                "labels": {"kubernetes.io/service-name": NAME},
            },
            "addressType": "IPv4",
            "ports": [{"name": NAME, "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        });
        make::<EndpointSlice>(&space.api(), slice).await;
        child
    }

    /// How often a pod has begun to show a certificate.
    fn shown(&self, pod: usize) -> usize {
        let text = fs_err::read_to_string(self.log(pod)).expect("read the log");
        text.matches("the certificate that clients are shown is another one").count()
    }

    /// What the API server says to a claim with a mistake, which is not kept.
    async fn tried(&self) -> Result<(), String> {
        let parameters = json!({
            "apiVersion": "config.eks-hybrid-dra/v1alpha1",
            "kind": "GpuConfig",
            "sharing": {"strategy": "Mps"},
        });
        let claim = json!({"metadata": {"name": "tried"}, "spec": {"devices": {
            "requests": [{"name": "gpu", "exactly": {"deviceClassName": "any"}}],
            "config": [{"opaque": {"driver": self.driver, "parameters": parameters}}],
        }}});
        let claim: ResourceClaim = serde_json::from_value(claim).unwrap();
        let trial = PostParams { dry_run: true, ..PostParams::default() };
        match timeout(GUARD, self.space.api().create(&trial, &claim)).await.expect("it answers") {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(error) => panic!("the API server cannot be reached: {error}"),
        }
    }

    /// What it says when it has asked a pod.
    fn refusal(&self) -> String {
        format!(
            "admission webhook \"{}\" denied the request: spec.devices.config[0].opaque.parameters.sharing.strategy: \
             wanted 'TimeSlicing' or 'MPS', got \"Mps\"",
            self.webhook_name()
        )
    }

    async fn is_asked(&self) {
        let refusal = self.refusal();
        until("the webhook is asked", async || self.tried().await.err().filter(|said| *said == refusal))
            .await;
    }

    fn configurations(&self) -> Api<ValidatingWebhookConfiguration> {
        Api::all(self.space.client.clone())
    }

    /// What the API server checks the certificate by.
    async fn bundle(&self) -> Option<Vec<u8>> {
        let webhooks = self.configurations().get(&self.global).await.unwrap().webhooks.unwrap();
        webhooks[0].client_config.ca_bundle.as_ref().map(|bundle| bundle.0.clone())
    }

    async fn finish(self) {
        let (name, none) = (&self.global, DeleteParams::default());
        self.configurations().delete(name, &none).await.unwrap();
        let client = self.space.client.clone();
        Api::<ClusterRole>::all(client.clone()).delete(name, &none).await.unwrap();
        Api::<ClusterRoleBinding>::all(client).delete(name, &none).await.unwrap();
        self.space.remove().await;
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + GUARD;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {GUARD:?}: {what}");
        sleep(PACE).await;
    }
}

/// The API server lets nothing pass that it could not ask about: each try is one that a pod has answered.
#[tokio::test(flavor = "multi_thread")]
async fn two_pods_renew_their_certificate_and_no_request_fails() {
    let stage = Stage::new("renewed").await;
    let _pods = [stage.start(0).await, stage.start(1).await];
    until("both pods show a certificate", async || {
        (stage.shown(0) >= 1 && stage.shown(1) >= 1).then_some(())
    })
    .await;
    stage.is_asked().await;
    let first = stage.bundle().await;
    let refusal = Err(stage.refusal());
    let end = Instant::now() + GUARD;
    let mut after = 0;
    // Some more after the change, so that each pod is asked.
    while after < 20 {
        assert_eq!(stage.tried().await, refusal);
        if stage.bundle().await != first && stage.shown(0) >= 2 && stage.shown(1) >= 2 {
            after += 1;
        }
        assert!(Instant::now() < end, "the certificate is not renewed within {GUARD:?}");
        sleep(PACE).await;
    }

    // Somebody's tool takes away what the API server checks by.
    let without = json!({"webhooks": [{"name": stage.webhook_name(), "clientConfig": {"caBundle": null}}]});
    let patch = Patch::Strategic(without);
    stage.configurations().patch(&stage.global, &PatchParams::default(), &patch).await.unwrap();
    until("it comes back", async || stage.bundle().await).await;
    stage.is_asked().await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_begin_at_once_agree_whatever_the_link_does() {
    let stage = Stage::new("agree").await;
    let cluster = support::cluster::Cluster::current();
    let cancel = CancellationToken::new();
    let secrets = |verb| Matching::verb(verb).resource("secrets").nth(1);
    let configurations = |verb| Matching::verb(verb).resource("validatingwebhookconfigurations").nth(1);
    let troubles = [
        (secrets(Verb::Update), Action::Answer(Answer::conflict())),
        (secrets(Verb::Get), Action::Drop),
        (configurations(Verb::Get), Action::Answer(Answer::internal_error())),
        (configurations(Verb::Patch), Action::Drop),
    ];
    let mut all = Vec::new();
    for (matching, action) in troubles {
        let script = Script::new();
        script.on(matching, action);
        let client = support::transport::client(cluster.config().await.unwrap(), &script).unwrap();
        let settings = Settings {
            name: format!("{NAME}.{}.svc", stage.space.name),
            lifetime: Duration::from_secs(60),
            secret: format!("{}/{NAME}", stage.space.name).parse().unwrap(),
            configuration: stage.global.clone(),
        };
        let shown = Shown::default();
        let metrics = Metrics::new(&stage.driver, "test");
        tokio::spawn(keeper::run(client, settings, shown.clone(), metrics, cancel.clone()));
        all.push(shown);
    }
    let kept = until("all show the same, and know that the API server knows it", async || {
        let secret = stage.space.api::<Secret>().get(NAME).await.unwrap();
        let kept = Certificates::read(&secret.data?).unwrap()?;
        let agrees = |shown: &Shown| {
            shown.certificates().as_ref() == Some(&kept) && shown.known() == kept.authorities()
        };
        all.iter().all(agrees).then_some(kept)
    })
    .await;
    assert_eq!(stage.bundle().await, Some(kept.bundle().into_bytes()));
    cancel.cancel();
    stage.finish().await;
}
