//! From parameters and objects of old versions of `resource.k8s.io` to v1.
//!
//! ```text
//! YAML ──▶ text: documents ──▶ convert ──▶ v1 documents, warnings      kubectl-dra convert
//!                                 ▲
//!                             parameters
//!                                 ▼
//! ConfigMaps, by a watch ──▶ live ──▶ ResourceClaimTemplates, DeviceClasses, Events
//! ```

mod convert;
pub mod live;
mod nearest;
mod parameters;
mod pods;
mod text;
mod told;
mod versions;

pub use convert::{ConvertError, Converted, convert};
pub use parameters::{ParameterError, Parameters, Problem, Purpose};
pub use text::SyntaxError;
pub use told::Told;
