//! What both of the driver's programs need to run: API client, HTTP servers, admin endpoints, Events, logging,
//! values of flags.

pub mod admin;
pub mod backoff;
pub mod client;
pub mod connections;
pub mod duration;
pub mod events;
pub mod lease;
pub mod logging;
pub mod object_name;
