//! The webhook's metrics as Prometheus gets them, and their page in the documentation.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use dra_controller::webhook::metrics::{Metrics, Outcome};
use dra_controller::webhook::review::Verdict;

fn text(metrics: &Metrics) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
    text
}

#[test]
fn what_happens_is_counted() {
    let metrics = Metrics::new("example.com", "1.2.3");
    metrics.request(Outcome::Answered(Verdict::Refused), Duration::from_micros(700));
    metrics.request(Outcome::Malformed, Duration::from_micros(20));
    metrics.certificate(jiff::Timestamp::from_second(1_800_000_000).unwrap());
    metrics.error();
    let text = text(&metrics);
    for line in [
        "dra_webhook_requests_total{driver=\"example.com\",result=\"allowed\"} 0",
        "dra_webhook_requests_total{driver=\"example.com\",result=\"refused\"} 1",
        "dra_webhook_requests_total{driver=\"example.com\",result=\"malformed\"} 1",
        "dra_webhook_request_duration_seconds_bucket{driver=\"example.com\",le=\"0.001\"} 2",
        "dra_webhook_request_duration_seconds_bucket{driver=\"example.com\",le=\"0.0005\"} 1",
        "dra_webhook_certificate_expiry_timestamp_seconds{driver=\"example.com\"} 1800000000",
        "dra_webhook_certificate_errors_total{driver=\"example.com\"} 1",
        "dra_webhook_build_info{driver=\"example.com\",version=\"1.2.3\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}

/// `UPDATE_DOCS=1 cargo test -p dra-controller --test metrics` writes the page.
#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/webhook-metrics.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::write(&path, page).unwrap();
        return;
    }
    let written = fs_err::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "run this test with UPDATE_DOCS=1");
}

fn page() -> String {
    let text = text(&Metrics::new("example.com", "1.2.3"));
    let mut page = "# Metrics of the webhook\n\n\
        <!-- Generated from controller/src/webhook/metrics.rs; a test keeps it up to date. -->\n\n\
        `dra-controller webhook` serves them at `/metrics` of `--admin-address`, as OpenMetrics. Every metric has the \
        label `driver`, the name of the DRA driver.\n\n\
        | Metric | Type | Labels | Meaning |\n|---|---|---|---|\n"
        .to_owned();
    for (name, help) in told(&text, "# HELP ") {
        let kind = told(&text, "# TYPE ").find(|(of, _)| *of == name).unwrap().1;
        let suffix = if kind == "counter" { "_total" } else { "" };
        let of_it = text.lines().find(|line| line.starts_with(&format!("{name}{suffix}"))).unwrap();
        let labels: Vec<_> = ["result", "version"]
            .into_iter()
            .filter(|label| of_it.contains(&format!("{label}=\"")))
            .collect();
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(page, "| `{name}{suffix}` | {kind} | {labels} | {help} |").unwrap();
    }
    page.push_str("\n## Results of `dra_webhook_requests_total`\n\n| Result | Meaning |\n|---|---|\n");
    for (outcome, meaning) in Outcome::ALL {
        writeln!(page, "| `{}` | {meaning} |", outcome.as_str()).unwrap();
    }
    page
}

fn told<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.lines().filter_map(move |line| line.strip_prefix(keyword)?.split_once(' '))
}
