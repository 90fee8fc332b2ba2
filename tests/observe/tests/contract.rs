//! What dashboards, rules and documentation name is what the programs export, and the other way round.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::{BTreeMap, BTreeSet};

use dra_controller::explain::Blocker;
use dra_controller::observe::metrics::WriteResult;
use dra_controller::webhook;
use dra_driver::node::State;
use dra_kubelet_plugin::metrics::Reason;
use dra_kubelet_plugin::metrics::list::{Kind, METRICS};
use observe::promql::{self, Named};
use observe::rules::Rule;
use observe::{dashboards, repository, rules};

/// Labels that Prometheus has from its configuration.
const ATTACHED: [&str; 2] = ["cluster", "node"];

/// A metric as a program exports it.
#[derive(Clone)]
struct Metric {
    name: String,
    labels: BTreeSet<String>,
}

/// The names of the series that the programs export, each with its metric.
fn exported() -> BTreeMap<String, Metric> {
    let mut exported = BTreeMap::new();
    for entry in METRICS {
        let endings: &[&str] =
            if entry.kind == Kind::Histogram { &["_bucket", "_count", "_sum"] } else { &[""] };
        let labels = entry.labels.iter().map(|label| (*label).to_owned()).collect();
        let metric = Metric { name: entry.name.to_owned(), labels };
        exported.extend(endings.iter().map(|ending| (format!("{}{ending}", entry.name), metric.clone())));
    }
    exported.extend(exported_by_the_webhook());
    exported.extend(exported_by_the_controller());
    exported
}

/// The metrics of `dra-controller run`, as their page tells them, which a test of the controller compares with what it
/// serves.
fn exported_by_the_controller() -> BTreeMap<String, Metric> {
    let mut exported = BTreeMap::new();
    for (kind, metric) in page("controller-metrics.md") {
        let endings: &[&str] = if kind == "histogram" { &["_bucket", "_count", "_sum"] } else { &[""] };
        exported.extend(endings.iter().map(|ending| (format!("{}{ending}", metric.name), metric.clone())));
    }
    exported
}

/// The rows of a page about metrics, with their types.
fn page(name: &str) -> Vec<(String, Metric)> {
    let page = fs_err::read_to_string(repository().join("docs/reference").join(name)).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `dra_"));
    let read = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, ..] = cells[..] else { panic!("not a row of metrics: {row}") };
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        (kind.to_owned(), Metric { name: name.trim_matches('`').to_owned(), labels })
    });
    let read: Vec<_> = read.collect();
    assert!(read.len() >= 5, "{name} was read");
    read
}

/// The rules of `promtool check metrics`, and of labels that Prometheus or the scrape configuration has itself. The
/// plugin's own tests hold its metrics against them.
#[test]
fn the_controllers_names_follow_prometheus_rules() {
    // The user ordered this name.
    const ORDERED: &str = "dra_pending_claims_total";
    let units = ["milliseconds", "minutes", "hours", "kilobytes", "megabytes", "mib", "gib", "percent"];
    for (kind, metric) in ["controller-metrics.md", "webhook-metrics.md"].into_iter().flat_map(page) {
        let name = metric.name.as_str();
        assert_eq!(kind == "counter", name.ends_with("_total") && name != ORDERED, "{name} is a {kind}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}: durations are in seconds");
        assert!(!name.split('_').any(|part| units.contains(&part)), "{name}: base units");
        assert!(!["_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end)), "{name}");
        for label in &metric.labels {
            let attached = ["namespace", "pod", "container", "instance", "job", "le", "driver"];
            assert!(!attached.contains(&label.as_str()), "{name}: {label}");
        }
    }
}

/// The webhook has no list of its metrics; what it exports is read from what it serves.
fn exported_by_the_webhook() -> BTreeMap<String, Metric> {
    let mut text = String::new();
    let metrics = webhook::metrics::Metrics::new("example.com", "1");
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
    let mut exported: BTreeMap<String, Metric> = BTreeMap::new();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, rest) = sample.split_once('{').unwrap();
        let labels = rest.rsplit_once('}').unwrap().0.split(',').map(|pair| pair.split('=').next().unwrap());
        let ending = ["_bucket", "_count", "_sum"].iter().find_map(|ending| series.strip_suffix(ending));
        let name = ending.unwrap_or(series).to_owned();
        let metric =
            exported.entry(series.to_owned()).or_insert_with(|| Metric { name, labels: BTreeSet::new() });
        metric.labels.extend(labels.map(str::to_owned));
    }
    assert!(exported.len() >= 5, "the webhook's metrics were read");
    exported
}

fn recorded() -> BTreeSet<String> {
    rules::all().unwrap().into_iter().filter_map(|rule| rule.record).collect()
}

/// Every expression that users get, and where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for dashboard in dashboards::all().unwrap() {
        all.extend(
            dashboard.queries().map(|q| (format!("{}/{}/{}", q.dashboard, q.panel, q.letter), q.expression)),
        );
        for variable in dashboard.variables().filter(|variable| variable["type"] == "query") {
            let query = variable["query"]["query"].as_str().unwrap();
            let inner = query.strip_prefix("label_values(").unwrap();
            let (selector, _) = inner.rsplit_once(',').unwrap();
            all.push((format!("{}/${}", dashboard.name, variable["name"]), selector.to_owned()));
        }
    }
    for rule in rules::all().unwrap() {
        all.push((rule.alert.or(rule.record).unwrap(), rule.expr));
    }
    for page in ["docs/observability.md", "docs/reference/metrics.md"] {
        let recipes = recipes(page);
        assert!(!recipes.is_empty(), "{page} has no recipe");
        all.extend(recipes.into_iter().map(|recipe| (page.to_owned(), recipe)));
    }
    all
}

/// The blocks of PromQL on a page.
fn recipes(page: &str) -> Vec<String> {
    let text = fs_err::read_to_string(repository().join(page)).unwrap();
    let blocks = text.split("```promql\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().trim().to_owned()).collect()
}

fn named(place: &str, expression: &str) -> Named {
    promql::named(expression).unwrap_or_else(|error| panic!("{place}: {error}\n{expression}"))
}

#[test]
fn every_metric_that_is_used_is_exported() {
    let (exported, recorded) = (exported(), recorded());
    // Of other programs, on the page about joining them.
    let foreign = ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"];
    for (place, expression) in expressions() {
        for selector in named(&place, &expression).selectors {
            let metric = selector.metric.as_str();
            if recorded.contains(metric) || (place.starts_with("docs/") && foreign.contains(&metric)) {
                continue;
            }
            let entry = exported.get(metric).unwrap_or_else(|| panic!("{place}: nothing exports {metric}"));
            for (label, _, value) in selector.matchers {
                let known = entry.labels.contains(&label)
                    || ATTACHED.contains(&label.as_str())
                    || label == "driver"
                    || (label == "le" && metric.ends_with("_bucket"));
                assert!(known, "{place}: {metric} has no label {label}");
                assert_known_value(&place, metric, &label, &value);
            }
        }
    }
}

/// Values of labels that are a closed list.
fn assert_known_value(place: &str, metric: &str, label: &str, value: &str) {
    let known: Vec<&str> = match label {
        "reason" if metric.starts_with("dra_pending") => Blocker::ALL.map(Blocker::as_str).to_vec(),
        "result" => WriteResult::ALL.map(WriteResult::as_str).to_vec(),
        "state" => State::ALL.into_iter().map(State::as_str).collect(),
        "reason" => Reason::ALL.into_iter().map(|(reason, _)| reason.as_str()).collect(),
        "class" => vec!["application", "reset", "reboot", "lost", "unknown"],
        "phase" => vec!["total", "get_claim", "wait", "effects"],
        "outcome" => vec!["ok", "error"],
        "tainted" => vec!["true", "false"],
        _ => return,
    };
    for value in value.split('|') {
        assert!(known.contains(&value), "{place}: no metric has {label}=\"{value}\"");
    }
}

#[test]
fn series_are_grouped_and_joined_by_labels_that_exist() {
    let mut known: BTreeSet<String> = exported().into_values().flat_map(|metric| metric.labels).collect();
    known.extend(ATTACHED.into_iter().chain(["driver", "le"]).map(str::to_owned));
    for (place, expression) in expressions().iter().filter(|(place, _)| !place.starts_with("docs/")) {
        for label in named(place, expression).labels {
            assert!(known.contains(label.as_str()), "{place}: no metric has the label {label}");
        }
    }
}

#[test]
fn every_exported_metric_is_documented_and_shown() {
    let mut documented = BTreeSet::new();
    for page in ["metrics.md", "controller-metrics.md", "webhook-metrics.md"] {
        let page = fs_err::read_to_string(repository().join("docs/reference").join(page)).unwrap();
        let names = page.lines().filter_map(|line| line.strip_prefix("| `dra_")?.split('`').next());
        documented.extend(names.map(|name| format!("dra_{name}")));
    }
    let exported = exported();
    let wanted: BTreeSet<String> = exported.values().map(|metric| metric.name.clone()).collect();
    assert_eq!(documented, wanted);

    let mut shown = BTreeSet::new();
    for (place, expression) in expressions().iter().filter(|(place, _)| !place.starts_with("docs/")) {
        shown.extend(named(place, expression).selectors.into_iter().map(|selector| selector.metric));
    }
    // Of slices users know nothing: DRASliceMissing counts devices. What the webhook answers is for whoever looks into
    // one of its alerts.
    let unused = [
        // The same as dra_pending_claims, without labels.
        "dra_pending_claims_total",
        "dra_slices_published",
        "dra_webhook_build_info",
        "dra_webhook_request_duration_seconds",
        "dra_webhook_requests_total",
    ];
    for name in wanted {
        let used = exported.iter().any(|(series, of)| of.name == name && shown.contains(series));
        assert_ne!(used, unused.contains(&name.as_str()), "{name} in dashboards and rules");
    }
}

fn alerts() -> Vec<Rule> {
    rules::all().unwrap().into_iter().filter(|rule| rule.alert.is_some()).collect()
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let folder = repository().join("docs/runbooks");
    let mut pages: BTreeSet<String> = fs_err::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let index = fs_err::read_to_string(folder.join("README.md")).unwrap();
    for rule in alerts() {
        let alert = rule.alert.unwrap();
        let severity = rule.labels["severity"].as_str();
        assert!(["critical", "warning", "info"].contains(&severity), "{alert}: {severity}");
        for annotation in ["summary", "description"] {
            assert!(rule.annotations[annotation].len() > 20, "{alert}: {annotation}");
        }
        let file = format!("{alert}.md");
        assert_eq!(rule.annotations["runbook_url"], format!("https://runbooks.example/dra-driver/{file}"));
        assert!(pages.remove(&file), "{alert} has no page in docs/runbooks");
        let page = fs_err::read_to_string(folder.join(&file)).unwrap();
        assert!(page.starts_with(&format!("# {alert}\n")), "{file}: the title");
        for heading in ["## What it means", "## What to do"] {
            assert!(page.contains(heading), "{file} lacks '{heading}'");
        }
        assert!(index.contains(&format!("| [{alert}]({file}) | {severity} |")), "{alert} in the index");
    }
    assert!(pages.is_empty(), "pages about no alert: {pages:?}");
}

#[test]
fn the_runbook_says_who_acts_for_each_reason() {
    let page = fs_err::read_to_string(repository().join("docs/runbooks/DRAClaimPendingTooLong.md")).unwrap();
    for blocker in Blocker::ALL {
        // Before a claim was looked at, nobody has to do anything.
        let named = page.contains(&format!("`{}`", blocker.as_str()));
        assert_eq!(named, blocker != Blocker::Unexplained, "{}", blocker.as_str());
    }
}
