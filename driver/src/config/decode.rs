//! The configuration kinds, and how they are read.
//!
//! Ours and NVIDIA's `GpuConfig` have the same fields. The field names, texts and defaults of NVIDIA's group are
//! those of `api/nvidia.com/resource/v1beta1` in kubernetes-sigs/dra-driver-nvidia-gpu.

use std::fmt;

use serde_json::Value;

use super::fields::{Fields, Problem, cut, described, list};

/// The API group and version of our own configuration kinds. It does not follow the driver's name: a manifest means
/// the same when the driver is called otherwise.
pub const API_VERSION: &str = "config.eks-hybrid-dra/v1alpha1";

/// The API group and version of NVIDIA's configuration kinds.
pub const NVIDIA_API_VERSION: &str = "resource.nvidia.com/v1beta1";

const PARAMETERS: &str = "opaque.parameters";

/// NVIDIA's kinds for devices that are no whole GPUs.
const OTHER_DEVICES: [(&str, &str); 2] =
    [("MigDeviceConfig", "MIG devices"), ("VfioDeviceConfig", "GPUs passed through to virtual machines")];

/// What the parameters of a configuration are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parameters {
    /// For whole GPUs.
    Gpu(GpuConfig),
    /// For devices that this driver does not have. Its fields are not read.
    Other {
        /// The kind.
        kind: &'static str,
        /// What it is for.
        devices: &'static str,
    },
}

/// How a whole GPU is to be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GpuConfig {
    /// How several processes share it. Absent: as the driver does it by itself.
    pub(super) sharing: Option<Sharing>,
}

/// How several processes share a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// In turns.
    TimeSlicing {
        /// How long a turn is.
        interval: Interval,
    },
    /// At once, by the Multi-Process Service. Its settings are not read: it is refused wherever it would count.
    Mps,
}

/// How long a process has the GPU for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interval {
    /// As the driver chooses.
    Default,
    /// Short.
    Short,
    /// Medium.
    Medium,
    /// Long.
    Long,
}

const INTERVALS: [(&str, Interval); 4] = [
    ("Default", Interval::Default),
    ("Short", Interval::Short),
    ("Medium", Interval::Medium),
    ("Long", Interval::Long),
];

impl fmt::Display for Interval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = INTERVALS.iter().find(|(_, interval)| interval == self).map_or("", |(name, _)| name);
        formatter.write_str(name)
    }
}

#[derive(Clone, Copy)]
enum Strategy {
    TimeSlicing,
    Mps,
}

/// Reads the parameters of a configuration for this driver.
pub(super) fn parameters(value: &Value) -> Result<Parameters, Problem> {
    let wrong = |field: &str, problem| Problem { field: format!("{PARAMETERS}.{field}"), problem };
    let Value::Object(object) = value else {
        let problem = format!("wanted an object with apiVersion and kind, got {}", described(value));
        return Err(Problem { field: PARAMETERS.to_owned(), problem });
    };
    let text = |field: &str, wanted: &str| match object.get(field) {
        Some(Value::String(text)) => Ok(text.as_str()),
        other => {
            let got = described(other.unwrap_or(&Value::Null));
            Err(wrong(field, format!("wanted {wanted}, got {got}")))
        }
    };
    let versions = list(&[API_VERSION, NVIDIA_API_VERSION]);
    let version = text("apiVersion", &versions)?;
    if ![API_VERSION, NVIDIA_API_VERSION].contains(&version) {
        return Err(wrong("apiVersion", format!("wanted {versions}, got {:?}", cut(version))));
    }
    match text("kind", "'GpuConfig'")? {
        "GpuConfig" => gpu_config(value).map(Parameters::Gpu),
        kind if version == NVIDIA_API_VERSION => nvidias(kind).map_err(|problem| wrong("kind", problem)),
        kind => Err(wrong("kind", format!("wanted 'GpuConfig', got {:?}", cut(kind)))),
    }
}

/// NVIDIA's kinds apart from `GpuConfig`.
fn nvidias(kind: &str) -> Result<Parameters, String> {
    if let Some(&(kind, devices)) = OTHER_DEVICES.iter().find(|(known, _)| *known == kind) {
        return Ok(Parameters::Other { kind, devices });
    }
    if kind.starts_with("ComputeDomain") {
        return Err(format!(
            "{} is for the driver compute-domain.nvidia.com, not for this one; name that driver in opaque.driver",
            cut(kind)
        ));
    }
    Err(format!("wanted 'GpuConfig', got {:?}", cut(kind)))
}

fn gpu_config(value: &Value) -> Result<GpuConfig, Problem> {
    let mut fields = Fields::of(PARAMETERS, value, &["apiVersion", "kind", "sharing"])?;
    let sharing = fields.take("sharing").map(|value| sharing(&fields.path("sharing"), &value)).transpose()?;
    Ok(GpuConfig { sharing })
}

fn sharing(path: &str, value: &Value) -> Result<Sharing, Problem> {
    const STRATEGIES: [(&str, Strategy); 2] =
        [("TimeSlicing", Strategy::TimeSlicing), ("MPS", Strategy::Mps)];
    let mut fields = Fields::of(path, value, &["strategy", "timeSlicingConfig", "mpsConfig"])?;
    let Some(strategy) = fields.choice("strategy", &STRATEGIES)? else {
        let problem = "it is missing; wanted 'TimeSlicing', or leave 'sharing' out".to_owned();
        return Err(Problem { field: fields.path("strategy"), problem });
    };
    let (time_slicing, mps) = (fields.take("timeSlicingConfig"), fields.take("mpsConfig"));
    let misplaced = |field: &str, strategy: &str| Problem {
        field: format!("{path}.{field}"),
        problem: format!("it does not go with the strategy {strategy}; remove one of them"),
    };
    match (strategy, time_slicing, mps) {
        (Strategy::TimeSlicing, _, Some(_)) => Err(misplaced("mpsConfig", "TimeSlicing")),
        (Strategy::Mps, Some(_), _) => Err(misplaced("timeSlicingConfig", "MPS")),
        (Strategy::Mps, None, _) => Ok(Sharing::Mps),
        (Strategy::TimeSlicing, None, None) => Ok(Sharing::TimeSlicing { interval: Interval::Default }),
        (Strategy::TimeSlicing, Some(config), None) => {
            let mut fields = Fields::of(&fields.path("timeSlicingConfig"), &config, &["interval"])?;
            let interval = fields.choice("interval", &INTERVALS)?.unwrap_or(Interval::Default);
            Ok(Sharing::TimeSlicing { interval })
        }
    }
}
