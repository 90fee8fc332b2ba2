//! The metrics as Prometheus gets them, and their page in the documentation, which is generated from them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use dra_driver::health::{Class, Fault};
use dra_driver::inventory::{Gpu, PciAddress, Version, Versions};
use dra_driver::node::{State, View};
use dra_driver::nvml::pulse::{Figures, RemappedRows};
use dra_driver::nvml::reading::Reading;
use dra_kubelet_plugin::metrics::list::{Kind, METRICS};
use dra_kubelet_plugin::metrics::{ClaimedDevice, Metrics, NvmlCall, NvmlCode, Outcome, Phase, Reason};

const ONE: &str = "gpu-0000-1b-00-0";
const OTHER: &str = "gpu-0000-43-00-0";

fn text(metrics: &Metrics) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
    text
}

/// The series of a metric, each with its labels but `driver`.
fn series(metrics: &Metrics, name: &str) -> BTreeMap<String, String> {
    let text = text(metrics);
    let lines = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
            let labels = labels.replacen("driver=\"example.com\"", "", 1);
            (labels.trim_start_matches(',').to_owned(), value.to_owned())
        })
        .collect()
}

fn new() -> Metrics {
    Metrics::new("example.com", "1.2.3")
}

fn gpu(name: &str, uuid: &str) -> Gpu {
    Gpu { name: Some(name.into()), uuid: Some(uuid.into()), ..Gpu::default() }
}

fn view(gpus: Vec<Gpu>) -> View {
    let mut view = View::default();
    view.inventory.gpus = gpus;
    view
}

fn figures() -> Figures {
    Figures {
        utilization: Reading::Value(37),
        memory: Reading::Value((1 << 30, 80 << 30)),
        power: Reading::Value(512_500),
        temperature: Reading::Value(61),
        clock_sm: Reading::Value(1980),
        ecc_corrected: Reading::Value(7),
        ecc_uncorrected: Reading::Value(2),
        remapped_rows: Reading::Value(RemappedRows {
            corrected: 1,
            uncorrected: 4,
            pending: true,
            failed: false,
        }),
    }
}

fn versions() -> Versions {
    let version = |text: &str| Version::of_text(text);
    Versions { driver: version("570.86.15"), nvml: None, cuda: version("12.8") }
}

/// Metrics that have every series that there can be.
fn full() -> Metrics {
    let metrics = new();
    let mut sick = view(vec![gpu(ONE, "GPU-1")]);
    let fault = Fault {
        class: Class::Reset,
        cause: "xid-95".into(),
        message: "XID 95".into(),
        since: jiff::Timestamp::UNIX_EPOCH,
    };
    sick.faults.insert(ONE.into(), vec![fault]);
    sick.inventory.versions = versions();
    metrics.vcpus(224);
    metrics.view("node-1/gpu", &sick);
    metrics.figures("node-1/gpu", &[(ONE.into(), figures())]);
    metrics.claim_devices(&[ClaimedDevice {
        namespace: "ml".into(),
        claim: "training".into(),
        pool: "node-1/gpu".into(),
        device: ONE.into(),
        pods: vec!["training-0".into()],
    }]);
    metrics.nvml_error(NvmlCall::Pulse, NvmlCode::Returned(15));
    metrics
}

#[test]
fn what_is_exposed_is_what_is_listed() {
    let text = text(&full());
    let told = |keyword: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(keyword));
        lines.map(|line| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap()).collect()
    };
    let (kinds, helps) = (told("# TYPE "), told("# HELP "));
    let family = |name: &str| name.strip_suffix("_total").unwrap_or(name).to_owned();
    assert_eq!(kinds.len(), METRICS.len());
    for entry in METRICS {
        assert_eq!(kinds[&family(entry.name)], entry.kind.as_str(), "{}", entry.name);
        assert_eq!(helps[&family(entry.name)], format!("{}.", entry.help), "{}", entry.name);
        let of_entry: Vec<&str> = text.lines().filter(|line| line.starts_with(entry.name)).collect();
        assert!(!of_entry.is_empty(), "{} has no series", entry.name);
        for line in of_entry {
            let labels: BTreeSet<&str> = line
                .split_once('{')
                .and_then(|(_, rest)| rest.rsplit_once('}'))
                .map_or("", |(labels, _)| labels)
                .split("\",")
                .filter_map(|label| label.split_once('=').map(|(name, _)| name))
                .filter(|name| *name != "le")
                .collect();
            let wanted: BTreeSet<&str> = entry.labels.iter().copied().chain(["driver"]).collect();
            assert_eq!(labels, wanted, "{line}");
        }
    }
    assert!(text.ends_with("# EOF\n"));
}

/// The rules of `promtool check metrics`, and this project's own.
#[test]
fn names_follow_prometheus_rules() {
    for entry in METRICS {
        let name = entry.name;
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()),
            "{name}"
        );
        assert_eq!(entry.kind == Kind::Counter, name.ends_with("_total"), "{name}");
        assert!(
            entry.kind != Kind::Histogram || name.ends_with("_seconds"),
            "{name}: durations are in seconds"
        );
        let units = [
            "milliseconds",
            "minutes",
            "hours",
            "kilobytes",
            "megabytes",
            "mib",
            "gib",
            "percent",
            "milliwatts",
            "megahertz",
            "mhz",
        ];
        assert!(!name.split('_').any(|part| units.contains(&part)), "{name}: base units");
        let reserved = ["_count", "_sum", "_bucket"];
        assert!(!reserved.iter().any(|suffix| name.ends_with(suffix)), "{name}");
        // The kubelet's.
        for foreign in ["dra_operations_", "dra_grpc_", "dra_resource_claims_"] {
            assert!(!name.starts_with(foreign), "{name}");
        }
        assert!(!entry.help.is_empty() && !entry.help.ends_with('.'), "{name}: the full stop is added");
        for label in entry.labels {
            // What Prometheus itself attaches to a target, and what names a histogram's bucket.
            assert!(
                !["namespace", "pod", "instance", "job", "le", "driver"].contains(label),
                "{name}: {label}"
            );
            assert!(!name.contains(&format!("_by_{label}")), "{name}");
        }
    }
}

#[test]
fn what_is_known_to_come_is_zero_from_the_start() {
    let metrics = new();
    assert_eq!(series(&metrics, "dra_plugin_errors_total").len(), 13);
    assert!(series(&metrics, "dra_plugin_errors_total").values().all(|value| value == "0"));
    for histogram in ["dra_plugin_prepare_duration_seconds", "dra_plugin_unprepare_duration_seconds"] {
        let counts = series(&metrics, &format!("{histogram}_count"));
        // Two outcomes, four phases.
        assert_eq!(counts.len(), 8, "{histogram}");
        assert!(counts.values().all(|value| value == "0"), "{histogram}");
        let buckets = series(&metrics, &format!("{histogram}_bucket"));
        assert!(buckets.contains_key("le=\"0.0001\",outcome=\"ok\",phase=\"total\""), "{buckets:?}");
    }
    let gpus =
        ["faulty", "unlisted", "unusable", "usable"].map(|state| (format!("state=\"{state}\""), "0".into()));
    assert_eq!(series(&metrics, "dra_node_gpus"), BTreeMap::from(gpus));
    let devices =
        ["false", "true"].map(|tainted| (format!("type=\"gpu\",tainted=\"{tainted}\""), "0.0".into()));
    assert_eq!(series(&metrics, "dra_published_devices"), BTreeMap::from(devices));
    for gauge in ["dra_plugin_prepared_claims", "dra_plugin_prepared_devices", "dra_slices_published"] {
        assert_eq!(series(&metrics, gauge), BTreeMap::from([(String::new(), "0".into())]), "{gauge}");
    }
    let build = series(&metrics, "dra_plugin_build_info");
    assert_eq!(build, BTreeMap::from([("version=\"1.2.3\"".into(), "1.0".into())]));
}

#[test]
fn what_happens_is_counted() {
    let metrics = new();
    let clone = metrics.clone();
    clone.prepare_took(Phase::Total, Outcome::Ok, Duration::from_millis(2));
    clone.unprepare_took(Phase::Wait, Outcome::Error, Duration::from_secs(2));
    clone.error(Reason::DeviceHeld);
    clone.error(Reason::DeviceHeld);
    clone.prepared(3, 5);
    clone.published(2, &BTreeMap::from([(("gpu".into(), true), 1), (("gpu".into(), false), 7)]));
    clone.vcpus(224);
    clone.nvml_error(NvmlCall::Figures, NvmlCode::Timeout);
    let cases = [
        ("dra_plugin_prepare_duration_seconds_count", "outcome=\"ok\",phase=\"total\"", "1"),
        ("dra_plugin_prepare_duration_seconds_sum", "outcome=\"ok\",phase=\"total\"", "0.002"),
        ("dra_plugin_prepare_duration_seconds_bucket", "le=\"0.001\",outcome=\"ok\",phase=\"total\"", "0"),
        ("dra_plugin_prepare_duration_seconds_bucket", "le=\"0.0025\",outcome=\"ok\",phase=\"total\"", "1"),
        ("dra_plugin_unprepare_duration_seconds_count", "outcome=\"error\",phase=\"wait\"", "1"),
        ("dra_plugin_errors_total", "reason=\"device_held\"", "2"),
        ("dra_plugin_prepared_claims", "", "3"),
        ("dra_plugin_prepared_devices", "", "5"),
        ("dra_slices_published", "", "2"),
        ("dra_published_devices", "type=\"gpu\",tainted=\"true\"", "1.0"),
        ("dra_published_devices", "type=\"gpu\",tainted=\"false\"", "7.0"),
        ("dra_node_vcpus", "", "224.0"),
        ("dra_nvml_errors_total", "call=\"figures\",code=\"timeout\"", "1"),
    ];
    for (name, labels, wanted) in cases {
        assert_eq!(
            series(&metrics, name).get(labels).map(String::as_str),
            Some(wanted),
            "{name}{{{labels}}}"
        );
    }
}

#[test]
fn figures_are_in_base_units_and_go_when_they_are_not_had() {
    let metrics = full();
    let labels = format!("device=\"{ONE}\",uuid=\"GPU-1\",pool=\"node-1/gpu\"");
    let cases = [
        ("dra_device_busy_ratio", "0.37"),
        ("dra_device_memory_used_bytes", "1073741824.0"),
        ("dra_device_memory_size_bytes", "85899345920.0"),
        ("dra_device_power_watts", "512.5"),
        ("dra_device_temperature_celsius", "61.0"),
        ("dra_device_sm_clock_hertz", "1980000000.0"),
        ("dra_device_ecc_corrected_errors", "7.0"),
        ("dra_device_ecc_uncorrected_errors", "2.0"),
        ("dra_device_row_remap_pending", "1.0"),
        ("dra_device_row_remap_failed", "0.0"),
    ];
    for (name, value) in cases {
        assert_eq!(series(&metrics, name), BTreeMap::from([(labels.clone(), value.to_owned())]), "{name}");
    }
    let rows = [("corrected", "1.0"), ("uncorrected", "4.0")]
        .map(|(cause, count)| (format!("{labels},cause=\"{cause}\""), count.to_owned()));
    assert_eq!(series(&metrics, "dra_device_remapped_rows"), BTreeMap::from(rows));
    // MIG is on: no utilisation. The rest stays.
    let without = Figures { utilization: Reading::NotSupported, ..figures() };
    metrics.figures("node-1/gpu", &[(ONE.into(), without)]);
    assert!(series(&metrics, "dra_device_busy_ratio").is_empty());
    assert_eq!(series(&metrics, "dra_device_power_watts").len(), 1);
    // The GPU hangs.
    metrics.figures("node-1/gpu", &[]);
    for (name, _) in cases {
        assert!(series(&metrics, name).is_empty(), "{name}");
    }
}

#[test]
fn every_device_has_each_class_of_fault_and_goes_with_them() {
    let metrics = full();
    metrics.view("node-1/gpu", &view(vec![gpu(ONE, "GPU-1"), gpu(OTHER, "GPU-2")]));
    let well = series(&metrics, "dra_device_fault");
    assert_eq!(well.len(), 6);
    assert!(well.values().all(|value| value == "0.0"), "{well:?}");

    let mut sick = view(vec![gpu(OTHER, "GPU-2")]);
    let fault = |class: Class| Fault {
        class,
        cause: class.as_str().into(),
        message: String::new(),
        since: jiff::Timestamp::UNIX_EPOCH,
    };
    sick.faults.insert(OTHER.into(), vec![fault(Class::Lost), fault(Class::Reboot)]);
    metrics.view("node-1/gpu", &sick);
    let faults = series(&metrics, "dra_device_fault");
    let of = |class: &str| format!("device=\"{OTHER}\",uuid=\"GPU-2\",pool=\"node-1/gpu\",class=\"{class}\"");
    let wanted = [("lost", "1.0"), ("reboot", "1.0"), ("reset", "0.0")];
    let wanted: BTreeMap<String, String> =
        wanted.iter().map(|(class, value)| (of(class), (*value).to_owned())).collect();
    assert_eq!(faults, wanted);
}

#[test]
fn claims_are_joined_with_devices_whichever_is_known_first() {
    let claimed = |pods: &[&str]| ClaimedDevice {
        namespace: "ml".into(),
        claim: "training".into(),
        pool: "node-1/gpu".into(),
        device: ONE.into(),
        pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
    };
    let labels = |uuid: &str, pod: &str| {
        format!(
            "device=\"{ONE}\",uuid=\"{uuid}\",pool=\"node-1/gpu\",dra_claim_namespace=\"ml\",\
             dra_claim_name=\"training\",dra_pool_name=\"node-1/gpu\",dra_device_name=\"{ONE}\",\
             owner_namespace=\"ml\",owner_pod=\"{pod}\""
        )
    };
    let metrics = new();
    let shown = || series(&metrics, "dra_device_claim_info").into_keys().collect::<Vec<_>>();
    metrics.claim_devices(&[claimed(&[])]);
    assert_eq!(shown(), [labels("", "")]);
    metrics.view("node-1/gpu", &view(vec![gpu(ONE, "GPU-1")]));
    assert_eq!(shown(), [labels("GPU-1", "")]);
    metrics.claim_devices(&[claimed(&["one", "two"])]);
    assert_eq!(shown(), [labels("GPU-1", "one"), labels("GPU-1", "two")]);
    metrics.claim_devices(&[]);
    assert!(shown().is_empty());
}

#[test]
fn xids_are_counted_from_zero_for_the_gpu_that_had_them() {
    let metrics = new();
    let shown = |name: &str, device: &str| -> BTreeMap<String, String> {
        let of_device = format!("device=\"{device}\",");
        let all = series(&metrics, name).into_iter();
        all.filter_map(|(labels, value)| Some((labels.strip_prefix(&of_device)?.to_owned(), value))).collect()
    };
    let counts = |uuid: &str, counts: [(&str, &str); 4]| -> BTreeMap<String, String> {
        let series = |(class, count): (&str, &str)| {
            (format!("uuid=\"{uuid}\",pool=\"node-1/gpu\",class=\"{class}\""), count.to_owned())
        };
        counts.into_iter().map(series).collect()
    };
    let none = [("application", "0.0"), ("reboot", "0.0"), ("reset", "0.0"), ("unknown", "0.0")];
    // One that comes before the GPUs are known is not lost.
    metrics.xid(ONE, 31);
    metrics.view("node-1/gpu", &view(vec![gpu(ONE, "GPU-1"), gpu(OTHER, "GPU-2")]));
    for xid in [95, 95, 79, 999] {
        metrics.xid(ONE, xid);
    }
    let some = [("application", "1.0"), ("reboot", "1.0"), ("reset", "2.0"), ("unknown", "1.0")];
    assert_eq!(shown("dra_device_xid_errors_total", ONE), counts("GPU-1", some));
    assert_eq!(shown("dra_device_xid_errors_total", OTHER), counts("GPU-2", none));
    let last = |device| shown("dra_device_last_xid", device).into_values().collect::<Vec<_>>();
    assert_eq!((last(ONE), last(OTHER)), (vec!["999.0".to_owned()], vec!["0.0".to_owned()]));
    // NVML goes and comes; then another GPU sits in the slot.
    metrics.view("node-1/gpu", &view(vec![]));
    assert!(shown("dra_device_xid_errors_total", ONE).is_empty());
    metrics.view("node-1/gpu", &view(vec![gpu(ONE, "GPU-1")]));
    assert_eq!(shown("dra_device_xid_errors_total", ONE), counts("GPU-1", some));
    metrics.view("node-1/gpu", &view(vec![gpu(ONE, "GPU-3")]));
    assert_eq!(shown("dra_device_xid_errors_total", ONE), counts("GPU-3", none));
    assert_eq!(last(ONE), ["0.0"]);
}

#[test]
fn the_node_says_what_it_has() {
    let metrics = new();
    let address: PciAddress = "0000:1b:00.0".parse().unwrap();
    let mut one = gpu(ONE, "GPU-1");
    one.usable = true;
    one.pci.address = Some(address);
    one.product_name = Some("NVIDIA H100 80GB HBM3".into());
    one.vbios_version = Some("96.00.89.00.01".into());
    let mut seen = view(vec![one]);
    seen.on_bus = vec![address, "0000:43:00.0".parse().unwrap()];
    seen.inventory.versions = versions();
    metrics.view("node-1/gpu", &seen);
    let info = format!(
        "device=\"{ONE}\",uuid=\"GPU-1\",pool=\"node-1/gpu\",product=\"NVIDIA H100 80GB HBM3\",\
         vbios_version=\"96.00.89.00.01\",pci_bus_id=\"0000:1b:00.0\""
    );
    let cases = [
        ("dra_device_info", info.as_str(), "1.0"),
        ("dra_nvidia_driver_info", "version=\"570.86.15\",cuda_version=\"12.8\"", "1.0"),
        ("dra_node_gpus", "state=\"usable\"", "1"),
        ("dra_node_gpus", "state=\"unlisted\"", "1"),
        ("dra_node_gpus", "state=\"faulty\"", "0"),
    ];
    for (name, labels, wanted) in cases {
        let shown = series(&metrics, name);
        assert_eq!(shown.get(labels).map(String::as_str), Some(wanted), "{name}{{{labels}}} in {shown:?}");
    }
    // Without NVML there is no driver to name.
    metrics.view("node-1/gpu", &View { on_bus: seen.on_bus, ..View::default() });
    assert!(series(&metrics, "dra_nvidia_driver_info").is_empty());
    assert!(series(&metrics, "dra_device_info").is_empty());
    assert_eq!(series(&metrics, "dra_node_gpus")["state=\"unlisted\""], "2");
}

/// `UPDATE_DOCS=1 cargo test -p dra-kubelet-plugin --test metrics` writes the page.
#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, page).unwrap();
        return;
    }
    let written = fs_err::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "run this test with UPDATE_DOCS=1");
}

fn page() -> String {
    let mut page = "# Metrics of the kubelet plugin\n\n\
        <!-- Generated from kubelet-plugin/src/metrics; a test keeps it up to date. -->\n\n\
        `dra-kubelet-plugin run` serves them at `/metrics` of `--admin-address`, as OpenMetrics. Every metric has \
        the label `driver`, the name of the DRA driver. No label is called `namespace` or `pod`, so that none is \
        renamed when Prometheus attaches its own.\n\n\
        Figures of GPUs are read every ten seconds, never by a scrape; those of a GPU that does not answer are \
        absent.\n\n\
        | Metric | Type | Labels | Meaning |\n|---|---|---|---|\n"
        .to_owned();
    for entry in METRICS {
        let labels: Vec<String> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            page,
            "| `{}` | {} | {} | {}. |",
            entry.name,
            entry.kind.as_str(),
            labels.join(", "),
            entry.help
        )
        .unwrap();
    }
    page.push_str("\n## Reasons of `dra_plugin_errors_total`\n\n| Reason | Meaning |\n|---|---|\n");
    for (reason, meaning) in Reason::ALL {
        writeln!(page, "| `{}` | {meaning} |", reason.as_str()).unwrap();
    }
    page.push_str("\n## States of `dra_node_gpus`\n\n| State | Meaning |\n|---|---|\n");
    for (state, meaning) in [
        (State::Usable, "it can be given to a pod"),
        (State::Faulty, "it has a fault: see `dra_device_fault`"),
        (State::Unusable, "NVML lists it, and it cannot be used: `dra-kubelet-plugin inspect` says why"),
        (State::Unlisted, "the PCI bus has it, and NVML does not list it, or NVML cannot be used at all"),
    ] {
        writeln!(page, "| `{}` | {meaning} |", state.as_str()).unwrap();
    }
    page.push_str("\n## Classes of `dra_device_xid_errors_total`\n\n| Class | Meaning |\n|---|---|\n");
    for (class, meaning) in [
        ("application", "a program failed, or nothing has to be done: the GPU is fit for the next claim"),
        ("reset", "the GPU has to be reset"),
        ("reboot", "the node has to be rebooted"),
        ("unknown", "NVIDIA's catalogue has no advice"),
    ] {
        writeln!(page, "| `{class}` | {meaning} |").unwrap();
    }
    page.push_str(
        "\n## Whose GPU is it?\n\n\
         `dra_device_claim_info` joins a device with the claim and the pod that hold it. How busy the \
         GPUs of each claim are:\n\n\
         ```promql\n\
         dra_device_busy_ratio\n  \
         * on (driver, device, pool) group_left (dra_claim_namespace, dra_claim_name, owner_pod)\n  \
         dra_device_claim_info\n\
         ```\n\n\
         Where several pods share a claim, add `max by (driver, device, pool, dra_claim_namespace, \
         dra_claim_name)` around `dra_device_claim_info`, and leave `owner_pod` out. With dcgm-exporter, join on \
         `uuid` after `label_replace`.\n",
    );
    page
}
