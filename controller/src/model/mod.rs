//! What the controller knows of the cluster, in a slim form.
//!
//! ```text
//! JSON of the API ──▶ object: slices, classes, claims, nodes as they are written, less what nobody here reads
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
pub mod pool;

#[cfg(test)]
mod tests;
