//! The pure heart of the DRA driver: it knows the hardware and decides, and it talks to no cluster.
//!
//! ```text
//! NVML, sysfs ──▶ nvml (lanes) ──▶ facts ──▶ inventory
//! ```
//!
//! Everything here is synchronous. Time, paths and the state of the hardware come in as arguments.

pub mod inventory;
pub mod nvml;
