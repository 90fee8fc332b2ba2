//! `kubectl-dra`: who has which GPU, why claims wait, and what is wrong with an installation.
//!
//! Everything is read with the caller's own rights, whether the controller runs or not.
//!
//! ```text
//! kubeconfig ──▶ connect ──▶ read: lists ──▶ Cluster ──▶ gpus, claims, explain ──▶ table, JSON, YAML
//! manifests ──▶ convert ──▶ manifests
//! ```

pub mod arguments;
pub mod claims;
pub mod connect;
pub mod convert;
pub mod doctor;
pub mod explain;
pub mod gather;
pub mod gpus;
pub mod output;
pub mod read;
pub mod run;
