//! The dashboards keep the rules of Grafana's dashboard-linter, and each rule finds what breaks it.

use observe::dashboards::{self, Dashboard};
use observe::lint::{RULES, lint};
use serde_json::{Value, json};

#[test]
fn the_dashboards_break_no_rule() {
    let dashboards = dashboards::all().unwrap();
    let names: Vec<&str> = dashboards.iter().map(|dashboard| dashboard.name.as_str()).collect();
    assert_eq!(names, ["claims", "controller", "fleet", "node", "owners"]);
    for dashboard in &dashboards {
        assert_eq!(lint(dashboard), [], "{}", dashboard.name);
        assert!(dashboard.queries().count() >= 10, "{}", dashboard.name);
    }
}

#[test]
fn each_rule_finds_what_breaks_it() {
    type Break = fn(&mut Value);
    fn panel(json: &mut Value) -> &mut Value {
        json["panels"].as_array_mut().unwrap().iter_mut().find(|panel| panel["type"] == "timeseries").unwrap()
    }
    fn expression(json: &mut Value, text: &str) {
        panel(json)["targets"][0]["expr"] = json!(text);
    }
    let cases: [(&str, &str, Break); 18] = [
        ("template-datasource-rule", "another name", |j| {
            j["templating"]["list"][0]["name"] = json!("source")
        }),
        ("template-datasource-rule", "none", |j| {
            drop(j["templating"]["list"].as_array_mut().unwrap().remove(0))
        }),
        ("template-on-time-change-reload-rule", "asked once", |j| {
            j["templating"]["list"][1]["refresh"] = json!(1);
        }),
        ("template-label-promql-rule", "no PromQL", |j| {
            j["templating"]["list"][1]["query"]["query"] = json!("label_values(up{, node)");
        }),
        ("panel-datasource-rule", "a fixed source", |j| panel(j)["datasource"]["uid"] = json!("prometheus")),
        ("panel-datasource-rule", "a fixed source of a query", |j| {
            panel(j)["targets"][0]["datasource"]["uid"] = json!("prometheus");
        }),
        ("panel-title-description-rule", "no title", |j| panel(j)["title"] = json!("")),
        ("panel-title-description-rule", "no description", |j| panel(j)["description"] = json!("")),
        ("panel-units-rule", "no unit", |j| panel(j)["fieldConfig"]["defaults"]["unit"] = Value::Null),
        ("panel-no-targets-rule", "no query", |j| panel(j)["targets"] = json!([])),
        ("target-promql-rule", "no PromQL", |j| expression(j, "sum(up")),
        ("target-promql-rule", "an unknown variable", |j| expression(j, "up{a=\"$nobody\"}")),
        ("target-rate-interval-rule", "a fixed range", |j| expression(j, "rate(a_total[5m])")),
        ("target-counter-agg-rule", "a bare counter", |j| expression(j, "sum(a_total)")),
        ("uneditable-dashboard-rule", "editable", |j| j["editable"] = json!(true)),
        ("schema", "an old schema", |j| j["schemaVersion"] = json!(38)),
        ("schema", "another uid", |j| j["uid"] = json!("other")),
        ("schema", "an id twice", |j| j["panels"][1]["id"] = j["panels"][2]["id"].clone()),
    ];
    let sound = dashboards::all().unwrap().swap_remove(0);
    for (rule, what, break_it) in cases {
        let mut json = sound.json.clone();
        break_it(&mut json);
        let found = lint(&Dashboard { json, ..sound.clone() });
        let rules: Vec<&str> = found.iter().map(|(rule, _)| *rule).collect();
        assert_eq!(rules, [rule], "{what}: {found:?}");
    }
    for rule in RULES {
        assert!(cases.iter().any(|(broken, ..)| *broken == rule), "no case breaks {rule}");
    }
}
