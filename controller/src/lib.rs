//! The cluster's side of the DRA driver. It runs where there is no GPU.

pub mod arguments;
pub mod uninstall;
