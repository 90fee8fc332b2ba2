//! What came of asking NVML for one value.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::nvmlReturn_t;
use serde::Serialize;
use thiserror::Error;

/// The answer to a question to NVML. That a board or a driver does not know a value is an answer too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reading<T> {
    /// The value.
    Value(T),
    /// It was not asked for yet.
    #[default]
    NotRead,
    /// This board has no such thing.
    NotSupported,
    /// This driver's library has no such function.
    NoSymbol,
    /// The call failed.
    Failed(CallError),
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::NotRead | Self::NotSupported | Self::NoSymbol | Self::Failed(_) => None,
        }
    }

    /// The same reading with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Value(value) => Reading::Value(change(value)),
            Self::NotRead => Reading::NotRead,
            Self::NotSupported => Reading::NotSupported,
            Self::NoSymbol => Reading::NoSymbol,
            Self::Failed(error) => Reading::Failed(error),
        }
    }
}

impl<T> From<Result<T, NvmlError>> for Reading<T> {
    fn from(result: Result<T, NvmlError>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(NvmlError::NotSupported) => Self::NotSupported,
            // A library that is older than a function lacks its symbol; some know the symbol and say so.
            Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => Self::NoSymbol,
            Err(error) => Self::Failed(error.into()),
        }
    }
}

/// A call to NVML failed.
#[derive(Clone, Debug, Error, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[error("{text}{}", .code.map(|code| format!(" (NVML {code})")).unwrap_or_default())]
#[serde(rename_all = "camelCase")]
pub struct CallError {
    /// NVML's return code, if the call returned one.
    pub code: Option<nvmlReturn_t>,
    /// What it means.
    pub text: String,
}

impl CallError {
    /// The error of a return code.
    pub fn of_code(code: nvmlReturn_t) -> Self {
        Self { code: Some(code), text: meaning(code).into() }
    }

    /// The GPU fell off the bus or stopped answering.
    pub fn is_gpu_lost(&self) -> bool {
        self.code == Some(code::GPU_IS_LOST)
    }

    /// The kernel driver is not there, or not the one that the session was opened with.
    pub fn is_driver_gone(&self) -> bool {
        matches!(
            self.code,
            Some(code::UNINITIALIZED | code::DRIVER_NOT_LOADED | code::LIB_RM_VERSION_MISMATCH)
        )
    }
}

impl From<NvmlError> for CallError {
    fn from(error: NvmlError) -> Self {
        match error {
            NvmlError::Utf8Error(_)
            | NvmlError::NulError(_)
            | NvmlError::LibloadingError(_)
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::StringTooLong { .. }
            | NvmlError::IncorrectBits(_)
            | NvmlError::SetReleaseFailed
            | NvmlError::GetPciInfoFailed
            | NvmlError::PciInfoToCFailed => Self { code: None, text: error.to_string() },
            coded => Self::of_code(coded.into()),
        }
    }
}

/// The return codes that this driver acts on (`nvmlReturn_t` of nvml.h).
pub mod code {
    use nvml_wrapper_sys::bindings as sys;

    /// There is no session.
    pub const UNINITIALIZED: sys::nvmlReturn_t = sys::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED;
    /// The board has no such thing.
    pub const NOT_SUPPORTED: sys::nvmlReturn_t = sys::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;
    /// A malformed argument.
    pub const INVALID_ARGUMENT: sys::nvmlReturn_t = sys::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
    /// The kernel module is not loaded.
    pub const DRIVER_NOT_LOADED: sys::nvmlReturn_t = sys::nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED;
    /// No event came in time.
    pub const TIMEOUT: sys::nvmlReturn_t = sys::nvmlReturn_enum_NVML_ERROR_TIMEOUT;
    /// The GPU fell off the bus or stopped answering.
    pub const GPU_IS_LOST: sys::nvmlReturn_t = sys::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST;
    /// The GPU needs a reset before it can be used.
    pub const RESET_REQUIRED: sys::nvmlReturn_t = sys::nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED;
    /// Library and kernel module are of different versions.
    pub const LIB_RM_VERSION_MISMATCH: sys::nvmlReturn_t =
        sys::nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    /// The library does not know this version of a structure.
    pub const ARGUMENT_VERSION_MISMATCH: sys::nvmlReturn_t =
        sys::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
}

/// What a return code of `nvmlReturn_t` means, for people.
fn meaning(code: nvmlReturn_t) -> &'static str {
    match code {
        1 => "NVML is not initialised",
        2 => "invalid argument",
        3 => "not supported by this GPU",
        4 => "insufficient permissions",
        6 => "not found",
        7 => "a buffer is too small",
        8 => "the GPU's external power cables are not attached",
        9 => "the NVIDIA kernel driver is not loaded",
        10 => "timed out",
        11 => "the kernel found an interrupt problem with the GPU",
        12 => "NVML could not load a library",
        13 => "this driver does not have the function",
        14 => "the GPU's infoROM is corrupted",
        15 => "the GPU is lost: it fell off the bus or stopped answering",
        16 => "the GPU needs a reset",
        17 => "the operating system blocks access to the GPU (cgroup, permissions of /dev/nvidia*)",
        18 => "library and kernel driver are of different versions",
        19 => "in use by another client",
        20 => "out of memory",
        21 => "no data",
        22 => "not available while ECC is on",
        23 => "insufficient resources",
        24 => "frequency not supported",
        25 => "the library does not know this version of the structure",
        26 => "deprecated by this driver",
        27 => "the system is not ready",
        28 => "no GPU found",
        29 => "the GPU is not in the state that this needs",
        999 => "unknown error inside the driver",
        _ => "unknown return code",
    }
}
