//! What each panel must show of the scene. The numbers come from the scene and from the fake node's model; of times,
//! which nobody knows beforehand, from the plugin's own counts.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use fake_node::model::Gpu;

use crate::cluster_truth;
use crate::scene::{MEMORY_MIB, Scene};

/// What stands for `$__rate_interval`: longer than the test takes.
pub(crate) const RATE_INTERVAL: &str = "5m";
/// What stands for `$__range`.
pub(crate) const RANGE: &str = "5m";
/// What stands for `$__range` where a sample is taken every second.
pub(crate) const SHORT_RANGE: &str = "10s";

pub(crate) type Labels = BTreeMap<String, String>;
pub(crate) type Bounds = RangeInclusive<f64>;
/// The series of an answer, each with the bounds of its value.
pub(crate) type Truth = BTreeMap<Labels, Bounds>;
/// Dashboard, panel, and the letter of the query.
type Key = (String, String, String);

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn exactly(value: f64) -> Bounds {
    let rounding = value.abs() * 1e-9;
    value - rounding..=value + rounding
}

/// A rate of `count` events. Prometheus extrapolates to the ends of the interval, by a second at most.
pub(crate) fn rate_of(count: f64) -> Bounds {
    count * 0.98 / 300.0..=count * 1.15 / 300.0
}

fn increase_of(count: f64) -> Bounds {
    count * 0.98..=count * 1.15
}

/// A number without labels.
pub(crate) fn number(value: f64) -> Truth {
    BTreeMap::from([(Labels::new(), exactly(value))])
}

pub(crate) fn series<const N: usize>(label: &str, values: [(&str, Bounds); N]) -> Truth {
    values.into_iter().map(|(value, bounds)| (labels(&[(label, value)]), bounds)).collect()
}

/// The truth about all panels.
pub(crate) async fn truth(scene: &Scene) -> BTreeMap<Key, Truth> {
    let metrics = scene.gpus.metrics().await;
    let facts = Facts::of(scene);
    let mut all = BTreeMap::new();
    let mut say = |dashboard: &str, panel: &str, letters: Vec<Truth>| {
        for (letter, truth) in ('A'..).zip(letters) {
            all.insert((dashboard.to_owned(), panel.to_owned(), letter.to_string()), truth);
        }
    };
    fleet(&facts, &mut say);
    claims(&facts, &metrics, &mut say);
    owners(&facts, &mut say);
    node(&facts, &mut say);
    cluster_truth::tell(&facts, &scene.controller.metrics().await, &mut say);
    all
}

/// What is known of the scene.
pub(crate) struct Facts<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) node: String,
    /// The namespaces of the claims `training` and `notebook`.
    pub(crate) owners: [String; 2],
    /// All devices, with their GPUs.
    gpus: Vec<(String, Gpu)>,
    driver: [String; 2],
}

impl<'a> Facts<'a> {
    fn of(scene: &'a Scene) -> Self {
        let state = scene.gpus.fake.state().unwrap();
        let gpus = state.gpus.iter().enumerate().map(|(slot, gpu)| (scene.device(slot), gpu.clone()));
        let cuda = &state.driver.cuda;
        Self {
            scene,
            node: scene.node().to_owned(),
            owners: [scene.gpus.space.name.clone(), scene.other.name.clone()],
            gpus: gpus.collect(),
            driver: [state.driver.version.clone(), format!("{}.{}", cuda.major, cuda.minor)],
        }
    }

    fn sick(&self) -> &str {
        &self.scene.training[0]
    }

    /// The device, its owner and its claim, for each device that is held.
    pub(crate) fn held(&self) -> Vec<(&str, usize, &'static str, &'static str)> {
        let training = self.scene.training.iter().map(|device| (device.as_str(), 0, "training", "train-0"));
        training.chain([(self.scene.notebook.as_str(), 1, "notebook", "jupyter")]).collect()
    }

    fn gpu(&self, device: &str) -> &Gpu {
        &self.gpus.iter().find(|(name, _)| name == device).unwrap().1
    }

    /// One value of each device.
    fn each(&self, value: impl Fn(&str, &Gpu) -> f64) -> Truth {
        let one =
            |(device, gpu): &(String, Gpu)| (labels(&[("device", device)]), exactly(value(device, gpu)));
        self.gpus.iter().map(one).collect()
    }

    /// One value of each owner, summed over the devices that it holds.
    fn by_owner(&self, value: impl Fn(&Gpu) -> f64) -> Truth {
        let sum = |owner: usize| {
            let held = self.held().into_iter().filter(|(_, holder, ..)| *holder == owner);
            held.map(|(device, ..)| value(self.gpu(device))).sum()
        };
        series("owner_namespace", [(&self.owners[0], exactly(sum(0))), (&self.owners[1], exactly(sum(1)))])
    }

    pub(crate) fn on_node(&self, value: f64) -> Truth {
        series("node", [(&self.node, exactly(value))])
    }
}

fn watts(gpu: &Gpu) -> f64 {
    f64::from(gpu.live.power_mw) / 1000.0
}

fn use_of(gpu: &Gpu) -> f64 {
    f64::from(gpu.live.utilization_gpu) / 100.0
}

pub(crate) fn bytes(mib: u64) -> f64 {
    f64::from(u32::try_from(mib).unwrap()) * 1_048_576.0
}

fn memory_of(gpu: &Gpu) -> f64 {
    bytes(gpu.live.processes.iter().map(|process| process.memory_mib).sum())
}

fn fleet(facts: &Facts<'_>, say: &mut impl FnMut(&str, &str, Vec<Truth>)) {
    let mut say = |panel: &str, letters: Vec<Truth>| say("fleet", panel, letters);
    say("GPUs expected", vec![number(8.0)]);
    say("GPUs published", vec![number(8.0)]);
    say("GPUs tainted", vec![number(1.0)]);
    say("GPUs allocated", vec![number(3.0)]);
    say("Share of GPUs allocated", vec![number(0.375)]);
    // Of seven without a taint, two are held.
    say("GPUs still placeable", vec![number(5.0)]);
    // 90, 60 and 0 %.
    say("Use of allocated GPUs", vec![number(0.5)]);
    say("Nodes without the plugin", vec![number(0.0)]);
    let states = [("usable", 7.0), ("faulty", 1.0), ("unusable", 0.0), ("unlisted", 0.0)];
    say("GPUs by state", vec![series("state", states.map(|(state, count)| (state, exactly(count))))]);
    say("Allocated and used", vec![number(3.0), number(1.5)]);
    say("Memory of the GPUs", vec![number(bytes(MEMORY_MIB)), number(bytes(8 * 81_559))]);
    let power = facts.gpus.iter().map(|(_, gpu)| watts(gpu)).sum();
    say("Power", vec![facts.on_node(power)]);
    say("Nodes", [8.0, 7.0, 8.0, 1.0, 3.0].map(|count| facts.on_node(count)).into());
}

fn claims(facts: &Facts<'_>, metrics: &str, say: &mut impl FnMut(&str, &str, Vec<Truth>)) {
    let mut say = |panel: &str, letters: Vec<Truth>| say("claims", panel, letters);
    let took =
        |quantile| quantile_of(metrics, "dra_plugin_prepare_duration_seconds", "total", quantile).unwrap();
    let undone =
        |quantile| quantile_of(metrics, "dra_plugin_unprepare_duration_seconds", "total", quantile).unwrap();
    let one = |bounds: Bounds| BTreeMap::from([(Labels::new(), bounds)]);
    say("Prepared claims", vec![number(2.0)]);
    say("Prepared devices", vec![number(3.0)]);
    // `brief`, `training` and `notebook` were prepared, and `wrong` was not.
    say("Prepares that failed", vec![number(0.25)]);
    let prepared = buckets(metrics, "dra_plugin_prepare_duration_seconds", "total");
    let within = |bound: f64| prepared.iter().find(|(le, _)| *le == bound).unwrap().1;
    assert_eq!(within(f64::INFINITY), 3.0, "three claims were prepared");
    say("Prepares within a second", vec![number(within(1.0) / 3.0)]);
    say("Prepares per second", vec![series("outcome", [("ok", rate_of(3.0)), ("error", rate_of(1.0))])]);
    say("Time to prepare a claim", [0.5, 0.9, 0.99].map(|quantile| one(took(quantile))).into());
    let phases = ["get_claim", "wait", "effects"].into_iter().filter_map(|phase| {
        let bounds = quantile_of(metrics, "dra_plugin_prepare_duration_seconds", phase, 0.99)?;
        Some((labels(&[("phase", phase)]), bounds))
    });
    say("Where the time goes", vec![phases.collect()]);
    say("Time to unprepare a claim", [0.5, 0.99].map(|quantile| one(undone(quantile))).into());
    say("Errors by reason", vec![series("reason", [("config", rate_of(1.0))])]);
    let errors = (labels(&[("node", &facts.node), ("reason", "config")]), increase_of(1.0));
    say("Errors in the time shown", vec![BTreeMap::from([errors])]);
    say("Slowest nodes", vec![series("node", [(&facts.node, took(0.99))])]);
    let devices = facts.held().into_iter().map(|(device, owner, claim, pod)| {
        let labels = labels(&[
            ("dra_claim_namespace", &facts.owners[owner]),
            ("dra_claim_name", claim),
            ("owner_pod", pod),
            ("node", &facts.node),
            ("device", device),
        ]);
        (labels, exactly(1.0))
    });
    say("Prepared claims and their devices", vec![devices.collect()]);
}

fn owners(facts: &Facts<'_>, say: &mut impl FnMut(&str, &str, Vec<Truth>)) {
    let mut say = |panel: &str, letters: Vec<Truth>| say("owners", panel, letters);
    let [training, notebook] = &facts.owners;
    let both = |one: Bounds, other: Bounds| series("owner_namespace", [(training, one), (notebook, other)]);
    let (count, used) = (facts.by_owner(|_| 1.0), facts.by_owner(use_of));
    say("GPUs held by namespace", vec![count.clone()]);
    say("GPUs used by namespace", vec![used.clone()]);
    let share = both(exactly(0.75), exactly(0.0));
    say("Owners now", vec![count, used, share, facts.by_owner(memory_of), facts.by_owner(watts)]);
    let pods = facts.held().into_iter().map(|(device, owner, claim, pod)| {
        let labels = labels(&[
            ("owner_namespace", &facts.owners[owner]),
            ("owner_pod", pod),
            ("dra_claim_name", claim),
            ("node", &facts.node),
            ("device", device),
        ]);
        (labels, exactly(use_of(facts.gpu(device))))
    });
    say("Pods and their GPUs", vec![pods.collect()]);
    // A sample every second for ten seconds, its ends included, and what is a twelfth of an hour for five minutes.
    let hours = |gpus: f64| gpus * 10.0 / 12.0..=gpus * 11.0 / 12.0;
    say("GPU-hours by namespace", vec![both(hours(2.0), hours(1.0))]);
    say("Idle GPU-hours by namespace", vec![both(hours(0.0), hours(1.0))]);
    // 224 vCPUs at 80.23 USD.
    let month = 17_971.52;
    say("Cost per month", vec![number(month)]);
    say("Cost per month of GPUs that nobody holds", vec![number(month * 5.0 / 8.0)]);
    say("Cost per month of idle GPUs", vec![number(month / 8.0)]);
    say("Cost per month by namespace", vec![both(exactly(month / 4.0), exactly(month / 8.0))]);
    say("Cost per month by node", vec![facts.on_node(month)]);
}

fn node(facts: &Facts<'_>, say: &mut impl FnMut(&str, &str, Vec<Truth>)) {
    let mut say = |panel: &str, letters: Vec<Truth>| say("node", panel, letters);
    let (sick, notebook, worn) = (facts.sick(), &facts.scene.notebook, &facts.scene.worn);
    let is = |wanted: bool, value: f64| if wanted { value } else { 0.0 };
    let what = facts.gpus.iter().map(|(device, gpu)| {
        (labels(&[("device", device), ("uuid", &gpu.uuid), ("product", &gpu.board.name)]), exactly(1.0))
    });
    let holders = facts.held().into_iter().map(|(device, owner, claim, _)| {
        let namespace = &facts.owners[owner];
        let labels =
            labels(&[("device", device), ("dra_claim_namespace", namespace), ("dra_claim_name", claim)]);
        (labels, exactly(1.0))
    });
    let use_of_each = facts.each(|_, gpu| use_of(gpu));
    let memory = facts.each(|_, gpu| memory_of(gpu));
    let power = facts.each(|_, gpu| watts(gpu));
    let temperature = facts.each(|_, gpu| f64::from(gpu.live.temperature));
    let last_xid = facts.each(|device, _| is(device == sick, 95.0) + is(device == notebook, 31.0));
    let faults = facts.each(|device, _| is(device == sick, 1.0));
    let columns = [what.collect(), holders.collect(), use_of_each.clone(), memory.clone(), power.clone()];
    say("GPUs", columns.into_iter().chain([temperature.clone(), last_xid, faults]).collect());
    say("GPUs held", vec![number(3.0)]);
    say("GPUs tainted", vec![number(1.0)]);
    say("GPUs not published", vec![number(0.0)]);
    say("XIDs in the time shown", vec![number(3.0)]);
    say("vCPUs", vec![number(224.0)]);
    say("Power", vec![number(facts.gpus.iter().map(|(_, gpu)| watts(gpu)).sum())]);
    say("Utilisation", vec![use_of_each]);
    say("Memory used", vec![memory]);
    say("Power by GPU", vec![power]);
    say("Temperature", vec![temperature]);
    // NVIDIA's figures for the H100 SXM: 1980 MHz at work, 345 MHz at rest.
    let clock = facts.each(|_, gpu| if gpu.live.utilization_gpu > 0 { 1.98e9 } else { 3.45e8 });
    say("SM clock", vec![clock]);
    // Up to four after the first, which makes the series.
    let failed = (labels(&[("call", "pulse"), ("code", "999")]), 0.5 / 300.0..=6.0 / 300.0);
    say("NVML errors", vec![BTreeMap::from([failed])]);
    let uuid = &facts.gpu(sick).uuid;
    let fault = (labels(&[("device", sick), ("uuid", uuid), ("class", "reset")]), exactly(1.0));
    say("Faults", vec![BTreeMap::from([fault])]);
    let xids = [(sick, "reset", 1.0), (notebook.as_str(), "application", 2.0)];
    let xids =
        xids.map(|(device, class, count)| (labels(&[("device", device), ("class", class)]), rate_of(count)));
    say("XIDs", vec![BTreeMap::from(xids)]);
    say("ECC errors", vec![facts.each(|device, _| is(device == worn, 5.0)), facts.each(|_, _| 0.0)]);
    let rows = facts.gpus.iter().flat_map(|(device, _)| {
        let uncorrected = is(device == worn, 3.0);
        [("corrected", 0.0), ("uncorrected", uncorrected)]
            .map(|(cause, count)| (labels(&[("device", device), ("cause", cause)]), exactly(count)))
    });
    let only_worn = series("device", [(worn, exactly(1.0))]);
    say("Remapped rows", vec![rows.collect(), only_worn.clone(), only_worn]);
    let [driver, cuda] = &facts.driver;
    let driver = (labels(&[("version", driver), ("cuda_version", cuda)]), exactly(1.0));
    say("NVIDIA drivers", vec![BTreeMap::from([driver])]);
    let board = &facts.gpu(sick).board;
    let vbios = (labels(&[("product", &board.name), ("vbios_version", &board.vbios)]), exactly(8.0));
    say("VBIOS", vec![BTreeMap::from([vbios])]);
    say("Plugins", vec![series("version", [(env!("CARGO_PKG_VERSION"), exactly(1.0))])]);
}

/// The buckets of what succeeded in a phase: upper bounds, and how many took at most as long.
fn buckets(metrics: &str, metric: &str, phase: &str) -> Vec<(f64, f64)> {
    let start = format!("{metric}_bucket{{");
    let wanted = [format!("phase=\"{phase}\""), "outcome=\"ok\"".to_owned()];
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(&start)?.rsplit_once("} "));
    let lines = lines.filter(|(labels, _)| wanted.iter().all(|label| labels.contains(label)));
    let mut buckets: Vec<(f64, f64)> = lines
        .map(|(labels, count)| {
            let bound = labels.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
            (bound.trim_start_matches('+').parse().unwrap(), count.parse().unwrap())
        })
        .collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    buckets
}

/// Between which bounds a quantile lies; nothing where nothing was counted.
fn quantile_of(metrics: &str, metric: &str, phase: &str, quantile: f64) -> Option<Bounds> {
    let buckets = buckets(metrics, metric, phase);
    let all = buckets.last().expect("the histogram has buckets").1;
    let at = buckets.iter().position(|(_, count)| *count >= quantile * all)?;
    let below = at.checked_sub(1).map_or(0.0, |below| buckets[below].0);
    (all > 0.0).then_some(below..=buckets[at].0)
}
