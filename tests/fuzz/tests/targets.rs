//! Few inputs for each target, the same ones every time; the long lane has a million others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use fuzz::Target;

/// What one input may take. The machine may be busy.
const GUARD: Duration = Duration::from_secs(60);

/// Feeds inputs, and panics with the first that is not taken or takes too long.
fn feed(target: Target, inputs: impl Iterator<Item = Vec<u8>> + Send + 'static) {
    let (sender, fed) = mpsc::channel();
    let feeding = thread::spawn(move || {
        for input in inputs {
            sender.send(input.clone()).unwrap();
            target.run(&input);
        }
    });
    let mut last = Vec::new();
    loop {
        match fed.recv_timeout(GUARD) {
            Ok(input) => last = input,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} does not end: {}", target.name(), String::from_utf8_lossy(&last))
            }
        }
    }
    assert!(feeding.join().is_ok(), "{}: {}", target.name(), String::from_utf8_lossy(&last));
}

/// Inputs that are made of what the target begins with, and of each other.
fn mutated(target: Target, count: usize) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let (mut rng, mut inputs) = (Rng::with_seed(1), target.seeds());
    std::iter::repeat_with(move || {
        let at = rng.usize(0..inputs.len());
        let input = target.mutate(&inputs[at], &mut rng);
        inputs[at].clone_from(&input);
        input
    })
    .take(count)
}

#[test]
fn whatever_a_selector_is_it_ends() {
    feed(Target::Cel, mutated(Target::Cel, 1_000));
}

#[test]
fn whatever_a_quantity_is_its_numbers_are_sound() {
    feed(Target::Quantity, mutated(Target::Quantity, 10_000));
}

#[test]
fn whatever_stands_in_claims_there_is_an_answer() {
    feed(Target::Claims, mutated(Target::Claims, 500));
}

#[test]
fn whatever_stands_in_slices_there_is_an_answer() {
    feed(Target::Slices, mutated(Target::Slices, 500));
}

/// What was found once: `found/<target>/<what was wrong>`.
#[test]
fn what_was_found_once_is_not_found_again() {
    for target in Target::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("found").join(target.name());
        let Ok(files) = fs::read_dir(&folder) else { continue };
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        feed(target, files.into_iter().map(|file| fs::read(file).unwrap()));
    }
}
