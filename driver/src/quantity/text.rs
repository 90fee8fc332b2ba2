//! Writing a quantity.

use std::fmt::{Display, Formatter, Result};

use super::amount::{Format, ONE, Quantity};

/// The canonical text, in the quantity's format: no fraction, and the largest suffix that loses nothing.
impl Display for Quantity {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        let nanos = self.nanos();
        if nanos == 0 {
            return formatter.write_str("0");
        }
        match self.format() {
            Format::BinarySi if nanos % ONE == 0 && nanos.abs() >= 1024 * ONE => {
                binary(nanos / ONE, formatter)
            }
            Format::DecimalExponent => {
                let (number, power) = decimal(nanos, usize::MAX);
                if power == 0 { write!(formatter, "{number}") } else { write!(formatter, "{number}e{power}") }
            }
            Format::BinarySi | Format::DecimalSi => {
                const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
                let (number, power) = decimal(nanos, SUFFIXES.len() - 1);
                let suffix = usize::try_from((power + 9) / 3).ok().and_then(|index| SUFFIXES.get(index));
                write!(formatter, "{number}{}", suffix.copied().unwrap_or_default())
            }
        }
    }
}

fn binary(mut number: i128, formatter: &mut Formatter<'_>) -> Result {
    let mut suffix = "";
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
        if number % 1024 != 0 {
            break;
        }
        number /= 1024;
        suffix = next;
    }
    write!(formatter, "{number}{suffix}")
}

/// The number and the largest power of a thousand, within `steps` from a billionth, that leaves it whole.
fn decimal(nanos: i128, steps: usize) -> (i128, i32) {
    let (mut number, mut power, mut taken) = (nanos, -9, 0);
    while taken < steps && number % 1000 == 0 {
        number /= 1000;
        power += 3;
        taken += 1;
    }
    (number, power)
}
