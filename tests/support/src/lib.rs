//! What the tests of the driver's programs share.
//!
//! - [`kubelet`]: a stand-in that treats a DRA driver's plugin as the kubelet of Kubernetes 1.36 does, without
//!   containers and without root.

pub mod kubelet;
