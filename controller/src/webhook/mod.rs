//! `webhook`: mistakes in opaque configurations are told when an object is made, not when its pod waits.

pub mod certificates;
pub mod metrics;
pub mod next;
pub mod review;
pub mod shown;
