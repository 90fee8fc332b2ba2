//! The DRA kubelet plugin.
fn main() {}
