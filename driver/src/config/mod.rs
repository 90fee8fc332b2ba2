//! Opaque configuration: what users and DeviceClasses say about how a device is to be set up.
//!
//! [`resolve`] finds for each allocation result the configuration that counts, and turns it into [`Settings`].
//! Configurations of two groups are read: ours ([`API_VERSION`]) and NVIDIA's (`resource.nvidia.com/v1beta1`), so
//! that manifests written for NVIDIA's driver keep their meaning. Decoding is strict: what is not understood is an
//! error, never passed over.

mod decode;
mod fields;
#[cfg(test)]
mod tests;

use k8s_openapi::api::resource::v1::DeviceAllocationConfiguration;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

pub use decode::{API_VERSION, NVIDIA_API_VERSION};
use decode::{GpuConfig, Parameters, Sharing};
pub use fields::Problem;

/// An allocation result that wants settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The request that it was allocated for: "main", or "main/sub" of a firstAvailable request.
    pub request: String,
}

/// How a device is set up for a claim. Default: the device as it is, for this claim alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{origin}, status.allocation.devices.config[{index}].{field}: {problem}")]
pub struct Error {
    /// Its place in the claim's `status.allocation.devices.config`, from 0.
    pub index: usize,
    /// Where it was written, for people: "configuration of the claim".
    pub origin: &'static str,
    /// The path of the field below the entry, such as "opaque.parameters.sharing.strategy".
    pub field: String,
    /// What is wrong there, and what to do.
    pub problem: String,
}

/// Who wrote a configuration. The later one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Class,
    Claim,
}

/// A configuration for this driver, with its place in the allocation.
struct Entry<'a> {
    index: usize,
    source: Source,
    requests: &'a [String],
    parameters: Parameters,
}

/// Finds the settings of each result, in the order given.
///
/// For each result the last configuration counts that names its request, or that names no requests and is for whole
/// GPUs; those of the claim come after those of its classes, and it replaces the others as a whole. A configuration
/// that names a request with sub-requests is for all of them. Configurations of other drivers are not looked at;
/// those of this driver are all read, also where none of the results uses them.
///
/// # Errors
/// The first configuration that cannot be read, or that a result wants and this driver cannot carry out.
pub fn resolve(
    driver: &str,
    results: &[Target],
    configs: &[DeviceAllocationConfiguration],
) -> Result<Vec<Settings>, Error> {
    let mut entries = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        entries.extend(entry(driver, index, config)?);
    }
    // Stable: within a source the allocation's order stays.
    entries.sort_by_key(|entry| entry.source);
    results.iter().map(|target| settings(target, &entries)).collect()
}

/// Reads the parameters of a configuration for this driver before any device is allocated, as strictly as [`resolve`].
/// What comes back is what a device that wants the configuration could not get, if there is such a thing.
///
/// # Errors
/// What keeps every claim that has the configuration from being prepared.
pub fn review(parameters: &Value) -> Result<Option<Problem>, Problem> {
    match decode::parameters(parameters)? {
        Parameters::Gpu(config) => Ok(carried_out(&config).err()),
        Parameters::Other { .. } => Ok(None),
    }
}

/// Reads a configuration. None if it is another driver's.
fn entry<'a>(
    driver: &str,
    index: usize,
    config: &'a DeviceAllocationConfiguration,
) -> Result<Option<Entry<'a>>, Error> {
    let error =
        |origin, field: &str, problem: String| Error { index, origin, field: field.to_owned(), problem };
    let Some(opaque) = &config.opaque else {
        let problem = "the kind of this configuration is not known to this driver; use 'opaque'".to_owned();
        return Err(error("configuration of the claim or its DeviceClass", "opaque", problem));
    };
    if opaque.driver != driver {
        return Ok(None);
    }
    let source = match config.source.as_str() {
        "FromClass" => Source::Class,
        "FromClaim" => Source::Claim,
        other => {
            let problem = format!("{other:?} is neither FromClass nor FromClaim; upgrade this driver");
            return Err(error("configuration of the claim or its DeviceClass", "source", problem));
        }
    };
    let parameters = decode::parameters(&opaque.parameters.0)
        .map_err(|Problem { field, problem }| error(source.origin(), &field, problem))?;
    Ok(Some(Entry { index, source, requests: config.requests.as_deref().unwrap_or_default(), parameters }))
}

fn settings(target: &Target, entries: &[Entry<'_>]) -> Result<Settings, Error> {
    for entry in entries.iter().rev() {
        match (&entry.parameters, entry.names(target)) {
            (Parameters::Gpu(config), Some(_)) => {
                return carried_out(config).map_err(|Problem { field, problem }| entry.error(field, problem));
            }
            (Parameters::Other { kind, devices }, Some(true)) => {
                let problem = format!(
                    "{kind} is for {devices}, but request {:?} was given a whole GPU; use GpuConfig, or name only \
                     requests for {devices} in 'requests'",
                    target.request
                );
                return Err(entry.error("opaque.parameters.kind".to_owned(), problem));
            }
            (Parameters::Other { .. }, Some(false)) | (_, None) => {}
        }
    }
    Ok(Settings::default())
}

impl Source {
    fn origin(self) -> &'static str {
        match self {
            Self::Class => "configuration of the DeviceClass",
            Self::Claim => "configuration of the claim",
        }
    }
}

impl Entry<'_> {
    /// Whether it is for a result: by name (true), or because it names no requests (false).
    fn names(&self, target: &Target) -> Option<bool> {
        if self.requests.is_empty() {
            return Some(false);
        }
        let main = target.request.split_once('/').map(|(main, _)| main);
        let named = |name: &String| *name == target.request || Some(name.as_str()) == main;
        self.requests.iter().any(named).then_some(true)
    }

    fn error(&self, field: String, problem: String) -> Error {
        Error { index: self.index, origin: self.source.origin(), field, problem }
    }
}

/// The settings that a configuration asks for, if this driver can make them.
fn carried_out(config: &GpuConfig) -> Result<Settings, Problem> {
    let remedy = "leave 'sharing' out, or use strategy TimeSlicing with interval Default";
    match config.sharing {
        None | Some(Sharing::TimeSlicing { interval: decode::Interval::Default }) => Ok(Settings {}),
        Some(Sharing::TimeSlicing { interval }) => Err(Problem {
            field: "opaque.parameters.sharing.timeSlicingConfig.interval".to_owned(),
            problem: format!("the interval {interval} is not supported yet; {remedy}"),
        }),
        Some(Sharing::Mps) => Err(Problem {
            field: "opaque.parameters.sharing.strategy".to_owned(),
            problem: format!("the strategy MPS is not supported yet; {remedy}"),
        }),
    }
}
