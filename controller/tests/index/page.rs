//! The page about the metrics is made from a scrape in which each has a sample.

use std::fmt::Write;
use std::path::Path;

use dra_controller::explain::Blocker;

use crate::scene::{Scene, claim, has, pod};

/// `UPDATE_DOCS=1 cargo test -p dra-controller --test index` writes the page.
#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/controller-metrics.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::write(&path, page).unwrap();
        return;
    }
    let written = fs_err::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "run this test with UPDATE_DOCS=1");
}

fn page() -> String {
    let mut scene = Scene::read(vec![], vec![]);
    for name in ["has", "waits"] {
        scene.claim(claim(name, 0));
        scene.pod(pod(&format!("{name}-pod"), name, 0));
    }
    scene.claim(has("gpu-0", claim("has", 0)));
    scene.ticks = 60;
    scene.explained("waits-pod", Blocker::InUse);
    let follower = {
        let mut other = Scene::read(vec![], vec![]);
        other.index.lead(false);
        other
    };
    let text = scene.scrape();
    let mut page = "# Metrics of the controller\n\n\
        <!-- Generated from controller/src/observe/metrics.rs and controller/src/explain/blocker.rs; a test keeps it up to \
        date. -->\n\n\
        `dra-controller run` serves them at `/metrics` of `--admin-address`, as OpenMetrics. Every metric has the label \
        `driver`, the name of the DRA driver. Metrics of the cluster are shown by the one replica that acts, once it has \
        read all; those marked \"each\" by each replica. The label `node` is the controller's own: scrape it with \
        `honorLabels: true`.\n\n\
        | Metric | Type | Labels | Shown by | Meaning |\n|---|---|---|---|---|\n"
        .to_owned();
    let of_follower = follower.scrape();
    for (name, help) in told(&text, "# HELP ") {
        let kind = told(&text, "# TYPE ").find(|(of, _)| *of == name).unwrap().1;
        let suffix = match kind {
            "counter" => "_total",
            "histogram" => "_bucket",
            _ => "",
        };
        let sample = text.lines().find(|line| line.starts_with(&format!("{name}{suffix}{{")));
        let sample = sample.unwrap_or_else(|| panic!("{name} has no sample in:\n{text}"));
        let labels = sample.split_once('{').unwrap().1.rsplit_once('}').unwrap().0;
        let labels: Vec<String> = labels
            .split(',')
            .filter_map(|pair| Some(pair.split_once('=')?.0))
            .filter(|label| !["driver", "le"].contains(label))
            .map(|label| format!("`{label}`"))
            .collect();
        let shown = if told(&of_follower, "# HELP ").any(|(of, _)| of == name) { "each" } else { "" };
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        writeln!(page, "| `{name}` | {kind} | {} | {shown} | {help} |", labels.join(", ")).unwrap();
    }
    page.push_str(
        "\n`dra_pending_claims_total` is a gauge in spite of its name, which Prometheus keeps for counters; \
         `--ordered-metric-names=false` leaves it out.\n\n## Reasons\n\nOf `dra_pending_claims` and \
         `dra_allocation_errors_total`; [explain.md](../explain.md) has an example of each.\n\n\
         | Reason | Meaning |\n|---|---|\n",
    );
    for reason in Blocker::ALL {
        writeln!(page, "| `{}` | {} |", reason.as_str(), reason.meaning()).unwrap();
    }
    page
}

fn told<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.lines().filter_map(move |line| line.strip_prefix(keyword)?.split_once(' '))
}
