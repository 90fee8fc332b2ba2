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
    let dashboards = dashboards::all().unwrap();
    let dashboard = dashboards.iter().find(|one| one.name == dashboard).unwrap();
    let mut queries = dashboard.queries().filter(|query| query.panel == title);
    let query = queries.next().unwrap_or_else(|| panic!("{} has no panel '{title}'", dashboard.name));
    assert!(queries.next().is_none(), "{title}: one query alone");
    query.expression
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
    let file = json!({
        "evaluation_interval": "5m",
        "tests": [{"name": "a node", "interval": "5m", "input_series": scene(), "promql_expr_test": tests}],
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("panels.yaml");
    fs_err::write(&path, file.to_string()).unwrap();
    promtool(&["test", "rules"], &[path]);
}
