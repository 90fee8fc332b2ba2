//! A stand-in for the parts of the kubelet that a DRA driver meets, as Kubernetes 1.36 has them
//! (`pkg/kubelet/pluginmanager` and `pkg/kubelet/cm/dra`): plugin registration, preparing and unpreparing of
//! claims, device health, and the deletion of a lost driver's ResourceSlices.
//!
//! ```text
//! registry folder ─▶ watcher ─▶ registration ─▶ plugins ◀── pods: prepare, unprepare ──▶ claims
//!                                                 │ one connection each
//!                                                 ├──▶ health
//!                                                 └──▶ slices: deleted 30 s after the last connection is lost
//! ```
//!
//! No container runs: a prepared pod is answered with the CDI devices that each of its containers would get.

mod calls;
mod claims;
mod connection;
mod error;
mod health;
mod manager;
mod plugins;
mod pods;
mod read_pod;
mod registration;
mod settings;
mod slices;
mod status;
mod task;
mod watcher;

pub use error::{Error, PrepareError, UnprepareError};
pub use health::{DeviceHealth, Health};
pub use manager::{Kubelet, Run};
pub use plugins::Registered;
pub use pods::{AllocationResult, Container, ContainerClaim, Pod, PodClaim, Prepared, PreparedContainer};
pub use read_pod::read_pod;
pub use settings::{Authority, Settings, Timings};
pub use status::Status;
