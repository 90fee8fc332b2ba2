//! The DRA kubelet plugin.
//!
//! ```text
//! node (NVML, sysfs) ──▶ view ──┬──▶ publish ──▶ ResourceSlices
//!                               ├──▶ kubelet: health
//! kubelet: DRA service ──▶ claims ──▶ records, CDI specs
//! ```

pub mod arguments;
pub mod claims;
pub mod driver_files;
pub mod inspect;
pub mod kubelet;
pub mod metrics;
pub mod node;
pub mod owner;
pub mod publish;
pub mod removal;
pub mod run;
pub mod state;
pub mod yielding;
