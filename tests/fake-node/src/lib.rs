//! The model of a GPU node, its descriptions, its file layout, and the state file that the fake NVML library
//! reads.
//!
//! ```text
//! description.yaml ──▶ Description ──▶ NodeState ──▶ state file ◀── fake libnvidia-ml.so.1 (any process)
//!                                          │              ▲
//!                                          ▼              └── Node::inject, `fake-node inject`
//!                                     driver root, /proc, /sys
//! ```

pub mod calls;
pub mod description;
pub mod inject;
pub mod layout;
pub mod model;
pub mod node;
pub mod state_file;
pub mod symbols;

pub use description::Description;
pub use inject::Injection;
pub use node::{CreateOptions, Node};
