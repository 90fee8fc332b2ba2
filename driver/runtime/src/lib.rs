//! What both of the driver's programs need to run: API client, HTTP servers, admin endpoints, Events, logging,
//! values of flags.

pub mod admin;
pub mod client;
pub mod connections;
pub mod duration;
pub mod events;
pub mod logging;
pub mod object_name;
