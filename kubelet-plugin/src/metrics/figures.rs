//! The figures of GPUs, in base units.

use std::collections::BTreeMap;

use dra_driver::nvml::pulse::{Figures, RemappedRows};
use dra_driver::nvml::reading::Reading;
use prometheus_client::registry::Registry;

use super::table::{Labels, Table};
use super::{list, of_device};

/// Each figure's metric, what its series have besides the device, and how it is made from NVML's units.
const FIGURES: [(list::Entry, &[Series]); 11] = [
    (list::BUSY, &[(None, |f| value(&f.utilization).map(|percent| f64::from(percent) / 100.0))]),
    (list::MEMORY_USED, &[(None, |f| value(&f.memory).map(|(used, _)| float(used)))]),
    (list::MEMORY_SIZE, &[(None, |f| value(&f.memory).map(|(_, size)| float(size)))]),
    (list::POWER, &[(None, |f| value(&f.power).map(|milliwatts| f64::from(milliwatts) / 1000.0))]),
    (list::TEMPERATURE, &[(None, |f| value(&f.temperature).map(f64::from))]),
    (list::SM_CLOCK, &[(None, |f| value(&f.clock_sm).map(|megahertz| f64::from(megahertz) * 1e6))]),
    (list::ECC_CORRECTED, &[(None, |f| value(&f.ecc_corrected).map(float))]),
    (list::ECC_UNCORRECTED, &[(None, |f| value(&f.ecc_uncorrected).map(float))]),
    (
        list::REMAPPED_ROWS,
        &[
            (Some(("cause", "corrected")), |f| rows(f, |rows| float(rows.corrected))),
            (Some(("cause", "uncorrected")), |f| rows(f, |rows| float(rows.uncorrected))),
        ],
    ),
    (list::REMAP_PENDING, &[(None, |f| rows(f, |rows| f64::from(u8::from(rows.pending))))]),
    (list::REMAP_FAILED, &[(None, |f| rows(f, |rows| f64::from(u8::from(rows.failed))))]),
];

type Series = (Option<(&'static str, &'static str)>, fn(&Figures) -> Option<f64>);

/// The metrics of the figures.
#[derive(Clone, Debug)]
pub(super) struct Tables([(&'static [Series], Table); FIGURES.len()]);

impl Tables {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self(FIGURES.map(|(entry, series)| (series, Table::register(registry, entry))))
    }

    /// Shows the figures of those GPUs that answered, and of no others.
    pub(super) fn show(&self, pool: &str, uuids: &BTreeMap<String, String>, read: &[(String, Figures)]) {
        for (series, table) in &self.0 {
            let mut shown = BTreeMap::new();
            for (device, figures) in read {
                let uuid = uuids.get(device).map_or("", String::as_str);
                for (label, of) in *series {
                    let mut labels: Labels = of_device(device, uuid, pool);
                    labels.extend(label.map(|(name, value)| (name, value.to_owned())));
                    shown.extend(of(figures).map(|value| (labels, value)));
                }
            }
            table.show(shown);
        }
    }
}

fn rows(figures: &Figures, of: fn(RemappedRows) -> f64) -> Option<f64> {
    value(&figures.remapped_rows).map(of)
}

fn value<T: Copy>(reading: &Reading<T>) -> Option<T> {
    reading.value().copied()
}

/// Exact up to 2⁵³, which is more than any GPU has bytes.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
fn float(number: u64) -> f64 {
    number as f64
}
