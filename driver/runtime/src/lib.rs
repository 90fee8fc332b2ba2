//! What both of the driver's programs need to run: API client, admin endpoints, metrics registry, Events, logging,
//! values of flags.

pub mod admin;
pub mod client;
pub mod duration;
pub mod events;
pub mod logging;
pub mod object_name;
