//! What is measured of a cluster, and how it is shown to Prometheus.

pub mod metrics;
pub mod pool;
pub mod utilization;
