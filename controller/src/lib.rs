//! The part of the DRA driver that runs in the cluster, not on its nodes.

pub mod allocate;
pub mod allocator;
pub mod arguments;
pub mod cel;
pub mod cluster;
pub mod explain;
pub mod index;
pub mod model;
pub mod observe;
pub mod run;
pub mod translate;
pub mod uninstall;
pub mod watch;
pub mod webhook;
