//! Quantities: whatever text one is read from, its arithmetic ends in a number, and what it writes is read back.

use dra_driver::quantity::{Format, Quantity};
use fastrand::Rng;

use crate::text::Words;

/// The largest binary number that is read, in billionths.
const LARGEST_BINARY: u128 = (i64::MAX as u128) * 1_000_000_000;

/// What must hold: the texts before and behind a bar are two quantities.
pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (one, other) = text.split_once('|').unwrap_or((&text, "1500m"));
    if let (Ok(one), Ok(other)) = (read(one), read(other)) {
        let (sum, difference) = (one.add(&other), one.sub(&other));
        for result in [sum, difference] {
            is_sound(result);
        }
        assert_eq!(one.cmp(&other), other.cmp(&one).reverse(), "the order of {one} and {other}");
        assert_eq!(one == other, one.cmp(&other).is_eq(), "{one} and {other}");
        assert!(other.sign() < 0 || sum >= one, "{one} + {other} is {sum}");
        assert!(other.sign() < 0 || difference <= one, "{one} - {other} is {difference}");
    }
}

fn read(text: &str) -> Result<Quantity, ()> {
    let quantity: Quantity = text.parse().map_err(|_| ())?;
    is_sound(quantity);
    Ok(quantity)
}

/// What it writes is read back, and its numbers fit each other.
fn is_sound(quantity: Quantity) {
    let written = quantity.to_string();
    let back: Quantity = written.parse().unwrap_or_else(|error| panic!("{written} was written: {error}"));
    // As Kubernetes: a binary number beyond 64 bits can be a sum, and is cut when it is read.
    if quantity.format() != Format::BinarySi || quantity.nanos().unsigned_abs() <= LARGEST_BINARY {
        assert_eq!(back, quantity, "{written} was written");
        assert_eq!(back.to_string(), written, "what is read back is written in the same way");
    }
    assert_eq!(i128::from(quantity.sign()), quantity.nanos().signum(), "{written}");
    assert_eq!(quantity.is_zero(), quantity.sign() == 0, "{written}");
    assert!(quantity.rounded().unsigned_abs() <= quantity.rounded_milli().unsigned_abs(), "{written}");
    assert!(quantity.as_integer().is_none_or(|integer| integer == quantity.rounded()), "{written}");
    assert!(quantity.as_float().is_finite(), "{written}");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub(crate) fn mutate(input: &[u8], rng: &mut Rng) -> Vec<u8> {
    let words = Words {
        texts: TEXTS.iter().map(|text| (*text).to_owned()).collect(),
        words: &["", "-", "+", ".", "e", "E", "n", "u", "m", "k", "M", "G", "T", "P", "i", "|", "0", " "],
        around: &[("0", ""), ("", "0"), ("9", "9"), ("-", ""), ("", "|-1")],
        numbers: &[
            "0",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "170141183460469231731687303715884105727",
            "2147483647",
            "2147483648",
            "000000000001",
        ],
    };
    words.mutate(&String::from_utf8_lossy(input), rng).into_bytes()
}

const TEXTS: &[&str] = &[
    "0",
    "1|1",
    "-1|1",
    "1500m|1.5",
    "80Gi|-80G",
    "1e3|1k",
    "12E6|1E",
    "1.5Ki|1n",
    "0.000000001|1u",
    "0.0000000001|-0.0000000001",
    "-9223372036854775808|-1",
    "9223372036854775807|1",
    "8191Pi|7Ei",
    "7.9999Ei|1m",
    "1e2147483647|-1e2147483647",
    "1e-2147483648|1",
    "1e9223372036854775807|1",
    "+.5|5.",
    "00012.30|1",
    "1e18|1e-9",
    "1Ei|1E",
    "1.0|1000m",
];
