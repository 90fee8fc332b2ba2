//! CDI specs applied to an OCI runtime spec, as a container runtime does it when it creates a container.
//!
//! The rules are those of the Container Device Interface specification 1.1.0, and where it leaves a choice, those
//! of the Go library that containerd 2 and CRI-O use (tags.cncf.io/container-device-interface 1.1.0):
//! `tests/cdi/golden` holds what that library makes of the same input.

mod edits;
mod names;
mod registry;
mod spec;
mod version;

pub use edits::EditError;
pub use names::NameError;
pub use registry::{Error, Registry};
pub use spec::SpecError;
