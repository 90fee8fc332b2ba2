//! A target, fed by libFuzzer: it keeps the inputs that reach what none did before, and mutates them further.
//!
//! `cargo xtask fuzz` builds it so that coverage is counted, and says in the environment which target is meant.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use fastrand::Rng;
use fuzz::Target;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// The target that the environment names.
static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("DRA_FUZZ_TARGET").unwrap_or_default();
    Target::named(&name)
        .unwrap_or_else(|| panic!("DRA_FUZZ_TARGET={name:?} is no target: see `cargo xtask fuzz --help`"))
});

/// Writes the inputs to begin with into the folder that the environment names.
fn write_seeds() {
    let Some(folder) = std::env::var_os("DRA_FUZZ_SEEDS") else { return };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder).expect("a folder for seeds");
    for (number, seed) in TARGET.seeds().into_iter().enumerate() {
        fs::write(folder.join(number.to_string()), seed).expect("a place for seeds");
    }
}

fuzz_target!(init: write_seeds(), |input: &[u8]| -> () { TARGET.run(input) });

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rng = Rng::with_seed(seed.into());
    // Mostly what is made for the target, which keeps what is read first in order; now and then any bytes.
    if rng.u32(0..6) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mutated = TARGET.mutate(&data[..size], &mut rng);
    if mutated.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..mutated.len()].copy_from_slice(&mutated);
    mutated.len()
});
