//! The rules of Grafana's dashboard-linter, so that they hold without a Go toolchain. Left out are those about the
//! labels `job` and `instance` (template-job, template-instance, target-job, target-instance): these dashboards choose
//! by cluster and node.

use serde_json::Value;

use crate::dashboards::{Dashboard, list, text};
use crate::promql::{self, RATE_INTERVAL};

/// The linter's rules.
pub const RULES: [&str; 12] = [
    "template-datasource-rule",
    "template-on-time-change-reload-rule",
    "template-label-promql-rule",
    "panel-datasource-rule",
    "panel-title-description-rule",
    "panel-units-rule",
    "panel-no-targets-rule",
    "target-promql-rule",
    "target-rate-interval-rule",
    "target-counter-agg-rule",
    "uneditable-dashboard-rule",
    // Not the linter's, but this project's.
    "schema",
];

/// What is wrong with a dashboard: the rule and where.
#[must_use]
pub fn lint(dashboard: &Dashboard) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    whole(dashboard, &mut found);
    variables(dashboard, &mut found);
    for panel in dashboard.panels() {
        let title = text(&panel["title"]);
        let mut wrong = |rule, what: &str| found.push((rule, format!("{title}: {what}")));
        if title.is_empty() || text(&panel["description"]).is_empty() {
            wrong("panel-title-description-rule", "needs a title and a description");
        }
        if !is_datasource(&panel["datasource"]) {
            wrong("panel-datasource-rule", "must use ${datasource}");
        }
        if !UNITS.contains(&text(&panel["fieldConfig"]["defaults"]["unit"]).as_str()) {
            wrong("panel-units-rule", "needs one of Grafana's units");
        }
        if list(&panel["targets"]).next().is_none() {
            wrong("panel-no-targets-rule", "has no query");
        }
        for target in list(&panel["targets"]) {
            if !is_datasource(&target["datasource"]) {
                wrong("panel-datasource-rule", "each query must use ${datasource}");
            }
        }
    }
    for query in dashboard.queries() {
        let mut wrong = |rule, what: String| {
            found.push((rule, format!("{} {}: {what}", query.panel, query.letter)));
        };
        let named = match promql::named(&query.expression) {
            Ok(named) => named,
            Err(error) => {
                wrong("target-promql-rule", error);
                continue;
            }
        };
        for selector in named.selectors {
            let around = selector.functions.first().map(String::as_str);
            let counter =
                ["_total", "_count", "_sum", "_bucket"].iter().any(|end| selector.metric.ends_with(end));
            if counter && !matches!(around, Some("rate" | "irate" | "increase")) {
                wrong(
                    "target-counter-agg-rule",
                    format!("{} is a counter: rate or increase", selector.metric),
                );
            }
            let range =
                selector.range.map(|range| format!("{}m{}s", range.as_secs() / 60, range.as_secs() % 60));
            if matches!(around, Some("rate" | "irate")) && range.as_deref() != Some(RATE_INTERVAL) {
                wrong("target-rate-interval-rule", "rate takes $__rate_interval".to_owned());
            }
        }
    }
    found
}

/// The units that the dashboards use, as Grafana calls them.
const UNITS: [&str; 10] =
    ["none", "percentunit", "bytes", "watt", "celsius", "hertz", "s", "h", "ops", "currencyUSD"];

fn whole(dashboard: &Dashboard, found: &mut Vec<(&'static str, String)>) {
    let json = &dashboard.json;
    if json["editable"] != false {
        found.push(("uneditable-dashboard-rule", "editable must be false".to_owned()));
    }
    let ids: Vec<_> = list(&json["panels"]).map(|panel| &panel["id"]).collect();
    let unique = ids.iter().enumerate().all(|(at, id)| !ids[..at].contains(id) && id.is_u64());
    let schema = json["schemaVersion"].as_u64().is_some_and(|version| version >= 39);
    if !schema || json["uid"] != format!("dra-driver-{}", dashboard.name) || !unique {
        let what =
            "needs schemaVersion 39 or later, a fixed uid of its name, and panels with ids of their own";
        found.push(("schema", what.to_owned()));
    }
}

fn variables(dashboard: &Dashboard, found: &mut Vec<(&'static str, String)>) {
    let sources: Vec<&Value> = dashboard.variables().filter(|v| v["type"] == "datasource").collect();
    let sound =
        |v: &&Value| v["name"] == "datasource" && v["label"] == "Data source" && v["query"] == "prometheus";
    if sources.len() != 1 || !sources.iter().all(sound) {
        found.push(("template-datasource-rule", "needs one variable `datasource` of Prometheus".to_owned()));
    }
    for variable in dashboard.variables().filter(|v| v["type"] == "query") {
        let name = text(&variable["name"]);
        // 2: on a change of the time range.
        if variable["refresh"] != 2 {
            let what = format!("{name}: is asked again when the time range changes (refresh 2)");
            found.push(("template-on-time-change-reload-rule", what));
        }
        let query = text(&variable["query"]["query"]);
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let selector = inner.and_then(|inner| inner.rsplit_once(',')).map(|(selector, _)| selector);
        if selector.is_none_or(|selector| promql::named(selector).is_err()) {
            found.push(("template-label-promql-rule", format!("{name}: {query}")));
        }
    }
}

fn is_datasource(value: &Value) -> bool {
    value["type"] == "prometheus" && value["uid"] == "${datasource}"
}
