//! The value of a quantity and its arithmetic.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// How a quantity is written: it takes part in sums, and in nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `1500m`, `2k`.
    #[default]
    DecimalSi,
    /// `12e6`.
    DecimalExponent,
    /// `80Gi`.
    BinarySi,
}

/// A Kubernetes quantity: an exact number of billionths, with the format in which it is written.
///
/// Two quantities are equal when their numbers are; the format takes no part. Numbers beyond about ±1.7 × 10²⁹, which
/// no device has, all count as that bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    /// Where the API server would hold the number as a 64-bit integer times a power of ten: that power. Only such a
    /// quantity of a power of zero or more is an integer to the API server ("1.0" is not one).
    power: Option<i32>,
}

/// One, in billionths.
pub(super) const ONE: i128 = 1_000_000_000;

impl Quantity {
    pub(super) fn new(nanos: i128, format: Format, power: Option<i32>) -> Self {
        // Both bounds are equally far from zero.
        Self { nanos: nanos.max(-i128::MAX), format, power }
    }

    /// A whole number.
    #[must_use]
    pub fn of_integer(number: i64, format: Format) -> Self {
        Self::new(i128::from(number) * ONE, format, Some(0))
    }

    /// The exact number, in billionths.
    #[must_use]
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// The format in which it is written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The power of ten, where the API server holds the number as a 64-bit integer times one.
    #[must_use]
    pub fn power(&self) -> Option<i32> {
        self.power
    }

    /// Minus one, zero or one.
    #[must_use]
    pub fn sign(&self) -> i64 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// The number as an integer, where the API server holds it as one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        self.power.filter(|power| *power >= 0)?;
        i64::try_from(self.nanos / ONE).ok()
    }

    /// The number rounded away from zero to a whole one. (`resource.Quantity.Value`; what does not fit into 64 bits
    /// becomes the nearest number that does.)
    #[must_use]
    pub fn rounded(&self) -> i64 {
        saturated(away_from_zero(self.nanos, ONE))
    }

    /// The number of thousandths, rounded away from zero. (`resource.Quantity.MilliValue`, within 64 bits as
    /// [`Quantity::rounded`].)
    #[must_use]
    pub fn rounded_milli(&self) -> i64 {
        saturated(away_from_zero(self.nanos, ONE / 1000))
    }

    /// The nearest floating point number or one beside it.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "an approximation is what is asked for")]
    pub fn as_float(&self) -> f64 {
        match self.power.and_then(|power| Some((power, billionths(power)?))) {
            // An integer times a power of ten, multiplied in floating point as upstream does.
            Some((0, unit)) => (self.nanos / unit) as f64,
            Some((power, unit)) => (self.nanos / unit) as f64 * 10_f64.powi(power),
            None if self.nanos % ONE == 0 => (self.nanos / ONE) as f64,
            None => self.nanos as f64 * 10_f64.powi(-9),
        }
    }

    /// The sum. Where `self` is zero, it takes the other's format.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        let nanos = self.nanos.saturating_add(other.nanos);
        Self::new(nanos, format, self.power_of_sum(other, nanos))
    }

    /// The difference. Where `self` is zero, it takes the other's format.
    #[must_use]
    pub fn sub(&self, other: &Self) -> Self {
        let negative = Self::new(other.nanos.saturating_neg(), other.format, other.power);
        self.add(&negative)
    }

    /// The power of ten of a sum that the API server still holds as a 64-bit integer.
    fn power_of_sum(&self, other: &Self, sum: i128) -> Option<i32> {
        let (mine, others) = (self.power?, other.power?);
        if other.is_zero() {
            return Some(mine);
        }
        if self.is_zero() {
            return Some(others);
        }
        let power = mine.min(others);
        let unit = billionths(power)?;
        let fits = |nanos: i128| i64::try_from(nanos / unit).is_ok();
        (fits(self.nanos) && fits(other.nanos) && fits(sum)).then_some(power)
    }
}

/// A power of ten in billionths, where it is within the bound.
fn billionths(power: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(power.checked_add(9)?).ok()?)
}

fn away_from_zero(number: i128, unit: i128) -> i128 {
    number / unit + (number % unit).signum()
}

fn saturated(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
