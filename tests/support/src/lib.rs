//! What the tests of the driver's programs share.
//!
//! - [`kubelet`]: a stand-in that treats a DRA driver's plugin as the kubelet of Kubernetes 1.36 does, without
//!   containers and without root.
//! - [`cdi`]: applies CDI specs to an OCI runtime spec, as a container runtime does.
//! - [`transport`]: makes the faults of an API server and of the network, and logs the requests of a client.
//! - [`cluster`]: finds the cluster that the tests run in.
//! - [`flags`]: makes the documentation's pages about flags.

pub mod cdi;
pub mod cluster;
pub mod flags;
pub mod kubelet;
pub mod transport;
