//! The controller beside a real API server and scheduler: what it says of claims that wait, and that it is true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod controller;
mod metrics;
mod scenarios;
mod scene;
mod tenants;
mod troubles;
