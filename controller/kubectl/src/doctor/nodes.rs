//! Nodes with GPUs: whether the plugin can run there, and who else gives out the same GPUs.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use super::{Check, Facts, some};

/// The name of NVIDIA's DRA driver.
const NVIDIA: &str = "gpu.nvidia.com";
/// What NVIDIA's device plugin calls GPUs.
const EXTENDED: &str = "nvidia.com/gpu";

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let gpu_nodes: Vec<&Node> = facts.nodes.iter().filter(|node| has_gpus(facts, node)).collect();
    let mut checks = Vec::new();
    if gpu_nodes.is_empty() {
        if !facts.hides("nodes") {
            checks.push(Check::warning(
                "GPU nodes",
                "no node publishes devices of the driver, or has the label nvidia.com/gpu.present=true",
                "look at the plugin's logs on the nodes that should have GPUs",
            ));
        }
        return checks;
    }
    checks.extend(plugin_pods(facts, &gpu_nodes));
    checks.extend(runtimes(&gpu_nodes));
    checks.extend(kubelets(&gpu_nodes));
    checks.extend(others(facts, &gpu_nodes));
    checks.push(Check::unseen(
        "GPU driver, NVLink fabric",
        "cannot be seen from outside of the node",
        "on the node: `nvidia-smi`, and with NVSwitches `systemctl is-active nvidia-fabricmanager`; in the plugin's pod: \
         `dra-kubelet-plugin inspect`",
    ));
    checks.push(Check::unseen(
        "default runtime",
        "cannot be seen from outside of the node: a default runtime nvidia gives GPUs to pods without claims whose \
         images set NVIDIA_VISIBLE_DEVICES",
        "on the node: `containerd config dump | grep default_runtime_name`, which should say runc",
    ));
    checks
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

fn has_gpus(facts: &Facts, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let is_labelled =
        labels.and_then(|labels| labels.get("nvidia.com/gpu.present")).is_some_and(|it| it == "true");
    is_labelled || publishes(facts, &facts.driver, node) || offers_extended(node)
}

fn publishes(facts: &Facts, driver: &str, node: &Node) -> bool {
    let inventory = facts.cluster.inventory();
    inventory.pools_of(name(node)).any(|pool| &*pool.id.driver == driver)
}

/// Whether a device plugin has GPUs there.
fn offers_extended(node: &Node) -> bool {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    allocatable.and_then(|all| all.get(EXTENDED)).is_some_and(|amount| amount.0 != "0")
}

/// Nodes on which no plugin is ready, with what keeps it away.
fn plugin_pods(facts: &Facts, gpu_nodes: &[&Node]) -> Vec<Check> {
    const NAME: &str = "plugin on GPU nodes";
    if facts.plugins.is_empty() || facts.hides("daemonsets") {
        return Vec::new();
    }
    let ready: BTreeSet<&str> =
        facts.plugin_pods.iter().filter(|pod| is_ready(pod)).filter_map(node_of).collect();
    let there: BTreeSet<&str> = facts.plugin_pods.iter().filter_map(node_of).collect();
    let (with, without): (Vec<&Node>, Vec<&Node>) =
        gpu_nodes.iter().partition(|node| ready.contains(name(node)));
    let mut checks = Vec::new();
    if !with.is_empty() {
        checks.push(Check::ok(NAME, format!("ready on {} of {}", with.len(), gpu_nodes.len())));
    }
    for node in without {
        let name = name(node);
        let untolerated = untolerated(facts, node);
        if there.contains(name) {
            let fix = "look at the pod and its log: it may wait for the kubelet, or for a GPU driver";
            checks.push(Check::problem(NAME, format!("the pod on {name} is not ready"), fix));
        } else if let Some(taint) = untolerated {
            let taint =
                format!("{}={}:{}", taint.key, taint.value.as_deref().unwrap_or_default(), taint.effect);
            checks.push(Check::problem(
                NAME,
                format!("{name} has the taint {taint}, which the DaemonSet does not tolerate"),
                "add it to kubeletPlugin.tolerations in the chart's values",
            ));
        } else {
            checks.push(Check::problem(
                NAME,
                format!("there is no pod on {name}"),
                "look at kubeletPlugin.nodeSelector and .affinity in the chart's values",
            ));
        }
    }
    checks
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// The first taint of a node that no DaemonSet of the driver tolerates.
fn untolerated<'a>(facts: &Facts, node: &'a Node) -> Option<&'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let tolerations = || {
        let pods = facts.plugins.iter().filter_map(|set| set.spec.template.spec.as_ref());
        pods.flat_map(|pod| pod.tolerations.iter().flatten())
    };
    taints.into_iter().flatten().find(|taint| {
        // The DaemonSet controller adds tolerations of its own for these.
        !taint.key.starts_with("node.kubernetes.io/")
            && taint.effect != "PreferNoSchedule"
            && !tolerations().any(|toleration| tolerates(toleration, taint))
    })
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let any_value = toleration.operator.as_deref() == Some("Exists");
    let value = toleration.value.as_deref().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect)
        && (key == taint.key || (key.is_empty() && any_value))
        && (any_value || value == taint.value.as_deref().unwrap_or_default())
}

/// Whether the container runtimes know CDI.
fn runtimes(gpu_nodes: &[&Node]) -> Vec<Check> {
    const NAME: &str = "CDI";
    let (mut on, mut asked, mut unknown, mut lacking) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for node in gpu_nodes {
        let runtime = node_info(node).map(|(runtime, _)| runtime).unwrap_or_default();
        let shown = format!("{} ({runtime})", name(node));
        match runtime.split_once("://") {
            Some(("containerd", version)) => match numbers(version) {
                Some((2.., _)) => on.push(shown),
                Some((1, 7)) => asked.push(shown),
                Some(_) => lacking.push(shown),
                None => unknown.push(shown),
            },
            Some(("docker", _)) => lacking.push(shown),
            _ => unknown.push(shown),
        }
    }
    let mut checks = Vec::new();
    if !on.is_empty() {
        checks.push(Check::ok(NAME, format!("containerd 2 has it on: {}", some(&on))));
    }
    if !asked.is_empty() {
        checks.push(Check::warning(
            NAME,
            format!("containerd 1.7 has it off unless its configuration says enable_cdi = true: {}", some(&asked)),
            "on the node: `containerd config dump | grep enable_cdi`; docs/eks-hybrid-nodes.md says how to turn it on",
        ));
    }
    if !unknown.is_empty() {
        let fix = "look into the runtime's documentation whether it reads CDI specs of /var/run/cdi";
        checks.push(Check::warning(NAME, format!("untested with this driver: {}", some(&unknown)), fix));
    }
    if !lacking.is_empty() {
        let fix = "install containerd 2, or 1.7 with enable_cdi = true";
        checks.push(Check::problem(NAME, format!("the container runtime has none: {}", some(&lacking)), fix));
    }
    checks
}

fn kubelets(gpu_nodes: &[&Node]) -> Option<Check> {
    let old = gpu_nodes.iter().filter_map(|node| {
        let (_, kubelet) = node_info(node)?;
        let version = numbers(kubelet.trim_start_matches('v'))?;
        (version < (1, 34)).then(|| format!("{} ({kubelet})", name(node)))
    });
    let old: Vec<String> = old.collect();
    let message = format!("older than 1.34, which is the first that works: {}", some(&old));
    (!old.is_empty()).then(|| Check::problem("kubelet", message, "upgrade these nodes"))
}

/// The node's container runtime and kubelet.
fn node_info(node: &Node) -> Option<(&str, &str)> {
    let info = node.status.as_ref()?.node_info.as_ref()?;
    Some((&info.container_runtime_version, &info.kubelet_version))
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

/// Who else gives out the GPUs of these nodes.
fn others(facts: &Facts, gpu_nodes: &[&Node]) -> Vec<Check> {
    let ours = || gpu_nodes.iter().filter(|node| publishes(facts, &facts.driver, node));
    let with_plugin: Vec<&str> = ours().filter(|node| offers_extended(node)).map(|node| name(node)).collect();
    let is_other = facts.driver != NVIDIA;
    let with_nvidia: Vec<&str> =
        ours().filter(|node| is_other && publishes(facts, NVIDIA, node)).map(|node| name(node)).collect();
    let mut checks = Vec::new();
    if !with_plugin.is_empty() {
        checks.push(Check::problem(
            "device plugin",
            format!("gives out the same GPUs as {EXTENDED} on {}", some(&with_plugin)),
            "keep it off these nodes: docs/from-device-plugin.md",
        ));
    }
    if !with_nvidia.is_empty() {
        checks.push(Check::problem(
            "NVIDIA's DRA driver",
            format!("publishes the same GPUs on {}", some(&with_nvidia)),
            "let one of the two publish GPUs on a node: keep the other off by its nodeSelector",
        ));
    }
    if checks.is_empty() {
        checks.push(Check::ok("other drivers", "none gives out the same GPUs"));
    }
    checks
}
