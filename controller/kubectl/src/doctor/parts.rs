//! The driver's parts: plugin, controller, webhook.

use k8s_openapi::api::apps::v1::Deployment;

use super::{Check, Facts, Program};

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    if !facts.hides("daemonsets") {
        checks.extend(plugin(facts));
    }
    if !facts.hides("deployments") {
        checks.push(controller(facts));
        checks.push(webhook(facts));
    }
    checks
}

fn plugin(facts: &Facts) -> Vec<Check> {
    const NAME: &str = "plugin";
    if facts.plugins.is_empty() {
        return vec![Check::problem(
            NAME,
            format!("no DaemonSet runs the plugin of the driver {}", facts.driver),
            "install the chart (docs/quickstart.md), or name the driver with --driver-name",
        )];
    }
    let each = facts.plugins.iter().map(|set| {
        let status = set.status.clone().unwrap_or_default();
        let (ready, wanted) = (status.number_ready, status.desired_number_scheduled);
        let name = named(set.metadata.namespace.as_deref(), set.metadata.name.as_deref());
        let message = format!("DaemonSet {name}: {ready} of {wanted} pods are ready");
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        if wanted == 0 {
            let fix = "look at its nodeSelector and affinity: no node matches them";
            Check::problem(NAME, message, fix)
        } else if ready < wanted {
            Check::problem(
                NAME,
                message,
                format!("look at `kubectl get pods --namespace {namespace}` and their logs"),
            )
        } else {
            Check::ok(NAME, message)
        }
    });
    each.collect()
}

fn controller(facts: &Facts) -> Check {
    const NAME: &str = "controller";
    match deployment(facts, Program::Controller) {
        None => Check::warning(
            NAME,
            "no Deployment runs it: there are no dra_* metrics of claims, and no Events that say why claims wait",
            "set controller.enabled=true in the chart's values",
        ),
        Some(deployment) => available(NAME, deployment, Check::warning),
    }
}

fn webhook(facts: &Facts) -> Check {
    const NAME: &str = "webhook";
    let Some(deployment) = deployment(facts, Program::Webhook) else {
        return Check::warning(
            NAME,
            "no Deployment runs it: mistakes in a claim's configuration are found when its pod starts, not before",
            "set webhook.enabled=true in the chart's values",
        );
    };
    // Who refuses all while nobody answers, keeps claims from being made.
    let namespace = deployment.metadata.namespace.as_deref();
    let mut hooks = facts.webhooks.iter().flat_map(|one| one.webhooks.iter().flatten()).filter(|hook| {
        let service = hook.client_config.service.as_ref();
        service.is_some_and(|service| Some(service.namespace.as_str()) == namespace)
    });
    if hooks.any(|hook| hook.failure_policy.as_deref() == Some("Fail")) {
        available(NAME, deployment, Check::problem)
    } else {
        available(NAME, deployment, Check::warning)
    }
}

fn deployment(facts: &Facts, program: Program) -> Option<&Deployment> {
    facts.deployments.iter().find(|deployment| {
        let pod = deployment.spec.template.spec.as_ref();
        program.is_in_pod(pod, &facts.driver)
    })
}

fn available(
    name: &'static str,
    deployment: &Deployment,
    bad: fn(&'static str, String, String) -> Check,
) -> Check {
    let ready = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default();
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let namespace = deployment.metadata.namespace.as_deref();
    let full = named(namespace, deployment.metadata.name.as_deref());
    let message = format!("Deployment {full}: {ready} of {wanted} pods are available");
    if ready == 0 {
        let namespace = namespace.unwrap_or_default();
        bad(name, message, format!("look at `kubectl get pods --namespace {namespace}` and their logs"))
    } else {
        Check::ok(name, message)
    }
}

fn named(namespace: Option<&str>, name: Option<&str>) -> String {
    format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default())
}
