//! One answer of NVML or of the kernel, as it is recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::raw::Got;

/// How far a value holds on other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The same on every machine with this board and driver: the fake must say the same.
    Fact,
    /// Belongs to this machine: UUIDs, addresses, what the administrator or the mainboard decides.
    Identity,
    /// Changes while the machine runs: temperatures, counters, settings.
    Volatile,
}

/// A named value and its class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    class: Class,
    name: &'static str,
    value: Value,
}

/// A value that is the same on every machine of the kind.
pub(crate) fn fact(name: &'static str, value: impl Into<Value>) -> Field {
    Field { class: Class::Fact, name, value: value.into() }
}

/// A value of this machine.
pub(crate) fn identity(name: &'static str, value: impl Into<Value>) -> Field {
    Field { class: Class::Identity, name, value: value.into() }
}

/// A value that changes.
pub(crate) fn volatile(name: &'static str, value: impl Into<Value>) -> Field {
    Field { class: Class::Volatile, name, value: value.into() }
}

/// A value of a class that is chosen elsewhere.
pub(crate) fn valued(class: Class, name: &'static str, value: impl Into<Value>) -> Field {
    Field { class, name, value: value.into() }
}

/// Which part of the probe an answer belongs to, in the order of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Section {
    /// NVML before nvmlInit.
    BeforeInit,
    /// nvmlInit and the calls without a GPU.
    System,
    /// The calls for one GPU.
    Gpu,
    /// NVML after the last nvmlShutdown.
    AfterShutdown,
    /// What the kernel and the file system say.
    Files,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Where it belongs.
    pub(crate) section: Section,
    /// NVML's index of the GPU that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) gpu: Option<u32>,
    /// The function with what was special about its arguments, or a path.
    pub(crate) call: String,
    /// The code that was returned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) code: Option<u32>,
    /// Why there is no code: the library lacks the function, or it did not return.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) none: Option<String>,
    /// Values that the fake must answer too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) fact: BTreeMap<String, Value>,
    /// Values of this machine.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) identity: BTreeMap<String, Value>,
    /// Values that change.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) volatile: BTreeMap<String, Value>,
    /// How long the call took, in microseconds: the median of up to five.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) us: Option<u64>,
}

/// In [`Entry::none`]: the library does not have the function.
pub(crate) const NO_SYMBOL: &str = "no symbol";

impl Entry {
    /// An entry without an answer so far.
    pub(crate) fn new(section: Section, gpu: Option<u32>, call: impl Into<String>) -> Self {
        Self {
            section,
            gpu,
            call: call.into(),
            code: None,
            none: None,
            fact: BTreeMap::new(),
            identity: BTreeMap::new(),
            volatile: BTreeMap::new(),
            us: None,
        }
    }

    /// Adds values.
    pub(crate) fn with(mut self, fields: impl IntoIterator<Item = Field>) -> Self {
        for Field { class, name, value } in fields {
            let values = match class {
                Class::Fact => &mut self.fact,
                Class::Identity => &mut self.identity,
                Class::Volatile => &mut self.volatile,
            };
            values.insert(name.to_owned(), value);
        }
        self
    }
}

/// What came of asking: a code or the reason for its absence, and values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// The code; none if the library lacks the function.
    pub(crate) code: Option<u32>,
    /// The values.
    pub(crate) fields: Vec<Field>,
}

impl Asked {
    /// The values if the call succeeded.
    pub(crate) fn on_success<T>(got: Got<T>, read: impl FnOnce(T) -> Vec<Field>) -> Self {
        match got {
            Got::NoSymbol => Self { code: None, fields: Vec::new() },
            Got::Code(0, value) => Self { code: Some(0), fields: read(value) },
            Got::Code(code, _) => Self { code: Some(code), fields: Vec::new() },
        }
    }

    /// The values, whatever the call returned.
    pub(crate) fn always<T>(got: Got<T>, read: impl FnOnce(T) -> Vec<Field>) -> Self {
        match got {
            Got::NoSymbol => Self { code: None, fields: Vec::new() },
            Got::Code(code, value) => Self { code: Some(code), fields: read(value) },
        }
    }
}

/// The code of one of several calls that a step makes, as a value.
pub(crate) fn code_value(code: Option<u32>) -> Value {
    code.map_or_else(|| NO_SYMBOL.to_owned(), code_name).into()
}

/// A code and NVML's name for it, as in nvml.h.
pub(crate) fn code_name(code: u32) -> String {
    const NAMES: [&str; 30] = [
        "SUCCESS",
        "UNINITIALIZED",
        "INVALID_ARGUMENT",
        "NOT_SUPPORTED",
        "NO_PERMISSION",
        "ALREADY_INITIALIZED",
        "NOT_FOUND",
        "INSUFFICIENT_SIZE",
        "INSUFFICIENT_POWER",
        "DRIVER_NOT_LOADED",
        "TIMEOUT",
        "IRQ_ISSUE",
        "LIBRARY_NOT_FOUND",
        "FUNCTION_NOT_FOUND",
        "CORRUPTED_INFOROM",
        "GPU_IS_LOST",
        "RESET_REQUIRED",
        "OPERATING_SYSTEM",
        "LIB_RM_VERSION_MISMATCH",
        "IN_USE",
        "MEMORY",
        "NO_DATA",
        "VGPU_ECC_NOT_SUPPORTED",
        "INSUFFICIENT_RESOURCES",
        "FREQ_NOT_SUPPORTED",
        "ARGUMENT_VERSION_MISMATCH",
        "DEPRECATED",
        "NOT_READY",
        "GPU_NOT_FOUND",
        "INVALID_STATE",
    ];
    match usize::try_from(code).ok().and_then(|index| NAMES.get(index)) {
        Some(name) => format!("{code} {name}"),
        None if code == 999 => "999 UNKNOWN".to_owned(),
        None => code.to_string(),
    }
}
