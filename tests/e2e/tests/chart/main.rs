//! The chart on the real node, from `helm install` to `helm uninstall`.
//!
//! The image has to be there: `cargo xtask image dra-driver --debug --into CLUSTER`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod admission;
mod pods;
mod privileges;
mod release;
mod rights;
mod scene;
mod story;
mod translation;
mod unchanged;
