//! What the chart and the programs say of each other must be the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeSet;

use chart::helm::{objects, render};
use fs_err as fs;
use serde_json::Value;

fn all(arguments: &[&str]) -> Vec<Value> {
    objects(&render(arguments).unwrap()).unwrap()
}

fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The flags and the variables of a command in a page of flags, those of all commands included.
fn documented(page: &str, command: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let page = fs::read_to_string(chart::repository().join("docs/reference").join(page)).unwrap();
    let heading = format!("`{command}`");
    let mut flags = BTreeSet::new();
    let mut variables = BTreeSet::new();
    let mut counts = false;
    for line in page.lines() {
        if let Some(section) = line.strip_prefix("## ") {
            counts = section == heading || section == "All commands";
        }
        let mut cells = line.split('|').skip(1).map(|cell| cell.trim().trim_matches('`').to_owned());
        if let (true, Some(flag), Some(variable)) =
            (counts && line.starts_with("| `--"), cells.next(), cells.next())
        {
            flags.insert(flag);
            variables.insert(variable);
        }
    }
    assert!(!flags.is_empty(), "the page has no section {heading}");
    (flags, variables)
}

#[test]
fn every_variable_of_the_plugin_is_one_of_its_own() {
    let objects = all(&[]);
    let set = one(&objects, "DaemonSet", "dra-driver-kubelet-plugin");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], serde_json::json!(["/usr/bin/dra-kubelet-plugin", "run"]));
    let (_, known) = documented("flags.md", "dra-kubelet-plugin run");
    let given: BTreeSet<String> =
        list(&container["env"]).iter().map(|one| text(&one["name"]).to_owned()).collect();
    let unknown: Vec<_> = given.difference(&known).collect();
    assert!(unknown.is_empty(), "the plugin knows nothing of {unknown:?}");
    // What is not given has a default that fits a pod, or belongs to the test cluster.
    let left: Vec<_> = known.difference(&given).map(String::as_str).collect();
    assert_eq!(left, ["DEV_ROOT", "KUBECONFIG", "PROCESSES_ROOT", "PROCFS_ROOT", "SYSFS_ROOT"]);
}

#[test]
fn every_variable_of_the_controller_is_one_of_its_own() {
    let objects = all(&[]);
    let deployment = one(&objects, "Deployment", "dra-driver-controller");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], serde_json::json!(["/usr/bin/dra-controller", "run"]));
    let (_, known) = documented("controller-flags.md", "dra-controller run");
    let given: BTreeSet<String> =
        list(&container["env"]).iter().map(|one| text(&one["name"]).to_owned()).collect();
    let unknown: Vec<_> = given.difference(&known).collect();
    assert!(unknown.is_empty(), "the controller knows nothing of {unknown:?}");
    let left: Vec<_> = known.difference(&given).map(String::as_str).collect();
    assert_eq!(left, ["KUBECONFIG"]);
}

#[test]
fn the_test_pod_gives_flags_that_exist() {
    let objects = all(&[]);
    let pod = one(&objects, "Pod", "dra-driver-test");
    let command: Vec<&str> = list(&pod["spec"]["containers"][0]["command"]).iter().map(text).collect();
    let (flags, _) = documented("flags.md", "dra-kubelet-plugin inspect");
    assert_eq!(command[..2], ["/usr/bin/dra-kubelet-plugin", "inspect"]);
    assert!(command[2..].iter().all(|flag| flags.contains(*flag)), "{command:?}");
}

#[test]
fn every_flag_of_the_controller_is_one_of_its_own() {
    let objects = all(&["--set=uninstall.force=true"]);
    let job = one(&objects, "Job", "dra-driver-uninstall");
    let webhook = one(&objects, "Deployment", "dra-driver-webhook");
    for (object, mode) in [(job, "uninstall"), (webhook, "webhook")] {
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["command"], serde_json::json!(["/usr/bin/dra-controller", mode]));
        let (known, _) = documented("controller-flags.md", &format!("dra-controller {mode}"));
        for argument in list(&container["args"]) {
            let flag = text(argument).split('=').next().unwrap();
            assert!(known.contains(flag), "dra-controller {mode} knows nothing of {argument}");
        }
    }
}

#[test]
fn a_budget_is_there_for_controllers_that_can_spare_one() {
    for (replicas, budgets) in [(1, 0), (2, 1), (3, 1)] {
        let objects = all(&["--set", &format!("controller.replicas={replicas}")]);
        let found: Vec<_> = objects.iter().filter(|object| object["kind"] == "PodDisruptionBudget").collect();
        assert_eq!(found.len(), budgets, "{replicas}");
        let controller = one(&objects, "Deployment", "dra-driver-controller");
        assert_eq!(controller["spec"]["replicas"], replicas);
        for budget in found {
            assert_eq!(budget["spec"]["selector"], controller["spec"]["selector"]);
            assert_eq!(budget["spec"]["maxUnavailable"], 1);
        }
    }
}

#[test]
fn without_the_controller_nothing_of_it_is_there() {
    let objects =
        all(&["--set=controller.enabled=false,monitoring.podMonitor.enabled=true,controller.replicas=2"]);
    let of_it: Vec<_> = objects
        .iter()
        .filter(|object| object["metadata"]["labels"]["app.kubernetes.io/component"] == "controller")
        .collect();
    assert!(of_it.is_empty(), "{of_it:?}");
}

/// Both label their series with a node: the plugin's is where it runs, the controller's where the devices are.
#[test]
fn a_node_is_never_the_controllers_own() {
    let objects = all(&["--set=monitoring.podMonitor.enabled=true"]);
    for (name, honors) in [("kubelet-plugin", Value::Null), ("controller", Value::Bool(true))] {
        let monitor = one(&objects, "PodMonitor", &format!("dra-driver-{name}"));
        let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
        assert_eq!(endpoint["honorLabels"], honors, "{name}");
        assert_eq!(endpoint["relabelings"].is_null(), !honors.is_null(), "{name}");
    }
}

#[test]
fn claims_for_classes_of_the_users_own_can_be_counted() {
    for (arguments, classes) in [
        (&[][..], "gpu.eks-hybrid-dra,gpu-compute-class"),
        (
            &["--set=controller.deviceClasses={h100-nvlink,gpu-compute-class}"],
            "gpu.eks-hybrid-dra,gpu-compute-class,h100-nvlink",
        ),
        (&["--set=deviceClasses.gpu.create=false,deviceClasses.alias.create=false"], ""),
        (
            &[
                "--set=deviceClasses.gpu.create=false,deviceClasses.alias.create=false,controller.deviceClasses={a}",
            ],
            "a",
        ),
    ] {
        let objects = all(arguments);
        let controller = one(&objects, "Deployment", "dra-driver-controller");
        let env = list(&controller["spec"]["template"]["spec"]["containers"][0]["env"]);
        let given = env.iter().find(|one| one["name"] == "DEVICE_CLASSES").unwrap();
        assert_eq!(given["value"], classes, "{arguments:?}");
    }
}

/// What Grafana and Prometheus get is what the tests of dashboards and rules have seen.
#[test]
fn dashboards_and_rules_arrive_as_they_are() {
    let objects = all(&["--set=monitoring.dashboards.enabled=true,monitoring.prometheusRule.enabled=true"]);
    let files = chart::folder().join("files");
    let mut dashboards = 0;
    for entry in fs::read_dir(files.join("dashboards")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let map =
            one(&objects, "ConfigMap", &format!("dra-driver-dashboard-{}", file.trim_end_matches(".json")));
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        assert_eq!(text(&map["data"][file]).trim(), fs::read_to_string(&path).unwrap().trim(), "{file}");
        dashboards += 1;
    }
    assert!(dashboards > 0, "there are no dashboards");
    let rules = fs::read_to_string(files.join("rules/dra-driver.yaml")).unwrap();
    let rules: Value = serde_saphyr::from_str(&rules).unwrap();
    assert_eq!(one(&objects, "PrometheusRule", "dra-driver-rules")["spec"], rules);
}

#[test]
fn alerts_link_to_where_the_runbooks_are() {
    let url = "--set=monitoring.prometheusRule.runbookUrl=https://wiki.example.com/runbooks/";
    let objects = all(&["--set=monitoring.prometheusRule.enabled=true", url]);
    let rules = one(&objects, "PrometheusRule", "dra-driver-rules");
    let groups = list(&rules["spec"]["groups"]).iter().flat_map(|group| list(&group["rules"]));
    let alerts: Vec<_> = groups.filter(|rule| rule["alert"].is_string()).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let page = format!("https://wiki.example.com/runbooks/{}.md", text(&alert["alert"]));
        assert_eq!(alert["annotations"]["runbook_url"], page);
    }
}

#[test]
fn the_charts_version_is_the_workspaces() {
    let manifest = fs::read_to_string(chart::folder().join("Chart.yaml")).unwrap();
    let manifest: Value = serde_saphyr::from_str(&manifest).unwrap();
    for key in ["version", "appVersion"] {
        assert_eq!(manifest[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
}

/// deploy/manifests is for those who start the plugin by hand.
#[test]
fn the_plugins_rights_are_those_of_the_plain_manifest() {
    let plain = chart::repository().join("deploy/manifests/kubelet-plugin/rbac.yaml");
    let plain = objects(&fs::read_to_string(plain).unwrap()).unwrap();
    let objects = all(&[]);
    let role = one(&objects, "ClusterRole", "dra-driver-kubelet-plugin.kube-system");
    assert_eq!(role["rules"], one(&plain, "ClusterRole", "dra-kubelet-plugin")["rules"]);
}

#[test]
fn the_classes_are_those_of_the_examples() {
    let examples = chart::repository().join("deploy/examples/device-classes.yaml");
    let examples = objects(&fs::read_to_string(examples).unwrap()).unwrap();
    let objects = all(&[]);
    for name in ["gpu.eks-hybrid-dra", "gpu-compute-class"] {
        assert_eq!(
            one(&objects, "DeviceClass", name)["spec"],
            one(&examples, "DeviceClass", name)["spec"],
            "{name}"
        );
    }
}

#[test]
fn names_of_the_image() {
    for (arguments, wanted) in [
        (&["--set=image.tag=1.2"][..], "dra-driver:1.2"),
        (
            &["--set=image.tag=1.2,image.registry=harbor.example.com/gpu/"],
            "harbor.example.com/gpu/dra-driver:1.2",
        ),
        (&["--set=image.tag=1.2,image.registry=one,global.imageRegistry=two"], "two/dra-driver:1.2"),
        (&["--set=image.repository=gpu/driver", "--set-string=image.tag=7"], "gpu/driver:7"),
        (
            &[
                "--set=image.tag=1.2,image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ],
            "dra-driver@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ),
    ] {
        let images: BTreeSet<String> = images(&all(arguments)).into_iter().collect();
        assert_eq!(images, BTreeSet::from([wanted.to_owned()]), "{arguments:?}");
    }
}

/// The images of all containers.
fn images(objects: &[Value]) -> Vec<String> {
    let pods = objects.iter().map(|object| match text(&object["kind"]) {
        "Pod" => &object["spec"],
        _ => &object["spec"]["template"]["spec"],
    });
    let containers = pods.flat_map(|pod| list(&pod["containers"]));
    containers.map(|container| text(&container["image"]).to_owned()).collect()
}

/// Two releases of one name in two namespaces, and two with different names in one, do not meet.
#[test]
fn releases_do_not_share_objects() {
    let place = |arguments: &[&str]| -> BTreeSet<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = |object: &Value| {
            let meta = &object["metadata"];
            format!("{} {}/{}", text(&object["kind"]), text(&meta["namespace"]), text(&meta["name"]))
        };
        // The driver's own names and aliases are given: two drivers differ in them.
        all(arguments).iter().filter(|object| object["kind"] != "DeviceClass").map(name).collect()
    };
    let first = place(&[]);
    for other in [&["--namespace=other"][..], &["--set=fullnameOverride=other"]] {
        let both: Vec<String> = first.intersection(&place(other)).cloned().collect();
        assert!(both.is_empty(), "{other:?}: {both:?}");
    }
}

/// Nobody but the plugin is privileged, writes to its root or runs as root, and nobody may do more than RBAC rules name.
#[test]
fn pods_and_rights_are_narrow() {
    for object in all(&["--set=uninstall.force=true"]) {
        let name = format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
        let pod = if object["kind"] == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] };
        for container in list(&pod["containers"]) {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            if object["kind"] == "DaemonSet" {
                continue;
            }
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        }
        for rule in list(&object["rules"]) {
            for key in ["apiGroups", "resources", "verbs"] {
                assert!(list(&rule[key]).iter().all(|one| one != "*"), "{name}: {rule}");
            }
        }
    }
}
