//! Reading a quantity.

use std::str::FromStr;

use super::amount::{Format, ONE, Quantity};

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a sign, digits with at most one point, and a suffix.
    #[error("a quantity is a number and an optional suffix, such as \"80Gi\" or \"1500m\"")]
    Form,
    /// The part behind the number means nothing.
    #[error("a quantity ends in one of n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or e and a number")]
    Suffix,
}

/// The number of digits up to which the API server holds a decimal number as a 64-bit integer.
const DIGITS_OF_INTEGER: usize = 18;
/// The largest number of the binary format.
const LARGEST_BINARY: u128 = i64::MAX as u128 * ONE as u128;

/// A suffix: the number is multiplied by ten, or by two, to the power of the exponent.
#[derive(Clone, Copy)]
enum Suffix {
    Decimal { power: i32, format: Format },
    Binary { bits: u32 },
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Form);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, rest) = digits(rest);
        let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
        let suffix = suffix(rest)?;
        let whole = whole.trim_start_matches('0');
        let (magnitude, format, power) = match suffix {
            Suffix::Decimal { power, format } => decimal(whole, fraction, power, format),
            Suffix::Binary { bits } => binary(whole, fraction, bits),
        };
        let nanos = i128::try_from(magnitude).unwrap_or(i128::MAX);
        Ok(Quantity::new(if negative { -nanos } else { nanos }, format, power))
    }
}

/// The digits at the front, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn suffix(text: &str) -> Result<Suffix, ParseError> {
    let letters = text.bytes().position(|byte| !b"eEinumkKMGTP".contains(&byte)).unwrap_or(text.len());
    let signed = text[letters..].strip_prefix(['+', '-']).unwrap_or(&text[letters..]);
    if !digits(signed).1.is_empty() {
        return Err(ParseError::Form);
    }
    let decimal = |power| Ok(Suffix::Decimal { power, format: Format::DecimalSi });
    let binary = |bits| Ok(Suffix::Binary { bits });
    match text {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = text.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
            let exponent: i64 = exponent.parse().map_err(|_| ParseError::Suffix)?;
            // Upstream keeps the low 32 bits.
            let [a, b, c, d, ..] = exponent.to_le_bytes();
            Ok(Suffix::Decimal { power: i32::from_le_bytes([a, b, c, d]), format: Format::DecimalExponent })
        }
    }
}

/// A decimal number of billionths, what is below them rounded up.
fn decimal(whole: &str, fraction: &str, power: i32, format: Format) -> (u128, Format, Option<i32>) {
    let length = whole.len().max(1) + fraction.len();
    let places = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let unit = power.saturating_sub(places);
    let held = (length <= DIGITS_OF_INTEGER && unit >= -9).then_some(unit);
    let number = || whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0');
    let count = number().count();
    if count == 0 {
        return (0, format, held);
    }
    let shift = unit.saturating_add(9);
    let kept = match u32::try_from(shift) {
        Ok(_) => count,
        Err(_) => count.saturating_sub(usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let digits = number()
        .take(kept)
        .try_fold(0_u128, |value, digit| value.checked_mul(10)?.checked_add(u128::from(digit - b'0')));
    let rounded = digits
        .and_then(|value| value.checked_add(u128::from(number().skip(kept).any(|digit| digit != b'0'))));
    let value = rounded.and_then(|value| match u32::try_from(shift) {
        Ok(shift) => value.checked_mul(10_u128.checked_pow(shift)?),
        Err(_) => Some(value),
    });
    // Larger than any 128-bit number: the bound.
    let value = value.unwrap_or(i128::MAX as u128);
    (value, format, held)
}

/// A binary number of billionths, what is below them rounded up, and no more than the largest.
fn binary(whole: &str, fraction: &str, bits: u32) -> (u128, Format, Option<i32>) {
    let factor = (1_u128 << bits) * ONE as u128;
    // The fraction times the factor, digit by digit from the last.
    let (mut carried, mut below) = (0_u128, false);
    for digit in fraction.bytes().rev() {
        let product = u128::from(digit - b'0') * factor + carried;
        below |= !product.is_multiple_of(10);
        carried = product / 10;
    }
    let whole_part = if whole.len() > 19 {
        None
    } else {
        Some(if whole.is_empty() { 0 } else { whole.parse().unwrap_or(0) })
    };
    let value = whole_part
        .and_then(|whole: u128| whole.checked_mul(factor))
        .map_or(LARGEST_BINARY, |value| (value + carried + u128::from(below)).min(LARGEST_BINARY));
    let length = whole.len().max(1);
    // As many digits as upstream lets a binary number have before it leaves 64-bit integers.
    let held = fraction.is_empty() && length + bits as usize * 3 / 10 < 15;
    let format = if !held && 0 < value && value < ONE as u128 { Format::DecimalSi } else { Format::BinarySi };
    (value, format, held.then_some(0))
}
