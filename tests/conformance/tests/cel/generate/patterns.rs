//! Regular expressions: the language has those of Go, and we run those of another library.

use fastrand::Rng;

use super::super::questions::{Question, device};
use super::pick;

/// What expressions are made of: characters that mean something somewhere.
const PARTS: [&str; 66] = [
    "a",
    "b",
    "c",
    "ä",
    "1",
    " ",
    "-",
    "_",
    ".",
    ".*",
    "*",
    "+",
    "?",
    "??",
    "*?",
    "{2}",
    "{1,2}",
    "{,2}",
    "{2,}",
    "{0}",
    "{40}",
    "{",
    "}",
    "(",
    ")",
    "(?:",
    "(?i)",
    "(?s)",
    "(?-i)",
    "(?U)",
    "(?m:",
    "(?P<x>",
    "(?<y>",
    "|",
    "^",
    "$",
    "[",
    "]",
    "[^",
    "[a-c]",
    "[^a]",
    "[]a]",
    "[a-]",
    "[\\d-",
    "[[:alpha:]]",
    "[[:^digit:]b]",
    "&&",
    "--",
    "~~",
    "\\d",
    "\\D",
    "\\w",
    "\\W",
    "\\s",
    "\\b",
    "\\B",
    "\\A",
    "\\z",
    "\\pL",
    "\\p{Lu}",
    "\\P{^Greek}",
    "\\x61",
    "\\141",
    "\\Qa.",
    "\\E",
    "\\.",
];
const TEXTS: [&str; 10] = ["", "a", "abc", "aab1", "A-B_c", "ä1 b", "aaaa", "a.b\\nc", "[a]", "-&&~~{2}"];

/// A question about a random expression.
pub(crate) fn question(seed: u64) -> Question {
    let mut dice = Rng::with_seed(seed);
    let pattern: String = (0..dice.usize(1..7)).map(|_| pick(&mut dice, &PARTS)).collect();
    let pattern = pattern.replace('\\', "\\\\");
    let (text, size) = (pick(&mut dice, &TEXTS), dice.u8(..3));
    let expression = match dice.u8(..3) {
        0 => format!("\"{text}\".matches(\"{pattern}\")"),
        1 => format!("\"{text}\".find(\"{pattern}\").size() > {size}"),
        _ => format!("\"{text}\".findAll(\"{pattern}\").size() > {size}"),
    };
    Question { name: format!("pattern of seed {seed}"), expression, device: device(false), lists: false }
}
