//! The webhook as a process beside a real API server, which calls it through a Service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::process::Stdio;
use std::time::Duration;

use e2e::api::{GUARD, Space, make, make_global, unique};
use e2e::cluster::Cluster;
use e2e::gpu::program;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How often something is looked at.
const PACE: Duration = Duration::from_millis(50);

/// A webhook of a driver that nobody else has, and the namespace of its objects.
struct Webhook {
    space: Space,
    driver: String,
    /// The name of the ValidatingWebhookConfiguration.
    configuration: String,
    child: Child,
    folder: TempDir,
}

impl Webhook {
    /// One that the API server calls, and that it cannot do without unless the policy is "Ignore".
    async fn new(policy: &str, lifetime: &str) -> Self {
        let webhook = Self::start(lifetime).await;
        webhook.configure(policy).await;
        webhook
            .until("be ready", async |webhook| webhook.ask("/readyz").await.starts_with("HTTP/1.1 200"))
            .await;
        webhook.called().await;
        webhook
    }

    /// One that the API server does not know yet.
    async fn start(lifetime: &str) -> Self {
        let space = Space::create(Cluster::current().client().await, "webhook", json!({})).await;
        make::<Secret>(&space.api(), json!({"metadata": {"name": "webhook"}, "type": "Opaque"})).await;
        let configuration = unique("dra-driver-webhook");
        let driver = format!("{}.example.com", unique("gpu"));
        let folder = TempDir::new().unwrap();
        let log = fs_err::File::create(folder.path().join("log")).unwrap();
        let name = format!("{}/webhook", space.name);
        let child = Command::new(program().with_file_name("dra-controller"))
            .args(["webhook", "--listen=0.0.0.0:0", "--admin-address=127.0.0.1:0", "--log-format=json"])
            .args(["--driver-name", &driver, "--configuration", &configuration])
            .args(["--service", &name, "--secret", &name, "--certificate-lifetime", lifetime])
            .stdin(Stdio::null())
            .stderr(log.into_parts().0)
            .kill_on_drop(true)
            .spawn()
            .expect("start dra-controller");
        let webhook = Self { space, driver, configuration, child, folder };
        webhook.until("start", async |webhook| webhook.started().is_some()).await;
        webhook
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The line of the log that has the addresses.
    fn started(&self) -> Option<Value> {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["message"] == "starting")
    }

    /// Makes the Service and the configuration by which the API server calls the webhook, as the chart does.
    async fn configure(&self, policy: &str) {
        let started = self.started().unwrap();
        let port: u16 = started["address"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        let service =
            json!({"metadata": {"name": "webhook"}, "spec": {"ports": [{"port": 443, "targetPort": port}]}});
        make::<Service>(&self.space.api(), service).await;
        let endpoints = json!({
            "metadata": {"name": "webhook", "labels": {"kubernetes.io/service-name": "webhook"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [self.address().await], "conditions": {"ready": true}}],
            "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        });
        make::<EndpointSlice>(&self.space.api(), endpoints).await;
        let rule = |resources: &[&str], operations: &[&str]| json!({"apiGroups": ["resource.k8s.io"], "apiVersions": ["v1"], "resources": resources, "operations": operations});
        let configuration = json!({
            "metadata": {"name": self.configuration},
            "webhooks": [{
                "name": format!("claim-parameters.dra-driver.{}", self.driver),
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": policy,
                "timeoutSeconds": 5,
                "matchPolicy": "Equivalent",
                "clientConfig": {"service": {
                    "namespace": self.space.name, "name": "webhook", "path": "/validate-claim-parameters", "port": 443,
                }},
                "rules": [
                    rule(&["resourceclaims", "resourceclaimtemplates"], &["CREATE"]),
                    rule(&["deviceclasses"], &["CREATE", "UPDATE"]),
                ],
                // Other tests of this cluster make claims at the same time.
                "matchConditions": [{"name": "has-configuration-for-this-driver", "expression": format!(
                    "(request.resource.resource == 'deviceclasses' \
                     ? (has(object.spec.config) ? object.spec.config : []) \
                     : request.resource.resource == 'resourceclaims' \
                     ? (has(object.spec.devices) && has(object.spec.devices.config) ? object.spec.devices.config : []) \
                     : (has(object.spec.spec.devices) && has(object.spec.spec.devices.config) \
                        ? object.spec.spec.devices.config : []))\
                     .exists(config, has(config.opaque) && config.opaque.driver == '{}')",
                    self.driver,
                )}],
            }],
        });
        make_global::<ValidatingWebhookConfiguration>(&self.space.client, configuration).await;
    }

    /// An address of this machine that the API server takes for an endpoint's: it wants no loopback.
    async fn address(&self) -> String {
        let nodes: Api<Node> = Api::all(self.space.client.clone());
        let nodes = nodes.list(&ListParams::default()).await.unwrap();
        let addresses = nodes
            .iter()
            .flat_map(|node| node.status.iter().flat_map(|status| status.addresses.iter().flatten()));
        addresses
            .filter(|one| one.type_ == "InternalIP")
            .map(|one| one.address.clone())
            .next()
            .expect("the node's address")
    }

    /// What an admin endpoint answers.
    async fn ask(&self, path: &str) -> String {
        let started = self.started().unwrap();
        let address = started["admin_address"].as_str().unwrap();
        let mut stream = TcpStream::connect(address).await.expect("connect to the webhook");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Waits until the API server calls it, which hears of a configuration a little later.
    async fn called(&self) {
        let refused = |made: Result<(), String>| made.is_err_and(|error| error.contains("\"Mps\""));
        self.until("be called", async |webhook| refused(webhook.claim(webhook.mistake()).await)).await;
    }

    /// The value of a metric.
    async fn metric(&self, name: &str, label: &str) -> f64 {
        let metrics = self.ask("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with(name) && line.contains(label));
        let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        value.unwrap_or_else(|| panic!("there is no {name} {label} in:\n{metrics}"))
    }

    async fn expiry(&self) -> f64 {
        self.metric("dra_webhook_certificate_expiry_timestamp_seconds", "").await
    }

    async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let end = Instant::now() + GUARD;
        while !condition(self).await {
            assert!(Instant::now() < end, "the webhook did not {what}; its log:\n{}", self.log());
            sleep(PACE).await;
        }
    }

    /// Parameters with a mistake.
    fn mistake(&self) -> Value {
        json!([{"opaque": {"driver": self.driver, "parameters": {
            "apiVersion": "config.eks-hybrid-dra/v1alpha1", "kind": "GpuConfig", "sharing": {"strategy": "Mps"},
        }}}])
    }

    /// Parameters without one.
    fn right(&self) -> Value {
        json!([{"opaque": {"driver": self.driver, "parameters": {
            "apiVersion": "config.eks-hybrid-dra/v1alpha1", "kind": "GpuConfig",
        }}}])
    }

    /// What becomes of a claim with this configuration, which is not made in earnest.
    async fn claim(&self, config: Value) -> Result<(), String> {
        let claim = json!({"metadata": {"name": "claim"}, "spec": {"devices": devices(config)}});
        tried(&self.space.api::<ResourceClaim>(), claim).await
    }

    /// Removes what is not in the namespace, and the namespace.
    async fn finish(self) {
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(self.space.client.clone());
        configurations.delete(&self.configuration, &DeleteParams::default()).await.unwrap();
        self.space.remove().await;
    }
}

/// A claim's devices with this configuration.
fn devices(config: Value) -> Value {
    json!({"requests": [{"name": "gpu", "exactly": {"deviceClassName": "any"}}], "config": config})
}

/// What becomes of an object, which is not made in earnest.
async fn tried<K>(api: &Api<K>, object: Value) -> Result<(), String>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let object: K = serde_json::from_value(object).expect("the manifest is one of this kind");
    let trial = PostParams { dry_run: true, ..PostParams::default() };
    let answer = timeout(GUARD, api.create(&trial, &object)).await.expect("the API server answers");
    answer.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_mistake_is_refused_when_the_object_is_made_with_its_place_and_what_would_be_right() {
    let webhook = Webhook::new("Fail", "90d").await;
    let problem = "opaque.parameters.sharing.strategy: wanted 'TimeSlicing' or 'MPS', got \"Mps\"";
    let named = |spec: Value| json!({"metadata": {"name": unique("tried")}, "spec": spec});
    let templates = webhook.space.api::<ResourceClaimTemplate>();
    let classes = Api::<DeviceClass>::all(webhook.space.client.clone());

    let claim = webhook.claim(webhook.mistake()).await.unwrap_err();
    assert!(claim.contains(&format!("spec.devices.config[0].{problem}")), "{claim}");
    assert!(claim.contains("denied the request"), "{claim}");
    let template = named(json!({"spec": {"devices": devices(webhook.mistake())}}));
    let template = tried(&templates, template).await.unwrap_err();
    assert!(template.contains(&format!("spec.spec.devices.config[0].{problem}")), "{template}");
    let class = tried(&classes, named(json!({"config": webhook.mistake()}))).await.unwrap_err();
    assert!(class.contains(&format!("spec.config[0].{problem}")), "{class}");
    let refused = webhook.metric("dra_webhook_requests_total", "result=\"refused\"").await;
    assert!(refused >= 3.0, "{refused}");

    let mut foreign = webhook.mistake();
    foreign[0]["opaque"]["driver"] = json!("nic.example.com");
    for (what, config) in [("right", webhook.right()), ("none", json!([])), ("another driver's", foreign)] {
        webhook.claim(config.clone()).await.unwrap_or_else(|error| panic!("{what}, in a claim: {error}"));
        let template = named(json!({"spec": {"devices": devices(config.clone())}}));
        tried(&templates, template).await.unwrap_or_else(|error| panic!("{what}, in a template: {error}"));
        let class = named(json!({"config": config}));
        tried(&classes, class).await.unwrap_or_else(|error| panic!("{what}, in a class: {error}"));
    }
    webhook.finish().await;
}

#[tokio::test]
async fn what_was_made_before_the_webhook_can_still_be_changed_elsewhere() {
    let webhook = Webhook::start("90d").await;
    let name = unique("class");
    let classes = Api::<DeviceClass>::all(webhook.space.client.clone());
    let class = json!({"metadata": {"name": name}, "spec": {"config": webhook.mistake()}});
    make_global::<DeviceClass>(&webhook.space.client, class).await;
    webhook.configure("Fail").await;
    webhook.called().await;

    let labelled = Patch::Merge(json!({"metadata": {"labels": {"team": "a"}}}));
    classes.patch(&name, &PatchParams::default(), &labelled).await.expect("its labels can be changed");
    let mut other = webhook.mistake();
    other[0]["opaque"]["parameters"]["sharing"]["strategy"] = json!("mps");
    let changed = Patch::Merge(json!({"spec": {"config": other}}));
    let refused = classes.patch(&name, &PatchParams::default(), &changed).await.unwrap_err().to_string();
    assert!(refused.contains("got \"mps\""), "{refused}");
    classes.delete(&name, &DeleteParams::default()).await.unwrap();
    webhook.finish().await;
}

#[tokio::test]
async fn claims_are_made_as_well_without_the_webhook() {
    let mut webhook = Webhook::new("Ignore", "90d").await;
    webhook.child.kill().await.unwrap();
    webhook.claim(webhook.mistake()).await.expect("nobody is there to refuse it");
    webhook.claim(webhook.right()).await.unwrap();
    webhook.finish().await;
}

/// A certificate that is renewed in time, and then one whose Secret is emptied, which is how it is renewed at once.
#[tokio::test]
async fn certificates_change_without_a_restart_and_without_a_failed_request() {
    let webhook = Webhook::new("Fail", "12s").await;
    let secrets = webhook.space.api::<Secret>();
    for renewed_by in ["time", "an empty Secret"] {
        let before = webhook.expiry().await;
        if renewed_by == "an empty Secret" {
            let empty = json!({"data": {"ca.crt": null, "tls.crt": null, "tls.key": null}});
            secrets.patch("webhook", &PatchParams::default(), &Patch::Merge(empty)).await.unwrap();
        }
        webhook
            .until(&format!("renew its certificate by {renewed_by}"), async |webhook| {
                let told = webhook.claim(webhook.right()).await;
                told.unwrap_or_else(|error| panic!("{renewed_by}: {error}; log:\n{}", webhook.log()));
                let ready = webhook.ask("/readyz").await;
                assert!(ready.starts_with("HTTP/1.1 200"), "{renewed_by}: {ready}; log:\n{}", webhook.log());
                webhook.expiry().await > before
            })
            .await;
        let refused = webhook.claim(webhook.mistake()).await.unwrap_err();
        assert!(refused.contains("denied the request"), "{renewed_by}: {refused}");
    }
    webhook.finish().await;
}
