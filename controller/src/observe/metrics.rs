//! The controller's metrics.
//!
//! Every replica shows how it follows the cluster. What is known of the cluster is shown by the one that leads, so that
//! sums over all replicas are right.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::pool::{ClassFigures, PoolFigures};
use crate::index::{Index, Now};
use crate::model::pool::PoolId;

/// Upper bounds of the buckets of explanations, in seconds.
const BUCKETS: [f64; 10] = [0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// What is written for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteResult {
    /// It is there.
    Written,
    /// The API server refused, or did not answer.
    Failed,
    /// What it is about ends, with its namespace.
    Pointless,
}

impl WriteResult {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Written, Self::Failed, Self::Pointless];

    /// The value of the label `result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Failed => "failed",
            Self::Pointless => "pointless",
        }
    }
}

/// How metrics are shown.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many series say which claim has which device, at most.
    pub claim_info_limit: usize,
    /// Whether `dra_pending_claims_total` is shown, which is a gauge in spite of its name.
    pub ordered_names: bool,
}

/// The metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    explanations: Histogram,
    writes: Family<[(&'static str, &'static str); 2], Counter>,
    dropped: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// The metrics of a controller with this index. `clock` tells the time.
    #[must_use]
    pub fn new(
        index: Arc<Mutex<Index>>,
        clock: fn() -> Now,
        options: Options,
        driver: &str,
        version: &str,
    ) -> Self {
        let labels = [("driver".into(), driver.to_owned().into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        let explanations = Histogram::new(BUCKETS);
        registry.register(
            "dra_explain_duration_seconds",
            "Time to find why a pod's claims are not allocated, and what would help",
            explanations.clone(),
        );
        let writes: Family<[(&'static str, &'static str); 2], Counter> = Family::default();
        for result in WriteResult::ALL {
            drop(writes.get_or_create(&[("kind", "event"), ("result", result.as_str())]));
        }
        registry.register("dra_controller_writes", "Objects written to the API server", writes.clone());
        let dropped = Counter::default();
        registry.register(
            "dra_controller_writes_dropped",
            "Writes that were given up because too many waited",
            dropped.clone(),
        );
        let build: Family<[(&'static str, String); 1], Gauge> = Family::default();
        build.get_or_create(&[("version", version.to_owned())]).set(1);
        registry.register(
            "dra_controller_build_info",
            "Always 1; the controller's version is in the label",
            build,
        );
        registry.register_collector(Box::new(Shown { index, clock, options }));
        Self { registry: Arc::new(registry), explanations, writes, dropped }
    }

    /// The registry, for the endpoint that shows it.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// A pod's claims were explained.
    pub fn explained(&self, took: Duration) {
        self.explanations.observe(took.as_secs_f64());
    }

    /// Something was written, or could not be.
    pub fn wrote(&self, kind: &'static str, result: WriteResult) {
        self.writes.get_or_create(&[("kind", kind), ("result", result.as_str())]).inc();
    }

    /// Something was not written because too much waits.
    pub fn dropped(&self) {
        self.dropped.inc();
    }
}

/// What is read from the index with each scrape.
struct Shown {
    index: Arc<Mutex<Index>>,
    clock: fn() -> Now,
    options: Options,
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let index: MutexGuard<'_, Index> = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        follower(&index, &mut encoder)?;
        // Half of a cluster would look like a cluster that shrank.
        if index.leads() && index.is_synced() {
            self.leader(&index, &mut encoder)?;
        }
        Ok(())
    }
}

/// What every replica shows.
fn follower(index: &Index, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let leads = Shape::gauge("dra_controller_leader", "Whether this replica is the one that acts: 1 or 0");
    leads.one(encoder, number(usize::from(index.leads())))?;
    let lines = index.lists().lines();
    let of = |value: fn(&crate::index::Line) -> f64| {
        lines.iter().map(move |line| ([("resource", line.0)], value(line)))
    };
    Shape::gauge("dra_watch_synced", "Whether all objects of a resource have been read: 1 or 0")
        .all(encoder, of(|line| number(usize::from(line.1))))?;
    Shape::gauge("dra_watched_objects", "Objects of a resource that are known")
        .all(encoder, of(|line| number(line.2)))?;
    Shape::counter("dra_watch_errors", "Times that a resource could not be followed")
        .all(encoder, of(|line| number(usize::try_from(line.3).unwrap_or(usize::MAX))))
}

impl Shown {
    fn leader(&self, index: &Index, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for class in index.pools().all().flat_map(|(_, figures)| figures.classes.keys()) {
            index.tallies().know(class);
        }
        histogram(
            encoder,
            "dra_allocation_duration_seconds",
            "Time from when a claim is seen until it is allocated",
            &index.tallies().allocations,
        )?;
        histogram(
            encoder,
            "dra_pod_allocation_duration_seconds",
            "Time from when a pod is seen until the last of its claims is allocated",
            &index.tallies().pods,
        )?;
        let errors = index.tallies().errors();
        Shape::counter("dra_allocation_errors", "Times that a claim came to wait for a reason")
            .all(encoder, errors.map(|(reason, count)| ([("reason", reason.as_str())], count_of(count))))?;
        self.pending(index, encoder)?;
        Shape::gauge(
            "dra_unreserved_claims",
            "Claims that have devices of the driver and that nobody may use",
        )
        .one(encoder, number(index.claims().unreserved()))?;
        pools(index, encoder)?;
        self.info(index, encoder)
    }

    fn pending(&self, index: &Index, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut by_reason: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (_, claim) in index.claims().pending() {
            *by_reason.entry((claim.reason.as_str(), &claim.class)).or_default() += 1;
        }
        let all: usize = by_reason.values().sum();
        Shape::gauge("dra_pending_claims", "Claims that pods wait for, by why they are not allocated").all(
            encoder,
            by_reason.into_iter().map(|((reason, class), count)| {
                ([("reason", reason), ("device_class", class)], number(count))
            }),
        )?;
        if self.options.ordered_names {
            Shape::gauge("dra_pending_claims_total", "Claims that pods wait for")
                .one(encoder, number(all))?;
        }
        let oldest = index.claims().oldest((self.clock)());
        Shape::gauge(
            "dra_oldest_pending_claim_seconds",
            "For how long the oldest claim that a pod waits for is known; 0 if none",
        )
        .one(encoder, oldest.as_secs_f64())
    }

    /// Which claim of which pod has which device.
    fn info(&self, index: &Index, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let cluster = index.cluster();
        let mut left_out = 0;
        let mut lines = Vec::new();
        for (pool, figures) in index.pools().all() {
            // To look at claims that are not shown would take most of the time of a scrape.
            if lines.len() >= self.options.claim_info_limit {
                left_out += figures.held;
                continue;
            }
            for (device, holders) in cluster.holdings().of_pool(pool) {
                let mut told = BTreeSet::new();
                // A claim may have several shares of a device.
                for holder in holders.iter().filter(|holder| told.insert(&holder.claim)) {
                    let room = self.options.claim_info_limit.saturating_sub(lines.len());
                    left_out += usize::from(room == 0);
                    let claim = cluster.claims().get(&holder.claim);
                    let reserved =
                        claim.map(|claim| claim.status.reserved_for.as_slice()).unwrap_or_default();
                    let mut pods: Vec<&str> =
                        reserved.iter().filter(|one| one.is_pod()).map(|pod| &*pod.name).collect();
                    if pods.is_empty() {
                        pods.push("");
                    }
                    let namespace = &*holder.claim.namespace;
                    lines.extend(pods.into_iter().take(room).map(|pod| {
                        [
                            ("node", &*figures.node),
                            ("pool", &*pool.name),
                            ("device", &**device),
                            ("dra_claim_namespace", namespace),
                            ("dra_claim_name", &*holder.claim.name),
                            ("owner_namespace", if pod.is_empty() { "" } else { namespace }),
                            ("owner_pod", pod),
                        ]
                    }));
                }
            }
        }
        Shape::gauge("dra_claim_allocation_info", "Always 1; which claim, of which pod, has the device")
            .all(encoder, lines.into_iter().map(|labels| (labels, 1.0)))?;
        Shape::gauge(
            "dra_claim_allocation_info_left_out",
            "Devices of claims that dra_claim_allocation_info leaves out because there are too many",
        )
        .one(encoder, number(left_out))
    }
}

/// What is measured of the driver's pools.
fn pools(index: &Index, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    type OfClass = (&'static str, &'static str, fn(&ClassFigures) -> f64);
    type OfPool = (&'static str, &'static str, fn(&PoolFigures) -> f64);
    let of_classes: [OfClass; 3] = [
        (
            "dra_resource_utilization_ratio",
            "How much of a class's devices in a pool is allocated, from 0 to 1, by cluster-autoscaler's formula",
            |class| class.utilization,
        ),
        ("dra_allocatable_devices", "Devices of a class in a pool that claims can have, or have", |class| {
            number(class.allocatable)
        }),
        ("dra_allocated_devices", "Devices of a class in a pool that claims have", |class| {
            number(class.allocated)
        }),
    ];
    let all: Vec<(&PoolId, &PoolFigures)> = index.pools().all().collect();
    for (name, help, value) in of_classes {
        let samples = all.iter().flat_map(|(pool, figures)| {
            figures.classes.iter().map(move |(class, of_class)| {
                let labels = [("node", &*figures.node), ("pool", &*pool.name), ("device_class", &**class)];
                (labels, value(of_class))
            })
        });
        Shape::gauge(name, help).all(encoder, samples)?;
    }
    let of_pools: [OfPool; 2] = [
        ("dra_allocatable_memory_bytes", "Memory of all devices in a pool", |pool| pool.memory),
        ("dra_allocated_memory_bytes", "Memory of the devices in a pool that claims have", |pool| {
            pool.memory_allocated
        }),
    ];
    for (name, help, value) in of_pools {
        let samples = index
            .pools()
            .all()
            .map(|(pool, figures)| ([("node", &*figures.node), ("pool", &*pool.name)], value(figures)));
        Shape::gauge(name, help).all(encoder, samples)?;
    }
    Ok(())
}

fn histogram(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    family: &crate::index::Durations,
) -> fmt::Result {
    let help = format!("{help}.");
    family.encode(encoder.encode_descriptor(name, &help, None, MetricType::Histogram)?)
}

/// A metric whose samples are written one by one.
struct Shape {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

impl Shape {
    fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::Gauge }
    }

    fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::Counter }
    }

    /// A metric of one sample.
    fn one(self, encoder: &mut DescriptorEncoder<'_>, value: f64) -> fmt::Result {
        self.all::<[(&str, &str); 0]>(encoder, [([], value)])
    }

    fn all<L: EncodeLabelSet>(
        self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        // As the registry ends them.
        let help = format!("{}.", self.help);
        let mut metric = encoder.encode_descriptor(self.name, &help, None, self.kind)?;
        for (labels, value) in samples {
            let sample = metric.encode_family(&labels)?;
            Self::value(sample, self.kind, value)?;
        }
        Ok(())
    }

    fn value(mut sample: MetricEncoder<'_>, kind: MetricType, value: f64) -> fmt::Result {
        match kind {
            MetricType::Counter => sample.encode_counter::<[(&str, &str); 0], _, f64>(&value, None),
            _ => sample.encode_gauge(&value),
        }
    }
}

/// A number of things, as metrics have it.
fn number(count: usize) -> f64 {
    count_of(u64::try_from(count).unwrap_or(u64::MAX))
}

#[allow(clippy::cast_precision_loss, reason = "nobody counts beyond 2^53 here")]
fn count_of(count: u64) -> f64 {
    count as f64
}
