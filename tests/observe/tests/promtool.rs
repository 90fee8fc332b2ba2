//! Prometheus' own tool looks at the rules, and computes what panels would show of hours and months.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use observe::dashboards::{self, fill_in};
use observe::{rules, scrape};
use serde_json::{Value, json};

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let tool =
        std::env::var_os("PROMTOOL").expect("PROMTOOL names promtool: `cargo xtask prometheus` prints it");
    let output = Command::new(tool).args(arguments).args(files).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

fn rule_tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")
}

#[test]
fn prometheus_takes_the_rules_and_the_scrape_configuration() {
    promtool(&["check", "rules"], &rules::paths().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prometheus.yaml");
    fs_err::write(&path, scrape::with_pods(&[]).unwrap().to_string()).unwrap();
    promtool(&["check", "config", "--syntax-only"], &[path]);
}

#[test]
fn alerts_fire_when_they_should_and_not_when_they_should_not() {
    let files = ["plugin", "gpus", "versions", "webhook", "claims", "controller"]
        .map(|name| rule_tests().join(format!("{name}.yaml")));
    promtool(&["test", "rules"], &files);
    let mut tried: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for file in files {
        let file: Value = serde_saphyr::from_str(&fs_err::read_to_string(file).unwrap()).unwrap();
        let tests = file["tests"].as_array().unwrap().iter();
        for test in tests.flat_map(|test| test["alert_rule_test"].as_array().unwrap()) {
            let fires = !test["exp_alerts"].as_array().unwrap().is_empty();
            let alert = test["alertname"].as_str().unwrap().to_owned();
            tried.entry(alert).or_default()[usize::from(fires)] += 1;
        }
    }
    for rule in rules::all().unwrap() {
        let Some(alert) = rule.alert else { continue };
        let times = tried.get(&alert).copied().unwrap_or_default();
        assert!(
            times.iter().all(|times| *times > 0),
            "{alert} must be seen to fire and not to fire: {times:?}"
        );
    }
}

#[test]
fn what_is_recorded_is_what_happened() {
    promtool(&["test", "rules"], &[rule_tests().join("records.yaml")]);
}

/// The query of a panel that has one.
fn panel(dashboard: &str, title: &str) -> String {
    let mut queries = queries(dashboard, title);
    assert_eq!(queries.len(), 1, "{title}: one query alone");
    queries.remove(0)
}

/// The queries of a panel.
fn queries(dashboard: &str, title: &str) -> Vec<String> {
    let dashboards = dashboards::all().unwrap();
    let dashboard = dashboards.iter().find(|one| one.name == dashboard).unwrap();
    let found = dashboard.queries().filter(|query| query.panel == title);
    let found: Vec<String> = found.map(|query| query.expression).collect();
    assert!(!found.is_empty(), "{} has no panel '{title}'", dashboard.name);
    found
}

/// A node of eight H100 and 224 CPUs. After two hours `ml` holds two GPUs and uses one; `web` holds one for the
/// first four hours and does nothing. Readings every five minutes, for twelve hours.
fn scene() -> Value {
    let device = |number: u32| format!("driver=\"d\", node=\"n1\", pool=\"n1/gpu\", device=\"gpu-{number}\"");
    let claim = |number: u32, owner: &str| {
        format!("dra_device_claim_info{{{}, owner_namespace=\"{owner}\", owner_pod=\"p\"}}", device(number))
    };
    let use_of = |number: u32| format!("dra_device_busy_ratio{{{}}}", device(number));
    json!([
        {"series": "dra_node_vcpus{driver=\"d\", node=\"n1\"}", "values": "224x144"},
        {"series": "dra_node_gpus{driver=\"d\", node=\"n1\", state=\"usable\"}", "values": "8x144"},
        {"series": claim(0, "ml"), "values": "_x24 1x119"},
        {"series": claim(1, "ml"), "values": "_x24 1x119"},
        {"series": claim(2, "web"), "values": "1x47 stale"},
        {"series": use_of(0), "values": "0.8x144"},
        {"series": use_of(1), "values": "0.04x144"},
        {"series": use_of(2), "values": "0x144"},
        {"series": use_of(3), "values": "0x144"},
    ])
}

#[test]
fn hours_and_costs_are_what_a_person_computes() {
    // 224 vCPUs × 80.23 USD: 0.1099 USD × 730 hours are 80.227, and a price has two decimals.
    let month = 17_971.52;
    let of = |owner: &str| json!(format!("{{owner_namespace=\"{owner}\"}}"));
    /// Labels and values.
    type Samples = Vec<(Value, f64)>;
    let cases: [(&str, Samples); 7] = [
        ("Cost per month", vec![(json!("{}"), month)]),
        ("Cost per month by node", vec![(json!("{node=\"n1\"}"), month)]),
        // At the end `ml` holds two of eight; six are free; one of the two is idle.
        ("Cost per month by namespace", vec![(of("ml"), month / 4.0)]),
        ("Cost per month of GPUs that nobody holds", vec![(json!("{}"), month * 0.75)]),
        ("Cost per month of idle GPUs", vec![(json!("{}"), month / 8.0)]),
        ("GPU-hours by namespace", vec![(of("ml"), 20.0), (of("web"), 4.0)]),
        ("Idle GPU-hours by namespace", vec![(of("ml"), 10.0), (of("web"), 4.0)]),
    ];
    let variables =
        [("cluster", ".*"), ("node", ".*"), ("namespace", ".*"), ("price", "0.1099"), ("__range", "12h")];
    let tests: Vec<Value> = cases
        .iter()
        .map(|(title, wanted)| {
            let samples: Vec<Value> =
                wanted.iter().map(|(labels, value)| json!({"labels": labels, "value": value})).collect();
            // The last of twelve hours; promtool compares numbers to the last bit, so they are rounded to a
            // thousandth.
            json!({
                "expr": format!("round({}, 0.001)", fill_in(&panel("owners", title), &variables)),
                "eval_time": "11h55m",
                "exp_samples": samples,
            })
        })
        .collect();
    computes(&json!({
        "evaluation_interval": "5m",
        "tests": [{"name": "a node", "interval": "5m", "input_series": scene(), "promql_expr_test": tests}],
    }));
}

/// Lets promtool run tests.
fn computes(file: &Value) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("panels.yaml");
    fs_err::write(&path, file.to_string()).unwrap();
    promtool(&["test", "rules"], &[path]);
}

/// Two controllers during a change of the leader: for a minute the series of both are there. Two nodes of eight and two
/// GPUs, in two classes each; four GPUs of the first are allocated.
fn controllers() -> Value {
    let mut series = Vec::new();
    let mut both = |name: &str, labels: &str, value: &str| {
        for (pod, when) in [("a", format!("{value}x10 stale")), ("b", format!("_x9 {value}x10"))] {
            series.push(
                json!({"series": format!("{name}{{driver=\"d\", pod=\"{pod}\"{labels}}}"), "values": when}),
            );
        }
    };
    both("dra_pending_claims", ", reason=\"request_selector\", device_class=\"gpu.d\"", "2");
    both("dra_pending_claims", ", reason=\"in_use\", device_class=\"alias\"", "1");
    both("dra_oldest_pending_claim_seconds", "", "120");
    both("dra_unreserved_claims", "", "1");
    for (node, devices, allocated, share, size) in
        [("n1", "8", "4", "0.5", "800"), ("n2", "2", "0", "0", "200")]
    {
        let pool = format!(", node=\"{node}\", pool=\"{node}/gpu\"");
        for class in ["gpu.d", "alias"] {
            let labels = format!("{pool}, device_class=\"{class}\"");
            both("dra_allocatable_devices", &labels, devices);
            both("dra_allocated_devices", &labels, allocated);
            both("dra_resource_utilization_ratio", &labels, share);
        }
        both("dra_allocatable_memory_bytes", &pool, size);
        both("dra_allocated_memory_bytes", &pool, if node == "n1" { "400" } else { "0" });
    }
    let of = |claim: &str, pod: &str| {
        format!(
            ", node=\"n1\", pool=\"n1/gpu\", device=\"gpu-0\", dra_claim_namespace=\"ml\", \
             dra_claim_name=\"{claim}\", owner_namespace=\"ml\", owner_pod=\"{pod}\""
        )
    };
    both("dra_claim_allocation_info", &of("training", "p"), "1");
    both("dra_claim_allocation_info_left_out", "", "7");
    both("dra_watched_objects", ", resource=\"pods\"", "30");
    both("dra_controller_build_info", ", version=\"1\"", "1");
    // A hundred claims in a minute: of them ninety within a second, and the others within ten.
    for (le, value) in [("1.0", 90), ("10.0", 100), ("+Inf", 100)] {
        for metric in ["dra_allocation_duration_seconds", "dra_pod_allocation_duration_seconds"] {
            let labels = format!(", device_class=\"gpu.d\", le=\"{le}\"");
            both(&format!("{metric}_bucket"), &labels, &format!("0+{value}"));
        }
    }
    both("dra_allocation_duration_seconds_count", ", device_class=\"gpu.d\"", "0+100");
    series.extend([
        json!({"series": "dra_controller_leader{driver=\"d\", pod=\"a\"}", "values": "1x9 0 stale"}),
        json!({"series": "dra_controller_leader{driver=\"d\", pod=\"b\"}", "values": "0x9 1x10"}),
        json!({"series": "dra_watch_synced{driver=\"d\", pod=\"b\", resource=\"pods\"}", "values": "1x20"}),
        json!({"series": "dra_watch_synced{driver=\"d\", pod=\"b\", resource=\"nodes\"}", "values": "0x20"}),
    ]);
    Value::Array(series)
}

#[test]
fn what_two_controllers_export_counts_once() {
    /// Labels and the value.
    type Sample<'a> = (&'a str, f64);
    let one = |value: f64| vec![("{}", value)];
    // Nine tenths take up to a second. Prometheus spreads what is in a bucket evenly over it.
    let (half, most) = (50.0 / 90.0, 1.0 + 9.0 * 0.9);
    let of_claim = "{dra_claim_namespace=\"ml\", dra_claim_name=\"training\", owner_pod=\"p\", node=\"n1\", \
                    pool=\"n1/gpu\", device=\"gpu-0\"}";
    let classes = |value: f64| vec![("{device_class=\"gpu.d\"}", value), ("{device_class=\"alias\"}", value)];
    let pool = |node: &str, class: &str| {
        format!("{{node=\"{node}\", pool=\"{node}/gpu\", device_class=\"{class}\"}}")
    };
    let places = [("n1", "gpu.d"), ("n1", "alias"), ("n2", "gpu.d"), ("n2", "alias")];
    let places = places.map(|(node, class)| pool(node, class));
    let pools = |first: f64, second: f64| -> Vec<Sample<'_>> {
        places.iter().map(String::as_str).zip([first, first, second, second]).collect()
    };
    let memory = |first: f64, second: f64| {
        vec![("{node=\"n1\", pool=\"n1/gpu\"}", first), ("{node=\"n2\", pool=\"n2/gpu\"}", second)]
    };
    let cases: Vec<(&str, &str, Vec<Vec<Sample<'_>>>)> = vec![
        ("claims", "Claims that wait", vec![one(3.0)]),
        ("claims", "Longest wait", vec![one(120.0)]),
        ("claims", "Claims kept by nobody", vec![one(1.0)]),
        ("claims", "Allocated within a second", vec![one(0.9)]),
        (
            "claims",
            "Claims that wait, by reason",
            vec![vec![("{reason=\"request_selector\"}", 2.0), ("{reason=\"in_use\"}", 1.0)]],
        ),
        (
            "claims",
            "What is waited for",
            vec![vec![
                ("{device_class=\"gpu.d\", reason=\"request_selector\"}", 2.0),
                ("{device_class=\"alias\", reason=\"in_use\"}", 1.0),
            ]],
        ),
        ("claims", "Time to allocate a claim", vec![one(half), one(1.0), one(most)]),
        ("claims", "Time from a pod to its devices", vec![one(half), one(1.0), one(most)]),
        ("claims", "Time to allocate, by class", vec![vec![("{device_class=\"gpu.d\"}", 1.0)]]),
        ("claims", "Allocated claims and their devices", vec![vec![(of_claim, 1.0)]]),
        // The smaller node counts for less.
        ("fleet", "Share of devices allocated, by class", vec![classes(0.4)]),
        (
            "fleet",
            "Share of devices allocated, by node",
            vec![vec![("{node=\"n1\"}", 0.5), ("{node=\"n2\"}", 0.0)]],
        ),
        ("fleet", "Devices by class", vec![classes(10.0), classes(4.0)]),
        ("fleet", "Memory of the devices", vec![one(1000.0), one(400.0)]),
        ("fleet", "Pools", vec![pools(8.0, 2.0), pools(4.0, 0.0), pools(0.5, 0.0)]),
        ("fleet", "Memory of the pools", vec![memory(800.0, 200.0), memory(400.0, 0.0)]),
        ("controller", "Controllers", vec![one(2.0)]),
        ("controller", "Leaders", vec![one(1.0)]),
        ("controller", "Resources not read yet", vec![one(1.0)]),
        ("controller", "Devices left out of the join", vec![one(7.0)]),
        ("controller", "Objects", vec![vec![("{resource=\"pods\"}", 30.0)]]),
        ("controller", "Versions", vec![vec![("{version=\"1\"}", 2.0)]]),
    ];
    let variables = [
        ("cluster", ".*"),
        ("node", ".*"),
        ("namespace", ".*"),
        ("__range", "5m"),
        ("__rate_interval", "5m"),
    ];
    let expected = |samples: &[Sample<'_>]| -> Vec<Value> {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        samples.iter().map(|(labels, value)| json!({"labels": labels, "value": rounded(*value)})).collect()
    };
    let mut tests = Vec::new();
    for (dashboard, title, letters) in &cases {
        let queries = queries(dashboard, title);
        assert_eq!(queries.len(), letters.len(), "{dashboard}/{title}");
        for (query, samples) in queries.iter().zip(letters) {
            tests.push(json!({
                "expr": format!("round({}, 0.001)", fill_in(query, &variables)),
                // Both controllers' series are there.
                "eval_time": "10m",
                "exp_samples": expected(samples),
            }));
        }
    }
    // Nothing waits, and nobody has counted either.
    let waiting = fill_in(&panel("claims", "Claims that wait"), &variables);
    let idle = json!([{"series": "dra_controller_leader{driver=\"d\"}", "values": "1x20"}]);
    let nothing = json!([{"expr": waiting, "eval_time": "10m", "exp_samples": expected(&one(0.0))}]);
    let nobody = json!([{"expr": waiting, "eval_time": "10m", "exp_samples": []}]);
    computes(&json!({"evaluation_interval": "1m", "tests": [
        {"name": "two", "interval": "1m", "input_series": controllers(), "promql_expr_test": tests},
        {"name": "idle", "interval": "1m", "input_series": idle, "promql_expr_test": nothing},
        {"name": "none", "interval": "1m", "input_series": [], "promql_expr_test": nobody},
    ]}));
}
