//! Cases as `dra-controller allocate` reads them: whatever they are, there is one answer, and in time.

use std::sync::LazyLock;
use std::time::Duration;

use conformance::generate;
use dra_controller::allocate;
use dra_controller::cel::Cache;
use fastrand::Rng;
use serde_json::Value;

use crate::json;

/// What an answer may take before it is cancelled.
const LIMIT: Duration = Duration::from_secs(2);
/// How long the text of a case may become, in bytes.
pub(crate) const LONGEST: usize = 256 << 10;
/// How many cases there are to begin with, and how long one of them may be.
const SEEDS: (usize, usize) = (300, 12 << 10);

/// The fields of a case that the target of claims spoils.
pub(crate) const CLAIMS: [&str; 3] = ["claims", "classes", "features"];
/// The fields of a case that the target of slices spoils.
pub(crate) const SLICES: [&str; 5] =
    ["slices", "node", "allocatedDevices", "allocatedSharedDevices", "consumedCapacity"];

/// What the cases before have left: it must make no difference.
static WARM: LazyLock<Cache> = LazyLock::new(Cache::default);

pub(crate) fn run(input: &[u8]) {
    let (cold, warm) = (answer(input, &Cache::default()), answer(input, &WARM));
    let cancelled = |answer: &Value| answer["kind"] == "cancelled";
    assert!(cold == warm || cancelled(&cold) || cancelled(&warm), "{cold}\nand after other cases\n{warm}");
}

/// The answer, without what is random in it.
fn answer(input: &[u8], cache: &Cache) -> Value {
    let answer = serde_json::to_value(allocate::answer(input, cache, LIMIT));
    let mut answer = answer.expect("an answer is JSON");
    let kinds = ["results", "noFit", "error"].iter().filter(|kind| answer.get(kind).is_some()).count();
    assert_eq!(kinds, 1, "an answer is one of three: {answer}");
    // The compiler works on a thread of its own, and reports what happens there.
    let hidden = answer["error"].as_str().is_some_and(|error| error.contains("the compiler panicked"));
    assert!(!hidden, "{answer}");
    let claims = answer.get_mut("results").and_then(Value::as_array_mut).into_iter().flatten();
    for device in claims.filter_map(|claim| claim.pointer_mut("/devices/results")?.as_array_mut()).flatten() {
        device.as_object_mut().map(|device| device.remove("shareID"));
    }
    answer
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let cases = (0..).map(|number| generate::case(7, number).case.line().into_bytes());
    cases.filter(|line| line.len() <= SEEDS.1).take(SEEDS.0).collect()
}

/// Spoils a case in one of these fields, now and then elsewhere, and rarely its text.
pub(crate) fn mutate(input: &[u8], fields: &[&str], rng: &mut Rng) -> Vec<u8> {
    let Ok(mut case) = serde_json::from_slice::<Value>(input) else {
        return damaged(input, rng);
    };
    let before = case.clone();
    for _ in 0..rng.u32(1..4) {
        let due: Vec<&str> = fields.iter().copied().filter(|field| case.get(field).is_some()).collect();
        let elsewhere = due.is_empty() || rng.u32(0..10) == 0;
        let whole = &mut case;
        let spoiled = if elsewhere { whole } else { &mut whole[due[rng.usize(0..due.len())]] };
        json::spoil(spoiled, &before, rng);
    }
    let line = case.to_string().into_bytes();
    let line = if line.len() > LONGEST { input.to_vec() } else { line };
    if rng.u32(0..20) == 0 { damaged(&line, rng) } else { line }
}

/// The text with one byte changed.
fn damaged(text: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut text = text.to_vec();
    if !text.is_empty() {
        let at = rng.usize(0..text.len());
        text[at] = rng.u8(..);
    }
    text
}
