//! What nobody should send: inputs that are made to break the controller, and what must hold for each of them.
//!
//! A [`Target`] takes bytes and panics where the code behind it does what it must not: it panics, recurses without
//! end, contradicts itself. Few inputs of each run with the ordinary tests; `cargo xtask fuzz` runs a million, chosen by
//! what they cover.

#![allow(clippy::expect_used, clippy::panic, reason = "a target tells what it found by panicking")]

mod case;
mod cel;
mod json;
mod quantity;
mod text;

use std::panic;
use std::thread;

use fastrand::Rng;

/// What is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Device selectors.
    Cel,
    /// Quantities.
    Quantity,
    /// Cases as `dra-controller allocate` reads them, spoiled where claims and classes are.
    Claims,
    /// Such cases, spoiled where slices and nodes are.
    Slices,
}

/// The stack of a thread of the controller.
const STACK: usize = 2 << 20;

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cel, Self::Quantity, Self::Claims, Self::Slices];

    /// The name by which it is asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cel => "cel",
            Self::Quantity => "quantity",
            Self::Claims => "claims",
            Self::Slices => "slices",
        }
    }

    /// The target of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Feeds it an input, on a thread with the stack of the controller's.
    ///
    /// # Panics
    /// Where something does not hold that must.
    pub fn run(self, input: &[u8]) {
        let feed = || match self {
            Self::Cel => cel::run(input),
            Self::Quantity => quantity::run(input),
            Self::Claims | Self::Slices => case::run(input),
        };
        thread::scope(|scope| {
            let feeding = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, feed);
            if let Err(found) = feeding.expect("the machine has a thread").join() {
                panic::resume_unwind(found);
            }
        });
    }

    /// Inputs to begin with.
    #[must_use]
    pub fn seeds(self) -> Vec<Vec<u8>> {
        match self {
            Self::Cel => cel::seeds(),
            Self::Quantity => quantity::seeds(),
            Self::Claims | Self::Slices => case::seeds(),
        }
    }

    /// Another input, made from one.
    pub fn mutate(self, input: &[u8], rng: &mut Rng) -> Vec<u8> {
        match self {
            Self::Cel => cel::mutate(input, rng),
            Self::Quantity => quantity::mutate(input, rng),
            Self::Claims => case::mutate(input, &case::CLAIMS, rng),
            Self::Slices => case::mutate(input, &case::SLICES, rng),
        }
    }
}
