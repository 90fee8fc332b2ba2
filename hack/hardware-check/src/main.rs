//! Records what a real NVML answers.
fn main() {}
