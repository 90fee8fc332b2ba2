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
//! Everything here is synchronous. Time, paths and the state of the hardware come in as arguments.

pub mod cdi;
pub mod claim;
pub mod config;
pub mod device;
pub mod health;
pub mod inventory;
pub mod node;
pub mod nvml;
pub mod quantity;
