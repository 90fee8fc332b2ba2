//! What the cluster is, and what is published in it.

use dra_controller::model::pool::View;

use super::{Check, Facts, counted, some};

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![version(facts)];
    checks.extend(rights(facts));
    checks.extend(classes(facts));
    checks.extend(pools(facts));
    checks.extend(taints(facts));
    checks
}

fn version(facts: &Facts) -> Check {
    const NAME: &str = "Kubernetes";
    match facts.version {
        None => Check::warning(NAME, "the API server does not say its version", "look at `kubectl version`"),
        Some((major, minor)) if (major, minor) < (1, 34) => Check::problem(
            NAME,
            format!("{major}.{minor} does not have resource.k8s.io/v1"),
            "upgrade to 1.36 or newer; 1.34 is the oldest that works",
        ),
        Some((major, minor)) if (major, minor) < (1, 36) => Check::warning(
            NAME,
            format!(
                "{major}.{minor} drops taints of devices and extendedResourceName of DeviceClasses by default: a GPU \
                 with a fault leaves its slice instead of being tainted, and pods with nvidia.com/gpu stay pending"
            ),
            "upgrade to 1.36 or newer",
        ),
        Some((major, minor)) => Check::ok(NAME, format!("{major}.{minor}")),
    }
}

fn rights(facts: &Facts) -> Vec<Check> {
    let hidden = facts.hidden.iter();
    let checks = hidden.map(|hidden| {
        let fix = "ask for the right, or let an administrator run this; checks that need it are left out";
        Check::warning("your rights", format!("you lack the right to see {hidden}"), fix)
    });
    checks.collect()
}

fn classes(facts: &Facts) -> Option<Check> {
    const NAME: &str = "DeviceClasses";
    if facts.hides("deviceclasses") {
        return None;
    }
    let mentions = |expression: &str| expression.contains(&facts.driver);
    let all = facts.cluster.classes().all().filter(|class| {
        let selectors = class.spec.selectors.iter().filter_map(|selector| selector.cel.as_ref());
        selectors.into_iter().any(|cel| mentions(&cel.expression))
    });
    let mut names: Vec<String> = all.map(|class| class.metadata.name.to_string()).collect();
    names.sort();
    Some(if names.is_empty() {
        Check::problem(
            NAME,
            format!(
                "no DeviceClass mentions the driver {}, so no claim can ask for its devices",
                facts.driver
            ),
            "set deviceClasses.gpu.create=true in the chart's values, or name the driver with --driver-name",
        )
    } else {
        Check::ok(NAME, some(&names))
    })
}

fn pools(facts: &Facts) -> Vec<Check> {
    const NAME: &str = "ResourceSlices";
    if facts.hides("resourceslices") {
        return Vec::new();
    }
    let mut checks = Vec::new();
    let (mut whole, mut devices) = (0_usize, 0_usize);
    for pool in facts.pools() {
        let newest = || pool.slices().filter(|slice| slice.generation == pool.generation());
        let node = newest().find_map(|slice| slice.reach.node_name.clone());
        let node = node.and_then(|node| facts.cluster.nodes().get(&node).cloned());
        match pool.view(node.as_deref(), facts.cluster.features.partitionable_devices) {
            Ok(Some(View::Incomplete)) => {
                let of = newest().map(|slice| slice.count).max().unwrap_or_default();
                checks.push(Check::problem(
                    NAME,
                    format!(
                        "pool {} has {} of {of} slices: nothing of it is allocated",
                        pool.id.name,
                        newest().count()
                    ),
                    "look at the log of the plugin on its node for what keeps it from publishing",
                ));
            }
            Ok(Some(View::Invalid(why))) => checks.push(Check::problem(
                NAME,
                format!("pool {} contradicts itself: {why}", pool.id.name),
                "restart the plugin on its node; if it stays, report it with `kubectl-dra gather`",
            )),
            _ => {
                whole += 1;
                devices += newest().map(|slice| slice.devices.len()).sum::<usize>();
            }
        }
    }
    if whole > 0 {
        checks.insert(
            0,
            Check::ok(
                NAME,
                format!("complete: {} with {}", counted(whole, "pool"), counted(devices, "device")),
            ),
        );
    } else if checks.is_empty() {
        checks.push(Check::problem(
            NAME,
            format!("the driver {} publishes no devices", facts.driver),
            "look at the plugin's pods below and their logs, or name the driver with --driver-name",
        ));
    }
    checks
}

fn taints(facts: &Facts) -> Option<Check> {
    let newest = |pool| {
        let pool: &dra_controller::model::pool::Pool = pool;
        pool.slices().filter(|slice| slice.generation == pool.generation())
    };
    let mut tainted = Vec::new();
    for pool in facts.pools() {
        for device in newest(pool).flat_map(|slice| &slice.devices) {
            for taint in &device.shape.taints {
                let text = format!("{}={}:{}", taint.key, taint.value, taint.effect);
                tainted.push(format!("{}/{} ({text})", pool.id.name, device.name));
            }
        }
    }
    (!tainted.is_empty()).then(|| {
        Check::warning(
            "device taints",
            format!("they keep claims away: {}", some(&tainted)),
            "docs/troubleshooting.md says what each taint means; `dra-kubelet-plugin inspect` on the node says more",
        )
    })
}
