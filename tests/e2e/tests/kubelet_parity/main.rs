//! Every way in which a kubelet and a plugin of dynamic resource allocation deal with each other, on the real
//! kubelet and on the stand-in that the tests of this repository use in its place. Where the two differ, the
//! stand-in is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod claims;
mod failures;
mod registration;
mod restarts;
