//! Random choices, by a seed.

use fastrand::Rng;

/// A source of choices; equal seeds choose alike.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Rng);

impl Dice {
    /// The choices of one case: cases are independent of each other, so that each can be made again alone.
    pub(crate) fn of_case(seed: u64, index: u64) -> Self {
        // Rng mixes its seed; the constant only keeps neighbours of two runs apart.
        Self(Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(index)))
    }

    /// True so many times in a hundred.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.0.u32(0..100) < percent
    }

    /// A number from `low` to `high`, both possible.
    pub(crate) fn range(&mut self, low: usize, high: usize) -> usize {
        self.0.usize(low..=high)
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.0.usize(0..from.len())]
    }

    /// Some of them, in their order; each so many times in a hundred.
    pub(crate) fn some<T: Clone>(&mut self, from: &[T], percent: u32) -> Vec<T> {
        from.iter().filter(|_| self.chance(percent)).cloned().collect()
    }

    /// Another order.
    pub(crate) fn shuffle<T>(&mut self, what: &mut [T]) {
        self.0.shuffle(what);
    }
}
