//! The safe layer over NVIDIA's management library (NVML).
//!
//! [`library`] finds `libnvidia-ml.so.1` under a driver root, [`session`] loads and initialises it, and every
//! call is made in a [`lane`]: one thread for each GPU, one for the node, one for each event set. [`facts`]
//! asks a GPU everything that the inventory needs, [`pulse`] what changes while it runs, [`events`] waits for
//! news of it.

pub(crate) mod elf;
pub mod events;
pub mod facts;
pub mod lane;
mod ld_cache;
pub mod library;
pub mod pulse;
mod raw;
pub mod reading;
pub(crate) mod rooted;
pub mod session;

pub use raw::{FabricInfo, PciInfo, Text};
