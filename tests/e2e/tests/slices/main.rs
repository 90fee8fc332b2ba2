//! The publisher against a real API server: each test has a driver and a Node of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod faults;
mod publishing;
mod scheduling;
mod stage;
