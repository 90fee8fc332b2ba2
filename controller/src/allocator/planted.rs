//! Bugs that the conformance suite plants, to see that it finds them.
//!
//! The product has none of them: only the feature `planted-bugs`, which nothing that ships turns on, can switch one on.

#[cfg(feature = "planted-bugs")]
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A way to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    expect(unreachable_pub, reason = "only with the feature is it seen from outside")
)]
pub enum Planted {
    /// A constraint remembers its only device after that was taken back.
    RememberedDevice,
    /// A constraint or a configuration that names `request/alternative` is not understood.
    NamesOfAlternatives,
    /// The configuration is that of a request's first alternative, whichever was taken.
    FirstConfiguration,
    /// Devices that are allocated on other nodes take nothing from counters.
    CountersOfOtherNodes,
    /// A toleration's effect is not looked at.
    EffectOfToleration,
    /// A capacity between two steps of its policy becomes the lower one.
    LowerStep,
    /// Pools with binding conditions are not put last.
    OrderOfPools,
    /// Shares that this pod takes of one device are not added up.
    SharesOfOnePod,
    /// An administrator gets no device that another claim of the pod gets.
    AdministratorsOfOnePod,
    /// A requirement of two devices' nodes is written twice.
    RepeatedRequirement,
    /// Shortcuts are taken across devices whose selectors fail.
    ErrorsBehindShortcuts,
    /// A remembered failure does not tell what was left of counters.
    FailuresWithoutCounters,
    /// Devices count as alike though their attributes differ to a constraint.
    AlikeToConstraints,
}

/// The bugs, if there were any.
#[cfg(feature = "planted-bugs")]
impl Planted {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::RememberedDevice,
        Self::NamesOfAlternatives,
        Self::FirstConfiguration,
        Self::CountersOfOtherNodes,
        Self::EffectOfToleration,
        Self::LowerStep,
        Self::OrderOfPools,
        Self::SharesOfOnePod,
        Self::AdministratorsOfOnePod,
        Self::RepeatedRequirement,
        Self::ErrorsBehindShortcuts,
        Self::FailuresWithoutCounters,
        Self::AlikeToConstraints,
    ];
}

/// The number of the bug that is switched on, from one; zero is none.
#[cfg(feature = "planted-bugs")]
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

/// Switches a bug on for the whole process, and all others off.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Planted>) {
    ACTIVE.store(bug.map_or(0, |bug| bug as usize + 1), Ordering::Relaxed);
}

/// Whether shortcuts are taken from the first failure on.
#[cfg(feature = "planted-bugs")]
static IMPATIENT: AtomicBool = AtomicBool::new(false);

/// Lets searches take shortcuts from the first failure on, for the whole process: small cases have few failures.
#[cfg(feature = "planted-bugs")]
pub fn be_impatient(impatient: bool) {
    IMPATIENT.store(impatient, Ordering::Relaxed);
}

/// Whether shortcuts are taken from the first failure on.
#[cfg(feature = "planted-bugs")]
pub(super) fn is_impatient() -> bool {
    IMPATIENT.load(Ordering::Relaxed)
}

/// Whether shortcuts are taken from the first failure on: never.
#[cfg(not(feature = "planted-bugs"))]
pub(super) const fn is_impatient() -> bool {
    false
}

/// Whether a bug is switched on.
#[cfg(feature = "planted-bugs")]
pub(super) fn is(bug: Planted) -> bool {
    ACTIVE.load(Ordering::Relaxed) == bug as usize + 1
}

/// Whether a bug is switched on: never.
#[cfg(not(feature = "planted-bugs"))]
pub(super) const fn is(_: Planted) -> bool {
    false
}
