//! The one entrance for developers.
fn main() {}
