//! What both of the driver's programs need to run: API client, admin endpoints, metrics registry, Events, logging.

pub mod admin;
pub mod client;
pub mod events;
pub mod logging;
