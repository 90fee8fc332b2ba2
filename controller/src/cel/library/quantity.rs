//! Quantities and versions.

use std::cmp::Ordering;
use std::sync::Arc;

use dra_driver::quantity::{Format, Quantity};

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::Function;
use crate::model::attribute::Version;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("quantity", quantity),
    ("isQuantity", is_quantity),
    ("sign", sign),
    ("asApproximateFloat", as_float),
    ("asInteger", as_integer),
    ("isInteger", is_integer),
    ("add", add),
    ("sub", sub),
    ("semver", semver),
    ("isSemver", is_semver),
    ("major", major),
    ("minor", minor),
    ("patch", patch),
    ("isGreaterThan", greater),
    ("isLessThan", less),
    ("compareTo", compare_to),
];

fn quantity<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => {
            text.parse().map(Value::Quantity).map_err(|error| Fault::new(format!("{text:.100}: {error}")))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

fn is_quantity<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
        _ => Err(Fault::no_such_overload()),
    }
}

/// The quantity that an argument is.
fn of(argument: Option<&Value<'_>>) -> Result<Quantity, Fault> {
    match argument {
        Some(Value::Quantity(quantity) | Value::Sum(quantity)) => Ok(*quantity),
        _ => Err(Fault::no_such_overload()),
    }
}

fn sign<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    Ok(Value::Int(of(arguments.first())?.sign()))
}

fn as_float<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    Ok(Value::Double(of(arguments.first())?.as_float()))
}

fn as_integer<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    of(arguments.first())?
        .as_integer()
        .map(Value::Int)
        .ok_or_else(|| Fault::new("cannot convert value to integer"))
}

fn is_integer<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    Ok(Value::Bool(of(arguments.first())?.as_integer().is_some()))
}

/// The second operand of a sum.
fn summand(argument: Option<&Value<'_>>) -> Result<Quantity, Fault> {
    match argument {
        Some(Value::Int(number)) => Ok(Quantity::of_integer(*number, Format::DecimalExponent)),
        other => of(other),
    }
}

fn add<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    Ok(Value::Sum(of(arguments.first())?.add(&summand(arguments.get(1))?)))
}

fn sub<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    Ok(Value::Sum(of(arguments.first())?.sub(&summand(arguments.get(1))?)))
}

/// A version, and whether its text may be short, begin with "v" and have leading zeros.
fn parsed(arguments: &[Value<'_>]) -> Result<Result<Version, Fault>, Fault> {
    let (text, lenient) = match arguments {
        [Value::String(text)] => (text, false),
        [Value::String(text), Value::Bool(lenient)] => (text, *lenient),
        _ => return Err(Fault::no_such_overload()),
    };
    let version = if lenient {
        normalized(text)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Fault::new(format!("{text:.100} is no version")))
    } else {
        text.parse::<Version>().map_err(|error| Fault::new(error.to_string()))
    };
    Ok(version)
}

/// The text of a version made whole: three numbers without leading zeros and without "v".
fn normalized(text: &str) -> Option<String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
    if parts.len() < 3 {
        if parts.last()?.contains(['+', '-']) {
            return None;
        }
        parts.resize(3, "0".to_owned());
    }
    Some(parts.join("."))
}

fn without_zeros(part: &str) -> String {
    if part.len() < 2 {
        return part.to_owned();
    }
    let trimmed = part.trim_start_matches('0');
    if trimmed.starts_with(|first: char| first.is_ascii_digit()) {
        trimmed.to_owned()
    } else {
        format!("0{trimmed}")
    }
}

fn semver<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    parsed(arguments)?.map(|version| Value::Version(Arc::new(version)))
}

fn is_semver<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    Ok(Value::Bool(parsed(arguments)?.is_ok()))
}

fn part<'a>(arguments: &[Value<'a>], of: fn(&Version) -> u64) -> Outcome<'a> {
    match arguments {
        [Value::Version(version)] => Ok(Value::Int(of(version).cast_signed())),
        _ => Err(Fault::no_such_overload()),
    }
}

fn major<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    part(arguments, Version::major)
}

fn minor<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    part(arguments, Version::minor)
}

fn patch<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    part(arguments, Version::patch)
}

fn compared(arguments: &[Value<'_>]) -> Result<Ordering, Fault> {
    match arguments {
        [Value::Version(one), Value::Version(other)] => Ok(one.cmp(other)),
        [one, other] => Ok(of(Some(one))?.cmp(&of(Some(other))?)),
        _ => Err(Fault::no_such_overload()),
    }
}

fn greater<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    compared(arguments).map(|order| Value::Bool(order.is_gt()))
}

fn less<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    compared(arguments).map(|order| Value::Bool(order.is_lt()))
}

fn compare_to<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    compared(arguments).map(|order| Value::Int(order as i64))
}
