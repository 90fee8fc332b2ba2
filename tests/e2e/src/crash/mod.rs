//! Killing a program from outside, at each thing that it does to the world: a file, a request, a call to NVML.
//!
//! One run records what the program does; then each of the recorded points is hit once, in a run of its own.

pub mod files;
pub mod requests;
pub mod scene;
