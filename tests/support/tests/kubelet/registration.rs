//! Which plugins the stand-in takes, when it tries again, and whom it calls.

use std::time::Duration;

use dra_kubelet_proto::names::{DRA_V1, DRA_V1BETA1, HEALTH_V1ALPHA1};
use support::kubelet::Authority;
use tonic::Status;

use crate::{
    plugin::{Call, Plugin, SOON, Script, Trouble},
    pods::{claim, pod},
    setup::Node,
};

const DRIVER: &str = "gpu.example.com";

#[tokio::test]
async fn the_first_service_of_the_plugins_list_that_is_known_is_chosen() {
    let cases: [(&str, &[&str], &str); 5] = [
        ("v1", &[DRA_V1], DRA_V1),
        ("both", &[DRA_V1, DRA_V1BETA1], DRA_V1),
        ("both, the old first", &[DRA_V1BETA1, DRA_V1], DRA_V1BETA1),
        ("unknown ones first", &["v7.DRAPlugin", HEALTH_V1ALPHA1, DRA_V1], DRA_V1),
        ("v1beta1", &[DRA_V1BETA1, HEALTH_V1ALPHA1], DRA_V1BETA1),
    ];
    for (name, versions, service) in cases {
        let node = Node::start().await;
        let plugin = node.registered("a", Script::new(DRIVER).versions(versions)).await;
        assert_eq!(node.kubelet.plugins()[0].service, service, "{name}");
        assert_eq!(node.kubelet.plugins()[0].endpoint, plugin.endpoint, "{name}");
        plugin.log(|log| {
            assert_eq!(log.notified.len(), 1, "{name}");
            assert!(log.notified[0].plugin_registered && log.notified[0].error.is_empty(), "{name}");
        });
    }
}

#[tokio::test]
async fn a_plugin_that_cannot_be_used_is_told_why() {
    let mut device_plugin = Script::new(DRIVER);
    "DevicePlugin".clone_into(&mut device_plugin.info.r#type);
    let cases = [
        ("another kind of plugin", device_plugin, "no handler registered for plugin type: DevicePlugin"),
        (
            "no versions",
            Script::new(DRIVER).versions(&[]),
            "empty list of supported gRPC services (aka supported versions)",
        ),
        (
            "unknown versions",
            Script::new(DRIVER).versions(&["v7.DRAPlugin", HEALTH_V1ALPHA1]),
            r#"none of services supported by the plugin (["v7.DRAPlugin" "v1alpha1.DRAResourceHealth"]) are supported by the kubelet (["v1.DRAPlugin" "v1beta1.DRAPlugin"])"#,
        ),
    ];
    for (name, script, why) in cases {
        let node = Node::start().await;
        let plugin = node.plugin("a", script);
        let twice = || node.kubelet.registration_errors().len() >= 2;
        assert!(node.kubelet.wait(SOON, twice).await, "{name}: tried again");
        assert!(node.kubelet.registration_errors()[0].contains(why), "{name}");
        assert!(node.kubelet.plugins().is_empty(), "{name}");
        plugin.log(|log| {
            assert!(!log.notified[0].plugin_registered, "{name}");
            assert!(log.notified[0].error.contains(why), "{name}: {}", log.notified[0].error);
        });
    }
}

#[tokio::test]
async fn a_failed_registration_is_tried_again() {
    let cases = [
        (
            "an error",
            SOON,
            Trouble::Fails(Status::internal("50% of the GPUs are gone")),
            "rpc error: code = Internal desc = 50% of the GPUs are gone",
        ),
        (
            "no answer in time",
            Duration::from_secs(1),
            Trouble::NeverAnswers,
            "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
        ),
    ];
    for (name, limit, trouble, error) in cases {
        let node = Node::with(|settings| settings.timings.get_info = limit).await;
        let plugin = node.registered("a", Script::new(DRIVER).info_trouble([trouble])).await;
        assert_eq!(
            node.kubelet.registration_errors()[0],
            format!(
                "RegisterPlugin error -- failed to get plugin info using RPC GetInfo at socket {}, err: {error}",
                node.registry.join("a.sock").display()
            ),
            "{name}"
        );
        assert!(plugin.log(|log| log.infos) >= 2, "{name}");
    }
}

#[tokio::test]
async fn only_sockets_without_a_dot_in_front_are_plugins() {
    let node = Node::start().await;
    std::fs::create_dir_all(node.registry.join("sub")).unwrap();
    std::fs::write(node.registry.join("file.sock"), "").unwrap();
    let hidden = node.plugin(".hidden", Script::new("hidden.example.com"));
    let _sub = Plugin::start(&node.registry.join("sub"), "s", Script::new("sub.example.com"));
    node.kubelet.wait_registered("sub.example.com", SOON).await.unwrap();
    let _last = node.registered("z", Script::new(DRIVER)).await;
    let mut drivers: Vec<_> = node.kubelet.plugins().into_iter().map(|plugin| plugin.driver).collect();
    drivers.sort();
    assert_eq!(drivers, [DRIVER, "sub.example.com"]);
    assert_eq!(hidden.log(|log| log.infos), 0);
    assert_eq!(node.kubelet.registration_errors(), [""; 0]);
}

#[tokio::test]
async fn a_plugin_may_serve_all_on_its_registration_socket() {
    let node = Node::start().await;
    let mut script = Script::new(DRIVER);
    let socket = node.registry.join("a.sock");
    script.info.endpoint = socket.display().to_string();
    let plugin = node.registered("a", script).await;
    node.kubelet.prepare_pod(&pod("p", vec![claim("c", &[DRIVER])])).await.unwrap();
    assert_eq!(plugin.calls(), [Call::Prepare(vec!["c".to_owned()])]);
    assert_eq!(node.kubelet.plugins()[0].endpoint, socket);
}

#[tokio::test]
async fn a_driver_registers_an_endpoint_once() {
    let node = Node::start().await;
    let first = node.registered("a", Script::new(DRIVER)).await;
    let mut script = Script::new(DRIVER);
    script.info.endpoint = first.endpoint.display().to_string();
    let second = node.plugin("b", script);
    assert!(node.kubelet.wait(SOON, || second.log(|log| !log.notified.is_empty())).await);
    let why =
        format!("endpoint {} already registered for DRA driver plugin {DRIVER}", first.endpoint.display());
    assert!(second.log(|log| log.notified[0].error.contains(&why)));
    assert_eq!(node.kubelet.plugins().len(), 1);
}

#[tokio::test]
async fn the_newest_plugin_with_a_connection_is_called() {
    let node = Node::start().await;
    let mut number = 0;
    let mut prepare = async |node: &Node| {
        number += 1;
        let name = format!("c{number}");
        node.kubelet.prepare_pod(&pod(&name, vec![claim(&name, &[DRIVER])])).await.unwrap();
        Call::Prepare(vec![name])
    };
    let old = node.registered("old", Script::new(DRIVER)).await;
    let before = prepare(&node).await;
    let mut new = node.plugin("new", Script::new(DRIVER));
    let both = || node.kubelet.plugins().iter().filter(|plugin| plugin.connected).count() == 2;
    assert!(node.kubelet.wait(SOON, both).await);
    let during = prepare(&node).await;
    new.crash();
    assert!(node.kubelet.wait(SOON, || !both()).await);
    let after = prepare(&node).await;
    assert_eq!(old.calls(), [before, after]);
    assert_eq!(new.calls(), [during]);
}

#[tokio::test]
async fn a_removed_socket_deregisters_and_a_new_one_registers_again() {
    let node = Node::start().await;
    let plugin = node.registered("a", Script::new(DRIVER)).await;
    plugin.withdraw();
    assert!(node.kubelet.wait(SOON, || node.kubelet.plugins().is_empty()).await);
    let the_pod = pod("p", vec![claim("c", &[DRIVER])]);
    let error = node.kubelet.prepare_pod(&the_pod).await.unwrap_err();
    assert_eq!(
        error.event(),
        "Failed to prepare dynamic resources: prepare dynamic resources: DRA driver gpu.example.com is not registered"
    );
    let plugin = node.registered("a", Script::new(DRIVER)).await;
    node.kubelet.prepare_pod(&the_pod).await.unwrap();
    assert_eq!(plugin.calls().len(), 1);
}

#[tokio::test]
async fn a_plugin_that_is_started_again_is_registered_again() {
    let node = Node::start().await;
    let mut plugin = node.registered("a", Script::new(DRIVER)).await;
    for _ in 0..3 {
        plugin.crash();
        plugin = node.plugin("a", Script::new(DRIVER));
        let told = || plugin.log(|log| log.notified.iter().any(|status| status.plugin_registered));
        assert!(node.kubelet.wait(SOON, told).await);
    }
}

/// The kubelet names the socket's path as the server. The `http` crate takes no such name, and so a plugin made
/// with tonic alone is never registered.
#[tokio::test]
async fn a_stock_tonic_server_resets_the_kubelets_registration() {
    let node = Node::with(|settings| settings.authority = Authority::AsKubelet).await;
    let plugin = node.plugin("a", Script::new(DRIVER));
    let failed = || !node.kubelet.registration_errors().is_empty();
    assert!(node.kubelet.wait(SOON, failed).await);
    let error = &node.kubelet.registration_errors()[0];
    let words =
        "rpc error: code = Internal desc = stream terminated by RST_STREAM with error code: PROTOCOL_ERROR";
    assert!(error.ends_with(words), "{error}");
    assert_eq!(plugin.log(|log| log.infos), 0);
}
