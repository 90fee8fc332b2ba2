//! The harness of the tests that run inside a node-level test cluster.
//!
//! `cargo xtask cluster exec -- cargo test -p e2e --test pods` runs them; `cargo xtask test` does all of it. Each
//! test has its own namespace and driver name, so they share one cluster and run side by side. A namespace whose
//! test failed stays, to be looked at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness of tests fails by panicking, with a message that says what was waited for"
)]

pub mod api;
pub mod cluster;
pub mod crash;
pub mod gpu;
pub mod node;
pub mod objects;
pub mod plugin;
pub mod prometheus;
pub mod stage;
pub mod transcript;
