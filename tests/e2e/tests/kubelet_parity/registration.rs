//! How plugins come to be known.

use e2e::objects::{Claim, PodPlan};
use e2e::plugin::{Plugin, Settings};
use e2e::stage::{Stage, on_both};
use serde_json::json;

/// The claim that most of these scenarios use.
fn gpu() -> [Claim; 1] {
    [Claim::new("gpu", &[("one", "a", "0")])]
}

/// Registers a plugin and runs a pod, to see that it is used.
async fn registered_and_used(stage: &mut Stage, change: impl FnOnce(&mut Settings)) {
    let plugin = stage.plugin("a", change).await;
    stage.run(&PodPlan::new("pod", &["gpu"])).await;
    stage.end("pod").await;
    stage.stop(plugin).await;
}

/// Starts a plugin that is refused.
async fn refused(stage: &mut Stage, change: impl FnOnce(&mut Settings)) {
    let mut settings = stage.settings("a");
    change(&mut settings);
    let plugin = Plugin::start(settings).await;
    plugin
        .calls_until("be refused", |calls| calls.iter().any(|call| call.request["error"].is_string()))
        .await;
    stage.stop(plugin).await;
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[tokio::test]
async fn every_detail_of_every_call_of_a_plugin_of_v1() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    let outcome = on_both("details", &gpu(), &expected, async |stage: &mut Stage| {
        registered_and_used(stage, |_| {}).await;
    })
    .await;
    let call = |method: &str, authority: &str, deadline: Option<i64>, request, answer| {
        json!({
            "method": method, "authority": authority, "deadline": deadline, "request": request,
            "answer": answer, "code": "", "error": "",
        })
    };
    let registration = "<registry>%2F<driver a>-reg.sock";
    let claims = json!({"claims": [{"namespace": "<namespace>", "uid": "<uid of gpu>", "name": "gpu"}]});
    assert_eq!(
        outcome.transcripts,
        [json!([
            call(
                "/pluginregistration.Registration/GetInfo",
                registration,
                Some(1),
                json!({}),
                json!({
                    "type": "DRAPlugin", "name": "<driver a>", "endpoint": "<plugins>/<driver a>/dra.sock",
                    "supported_versions": ["v1.DRAPlugin"],
                })
            ),
            call(
                "/pluginregistration.Registration/NotifyRegistrationStatus",
                registration,
                Some(5),
                json!({"plugin_registered": true}),
                json!({})
            ),
            call(
                "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources",
                "localhost",
                Some(45),
                claims.clone(),
                json!({"claims": {"<uid of gpu>": {"devices": [{
                    "request_names": ["one"], "pool_name": "pool", "device_name": "0",
                    "cdi_device_ids": ["<driver a>/device=gpu-0"],
                }]}}})
            ),
            call(
                "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodeUnprepareResources",
                "localhost",
                Some(45),
                claims,
                json!({"claims": {"<uid of gpu>": {}}})
            ),
            {
                "method": "/v1alpha1.DRAResourceHealth/NodeWatchResources", "authority": "localhost",
                "deadline": null, "request": null, "answer": null, "code": "Unimplemented",
                "error": "/v1alpha1.DRAResourceHealth/NodeWatchResources is not served",
            },
        ])]
    );
}

#[tokio::test]
async fn the_first_known_version_of_the_plugins_list_is_used() {
    // (what the plugin advertises, the version in which it is called)
    let table = [
        (["v1beta1.DRAPlugin", ""], "v1beta1"),
        (["v1.DRAPlugin", "v1beta1.DRAPlugin"], "v1"),
        (["v1beta1.DRAPlugin", "v1.DRAPlugin"], "v1beta1"),
        (["v9.DRAPlugin", "v1.DRAPlugin"], "v1"),
        (["v1alpha1.DRAResourceHealth", "v1beta1.DRAPlugin"], "v1beta1"),
    ];
    for (advertised, version) in table {
        let advertised: Vec<&str> = advertised.into_iter().filter(|word| !word.is_empty()).collect();
        println!("advertised: {advertised:?}");
        let expected = [
            "pod: main got [<driver a> gpu-0]",
            "  asked for its info",
            "  registered",
            &format!("  {version} prepare gpu"),
            &format!("  {version} unprepare gpu"),
            "  asked for health in vain",
        ];
        on_both("versions", &gpu(), &expected, async |stage: &mut Stage| {
            registered_and_used(stage, |settings| {
                settings.versions = words(&advertised);
                settings.services = words(&["v1", "v1beta1"]);
            })
            .await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_plugin_without_a_known_version_is_refused() {
    let expected = [
        "  asked for its info",
        "  refused: RegisterPlugin error -- plugin validation failed with err: invalid supported gRPC versions of \
         DRA driver plugin <driver a> at endpoint <plugins>/<driver a>/dra.sock: none of services supported by the \
         plugin ([\"v9.DRAPlugin\" \"v1alpha1.DRAResourceHealth\"]) are supported by the kubelet \
         ([\"v1.DRAPlugin\" \"v1beta1.DRAPlugin\"])",
    ];
    on_both("unknown", &[], &expected, async |stage: &mut Stage| {
        refused(stage, |s| s.versions = words(&["v9.DRAPlugin", "v1alpha1.DRAResourceHealth"])).await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_without_any_version_is_refused() {
    let expected = [
        "  asked for its info",
        "  refused: RegisterPlugin error -- plugin validation failed with err: invalid supported gRPC versions of \
         DRA driver plugin <driver a> at endpoint <plugins>/<driver a>/dra.sock: empty list of supported gRPC \
         services (aka supported versions)",
    ];
    on_both("empty", &[], &expected, async |stage: &mut Stage| refused(stage, |s| s.versions.clear()).await)
        .await;
}

#[tokio::test]
async fn a_plugin_of_an_unknown_type_is_refused() {
    let expected = [
        "  asked for its info",
        "  refused: RegisterPlugin error -- no handler registered for plugin type: GPUPlugin at socket \
         <registry>/<driver a>-reg.sock",
    ];
    on_both("type", &[], &expected, async |stage: &mut Stage| {
        refused(stage, |s| s.r#type = "GPUPlugin".to_owned()).await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_whose_info_fails_once_is_asked_again() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info -> Internal: not yet",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("info-fails", &gpu(), &expected, async |stage: &mut Stage| {
        registered_and_used(stage, |settings| {
            settings
                .rules
                .push(json!({"method": "GetInfo", "times": 1, "code": "INTERNAL", "message": "not yet"}));
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_whose_info_takes_more_than_a_second_once_is_asked_again() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info -> Canceled: the caller gave up",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("info-slow", &gpu(), &expected, async |stage: &mut Stage| {
        registered_and_used(stage, |settings| {
            settings.rules.push(json!({"method": "GetInfo", "times": 1, "delayMillis": 60_000}));
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_is_not_told_of_its_registration_is_asked_again() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered -> Internal: not now",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("notify-fails", &gpu(), &expected, async |stage: &mut Stage| {
        let mut settings = stage.settings("a");
        let rule = json!({
            "method": "NotifyRegistrationStatus", "times": 1, "code": "INTERNAL", "message": "not now",
        });
        settings.rules.push(rule);
        let plugin = Plugin::start(settings).await;
        stage.registered(&plugin, 2).await;
        stage.run(&PodPlan::new("pod", &["gpu"])).await;
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}

#[tokio::test]
async fn a_socket_in_a_folder_of_the_registry_is_found() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("folder", &gpu(), &expected, async |stage: &mut Stage| {
        let folder = stage.registry().join(stage.driver("a"));
        registered_and_used(stage, |settings| settings.registry_sockets = vec![folder.join("reg.sock")])
            .await;
        std::fs::remove_dir(folder).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_socket_whose_name_starts_with_a_dot_is_ignored() {
    let expected = ["  asked for its info", "  registered", "  asked for health in vain", "hidden: 0 calls"];
    on_both("dot", &[], &expected, async |stage: &mut Stage| {
        let mut settings = stage.settings("hidden");
        settings.registry_sockets = vec![stage.registry().join(format!(".{}.sock", settings.driver))];
        let hidden = Plugin::start(settings).await;
        // The other plugin is found twice after the hidden one could have been.
        let mut other = stage.plugin("other", |_| {}).await;
        other.command(json!({"do": "unregister"})).await;
        other.command(json!({"do": "register"})).await;
        stage.registered(&other, 2).await;
        stage.stop(other).await;
        stage.note(format!("hidden: {} calls", hidden.stop().await.len()));
    })
    .await;
}

#[tokio::test]
async fn a_second_plugin_at_the_endpoint_of_another_is_refused() {
    let expected = [
        "  asked for its info",
        "  refused: RegisterPlugin error -- plugin registration failed with err: endpoint \
         <plugins>/<driver a>/dra.sock already registered for DRA driver plugin <driver a>",
        "pod: main got [<driver a> gpu-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health in vain",
    ];
    on_both("endpoint", &gpu(), &expected, async |stage: &mut Stage| {
        let first = stage.plugin("a", |_| {}).await;
        let endpoint = first.settings.plugin_socket.to_str().unwrap().to_owned();
        let folder = first.settings.plugin_socket.with_file_name("second");
        let registry = stage.registry();
        refused(stage, |settings| {
            settings.endpoint = endpoint;
            settings.plugin_socket = folder.join("dra.sock");
            settings.transcript = folder.join("transcript.jsonl");
            settings.registry_sockets = vec![registry.join(format!("{}-second.sock", settings.driver))];
        })
        .await;
        stage.run(&PodPlan::new("pod", &["gpu"])).await;
        stage.end("pod").await;
        stage.stop(first).await;
    })
    .await;
}

#[tokio::test]
async fn of_two_instances_the_newer_is_called_and_after_its_end_the_older() {
    let claims = [Claim::new("before", &[("one", "a", "0")]), Claim::new("after", &[("one", "a", "1")])];
    let expected = [
        "first: main got [<driver a> before-0]",
        "  asked for its info",
        "  registered",
        "  v1 prepare before",
        "  asked for health in vain",
        "second: main got [<driver a> after-1]",
        "  asked for its info",
        "  registered",
        "  v1 prepare after",
        "  v1 unprepare before",
        "  v1 unprepare after",
        "  asked for health in vain",
    ];
    on_both("instances", &claims, &expected, async |stage: &mut Stage| {
        let older = stage.plugin("a", |_| {}).await;
        let folder = older.settings.plugin_socket.with_file_name("newer");
        let registry = stage.registry();
        let newer = stage
            .plugin("a", |settings| {
                settings.plugin_socket = folder.join("dra.sock");
                settings.transcript = folder.join("transcript.jsonl");
                settings.registry_sockets = vec![registry.join(format!("{}-newer.sock", settings.driver))];
            })
            .await;
        stage.run(&PodPlan::new("first", &["before"])).await;
        stage.stop(newer).await;
        stage.run(&PodPlan::new("second", &["after"])).await;
        stage.end("first").await;
        stage.end("second").await;
        stage.stop(older).await;
    })
    .await;
}

#[tokio::test]
async fn a_plugin_with_the_health_service_is_listened_to() {
    let expected = [
        "pod: main got [<driver a> gpu-0]",
        "gpu: Unhealthy",
        "gpu: Healthy",
        "  asked for its info",
        "  registered",
        "  v1 prepare gpu",
        "  v1 unprepare gpu",
        "  asked for health",
    ];
    on_both("health", &gpu(), &expected, async |stage: &mut Stage| {
        let list =
            |health| vec![json!({"pool": "pool", "device": "0", "health": health, "timeoutSeconds": 600})];
        let mut plugin = stage
            .plugin("a", |settings| {
                settings.versions.push("v1alpha1.DRAResourceHealth".to_owned());
                settings.services.push("health.v1alpha1".to_owned());
            })
            .await;
        stage.run(&PodPlan::new("pod", &["gpu"])).await;
        // Only changes reach the pod's status at once.
        for (health, reported) in [("UNHEALTHY", "Unhealthy"), ("HEALTHY", "Healthy")] {
            plugin.command(json!({"do": "health", "health": list(health)})).await;
            stage.health("pod", "gpu", "a", "0", reported).await;
        }
        stage.end("pod").await;
        stage.stop(plugin).await;
    })
    .await;
}
