//! What the controller knows of the cluster, in a slim form.
//!
//! ```text
//! JSON of the API ──▶ object, status, pod: what is written, less what nobody here reads
//!                       │
//!                       ▼
//!                     intern ──▶ pool ──▶ inventory: equal texts, and what equal devices say, are there once
//! ```

pub mod attribute;
pub mod intern;
pub mod inventory;
mod key;
pub mod node;
pub mod object;
pub mod pod;
pub mod pool;
pub mod status;
pub(crate) mod written;

#[cfg(test)]
mod tests;
