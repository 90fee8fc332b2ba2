//! A `libnvidia-ml.so.1` over the model of a GPU node.
//!
//! ```text
//! client ──C ABI──▶ exports ──▶ call (version gate, log, faults, session, handle) ──▶ answers ──▶ fake-node
//! ```
//!
//! `exports` is one table of all functions. `call` does for every call what the real library does before it
//! looks at the arguments, and what only a fake does. `answers` are safe functions over plain data. Raw pointers
//! are touched in `abi` alone.

mod abi;
mod answers;
mod call;
mod exports;
mod place;
mod session;
