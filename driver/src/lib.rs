//! The pure heart of the DRA driver: it knows the hardware and decides, and it talks to no cluster.
//!
//! ```text
//! NVML, sysfs ──▶ nvml (lanes) ──▶ facts ──▶ inventory ──┐
//! NVML events ──▶ health: faults ────────────────────────┴──▶ node view ──▶ device: pool, slices
//!                                                               │
//! ResourceClaim ──▶ claim: allocation ──▶ plan ──▶ next effect ◀┘──▶ cdi: edits, specs
//!                     └── config ──▶ settings ──┘
//! ```
//!
//! Without the feature `node` there are [`config`] and [`quantity`] alone: what programs need that run elsewhere.
//!
//! Everything here is synchronous. Time, paths and the state of the hardware come in as arguments.

#[cfg(feature = "node")]
pub mod cdi;
#[cfg(feature = "node")]
pub mod claim;
pub mod config;
#[cfg(feature = "node")]
pub mod device;
#[cfg(feature = "node")]
pub mod health;
#[cfg(feature = "node")]
pub mod inventory;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "node")]
pub mod nvml;
pub mod quantity;
