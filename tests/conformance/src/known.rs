//! Upstream's known bugs: where it is wrong, ours must differ. Each has a named case in `cases/known`, too.

use crate::answer::Answer;
use crate::case::Case;

/// A bug of upstream's allocator, in the release that is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KnownBug {
    /// A distinctAttribute constraint remembers one value for each request, so devices of one request, beyond the last
    /// chosen, are not compared.
    DistinctOfOneRequest,
    /// A matchAttribute constraint over lists keeps what devices had in common that were taken back.
    ListsOfTakenBackDevices,
    /// Counters of two pools of one name, of two drivers, are taken for the same.
    CountersOfEqualPoolNames,
}

/// The bug that explains why two answers differ, if one does.
pub fn bug(_case: &Case, _ours: &Answer, _upstream: &Answer) -> Option<KnownBug> {
    None
}
