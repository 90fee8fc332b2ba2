//! What both of the driver's programs need to run: API client, admin endpoints, metrics registry, Events, flags, logging.

pub mod admin;
pub mod client;
pub mod events;
pub mod flags;
pub mod logging;
