//! Holds the controller's allocator against the one in Kubernetes' scheduler: the same cases, the same answers.
//!
//! A seeded generator makes cases , upstream's allocator answers them in a program of its own
//! (`hack/cluster/allocator-oracle`), ours answers them too, and [`answer`] says whether the two are the same. A
//! disagreement is made smaller and kept in `cases/`, where every later run tries it first.

pub mod answer;
pub mod case;
pub mod coverage;
pub mod fleet;
pub mod generate;
pub mod kept;
pub mod known;
mod look;
pub mod ours;
#[cfg(feature = "planted-bugs")]
pub mod plant;
pub mod program;
pub mod run;
pub mod shrink;
