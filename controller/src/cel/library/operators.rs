//! Operators, and what every value has.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::Function;
use super::time::{checked_duration, checked_timestamp};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("!_", not),
    ("-_", negate),
    ("_+_", add),
    ("_-_", subtract),
    ("_*_", multiply),
    ("_/_", divide),
    ("_%_", modulo),
    ("_<_", less),
    ("_<=_", less_or_equal),
    ("_>_", greater),
    ("_>=_", greater_or_equal),
    ("@in", contains),
    ("size", size),
    ("type", type_of),
    ("dyn", dynamic),
    ("includes", includes),
    ("cel.@mapInsert", inserted),
];

fn overflow() -> Fault {
    Fault::new("integer overflow")
}

fn unsigned_overflow() -> Fault {
    Fault::new("unsigned integer overflow")
}

fn not<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(Fault::no_such_overload()),
    }
}

fn negate<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(value)] => value.checked_neg().map(Value::Int).ok_or_else(overflow),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        [Value::Duration(value)] => value.checked_neg().map(Value::Duration).ok_or_else(overflow),
        _ => Err(Fault::no_such_overload()),
    }
}

pub(super) fn add<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(one), Value::Int(other)] => one.checked_add(*other).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(one), Value::Uint(other)] => {
            one.checked_add(*other).map(Value::Uint).ok_or_else(unsigned_overflow)
        }
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one + other)),
        [Value::String(one), Value::String(other)] => {
            budget.work((one.len() + other.len()) as u64 / 16)?;
            Ok(Value::String([&**one, &**other].concat().into()))
        }
        [Value::Bytes(one), Value::Bytes(other)] => {
            budget.work((one.len() + other.len()) as u64 / 16)?;
            Ok(Value::Bytes([&**one, &**other].concat().into()))
        }
        [Value::List(one), Value::List(other)] => {
            if one.is_empty() {
                return Ok(Value::List(Arc::clone(other)));
            }
            if other.is_empty() {
                return Ok(Value::List(Arc::clone(one)));
            }
            budget.work((one.len() + other.len()) as u64)?;
            Ok(Value::list(one.iter().chain(other.iter()).cloned().collect()))
        }
        [Value::Duration(one), Value::Duration(other)] => checked_duration(one.checked_add(*other)),
        [Value::Timestamp(time), Value::Duration(by)] | [Value::Duration(by), Value::Timestamp(time)] => {
            checked_timestamp(time.checked_add(*by).ok())
        }
        _ => Err(Fault::no_such_overload()),
    }
}

fn subtract<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(one), Value::Int(other)] => one.checked_sub(*other).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(one), Value::Uint(other)] => {
            one.checked_sub(*other).map(Value::Uint).ok_or_else(unsigned_overflow)
        }
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one - other)),
        [Value::Duration(one), Value::Duration(other)] => checked_duration(one.checked_sub(*other)),
        [Value::Timestamp(time), Value::Duration(by)] => checked_timestamp(time.checked_sub(*by).ok()),
        [Value::Timestamp(one), Value::Timestamp(other)] => {
            checked_duration(Some(one.duration_since(*other)))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

fn multiply<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(one), Value::Int(other)] => one.checked_mul(*other).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(one), Value::Uint(other)] => {
            one.checked_mul(*other).map(Value::Uint).ok_or_else(unsigned_overflow)
        }
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one * other)),
        _ => Err(Fault::no_such_overload()),
    }
}

fn divide<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(Fault::new("division by zero"))
        }
        [Value::Int(one), Value::Int(other)] => one.checked_div(*other).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(one), Value::Uint(other)] => Ok(Value::Uint(one / other)),
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one / other)),
        _ => Err(Fault::no_such_overload()),
    }
}

fn modulo<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(Fault::new("modulus by zero"))
        }
        [Value::Int(one), Value::Int(other)] => one.checked_rem(*other).map(Value::Int).ok_or_else(overflow),
        [Value::Uint(one), Value::Uint(other)] => Ok(Value::Uint(one % other)),
        _ => Err(Fault::no_such_overload()),
    }
}

/// The order of the two; `None` for a number that is none, whose comparisons fail.
fn ordered(arguments: &[Value<'_>]) -> Result<Ordering, Fault> {
    let [one, other] = arguments else { return Err(Fault::no_such_overload()) };
    if [one, other].iter().any(|value| matches!(value, Value::Double(number) if number.is_nan())) {
        return Err(Fault::new("NaN values cannot be ordered"));
    }
    one.compare(other).ok_or_else(Fault::no_such_overload)
}

fn less<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    ordered(arguments).map(|order| Value::Bool(order.is_lt()))
}

fn less_or_equal<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    ordered(arguments).map(|order| Value::Bool(order.is_le()))
}

fn greater<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    ordered(arguments).map(|order| Value::Bool(order.is_gt()))
}

fn greater_or_equal<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    ordered(arguments).map(|order| Value::Bool(order.is_ge()))
}

fn contains<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [wanted, Value::List(elements)] => element_is(wanted, elements, budget).map(Value::Bool),
        [wanted, map] if map.is_map() => Ok(Value::Bool(map.entry(wanted).is_some())),
        _ => Err(Fault::no_such_overload()),
    }
}

/// Whether a list has a value; what cannot be compared is not it.
pub(super) fn element_is(
    wanted: &Value<'_>,
    elements: &[Value<'_>],
    budget: &mut Budget,
) -> Result<bool, Fault> {
    for element in elements {
        match budget.equal(wanted, element) {
            Ok(true) => return Ok(true),
            Err(Fault::Exceeded) => return Err(Fault::Exceeded),
            Ok(false) | Err(Fault::Error(_)) => {}
        }
    }
    Ok(false)
}

fn size<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Ip(_) | Value::Cidr(_)] => Err(Fault::no_such_overload()),
        [value] => {
            let size = value.size().ok_or_else(Fault::no_such_overload)?;
            Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

fn type_of<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [value] => Ok(Value::Type(value.type_name().into())),
        _ => Err(Fault::no_such_overload()),
    }
}

fn dynamic<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    arguments.first().cloned().ok_or_else(Fault::no_such_overload)
}

/// The most values that a list attribute has.
const LONGEST_ATTRIBUTE: usize = 48;

fn includes<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::List(elements), wanted] => {
            for (index, element) in elements.iter().enumerate() {
                if index >= LONGEST_ATTRIBUTE {
                    return Err(Fault::new(
                        "'includes' function cannot be applied to lists longer than 48 values",
                    ));
                }
                match budget.equal(element, wanted) {
                    Ok(true) => return Ok(Value::Bool(true)),
                    Err(Fault::Exceeded) => return Err(Fault::Exceeded),
                    Ok(false) | Err(Fault::Error(_)) => {}
                }
            }
            Ok(Value::Bool(false))
        }
        [target, wanted] => match budget.equal(target, wanted) {
            Err(Fault::Exceeded) => Err(Fault::Exceeded),
            outcome => Ok(Value::Bool(outcome.unwrap_or_default())),
        },
        _ => Err(Fault::no_such_overload()),
    }
}

/// A map with one more entry. (Loops that collect a map add to it without a call.)
fn inserted<'a>(_: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    Err(Fault::no_such_overload())
}
