//! Values turned into values of other types.

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::Function;
use super::time::{duration_text, parsed_duration, parsed_timestamp, timestamp_of_seconds, timestamp_text};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("bool", to_bool),
    ("bytes", to_bytes),
    ("double", to_double),
    ("duration", to_duration),
    ("int", to_int),
    ("string", to_string),
    ("timestamp", to_timestamp),
    ("uint", to_uint),
];

fn unconvertible(value: &Value<'_>, to: &str) -> Fault {
    Fault::new(format!("type conversion error from '{}' to '{to}'", value.type_name()))
}

fn to_bool<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Bool(value)] => Ok(Value::Bool(*value)),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => Err(Fault::new(format!("strconv.ParseBool: parsing {text:.40?}: invalid syntax"))),
        },
        _ => Err(Fault::no_such_overload()),
    }
}

fn to_bytes<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Bytes(_)] => Ok(arguments[0].clone()),
        [Value::String(text)] => {
            budget.work(text.len() as u64 / 16)?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

#[allow(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
fn to_double<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Double(value)] => Ok(Value::Double(*value)),
        [Value::Int(value)] => Ok(Value::Double(*value as f64)),
        [Value::Uint(value)] => Ok(Value::Double(*value as f64)),
        [Value::String(text)] => {
            parsed_double(text).map(Value::Double).ok_or_else(|| unconvertible(&arguments[0], "double"))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

/// A floating point number as Go reads it.
fn parsed_double(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    let lower = unsigned.to_ascii_lowercase();
    match lower.as_str() {
        "nan" if unsigned.len() == text.len() => return Some(f64::NAN),
        "inf" | "infinity" => return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => {}
    }
    if !unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte)) {
        return None;
    }
    // Too large a number is an error in Go.
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

fn to_duration<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Duration(value)] => Ok(Value::Duration(*value)),
        [Value::Int(nanoseconds)] => Ok(Value::Duration(jiff::SignedDuration::from_nanos(*nanoseconds))),
        [Value::String(text)] => parsed_duration(text)
            .map(Value::Duration)
            .ok_or_else(|| unconvertible(&arguments[0], "google.protobuf.Duration")),
        _ => Err(Fault::no_such_overload()),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "within the bounds checked")]
fn to_int<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let overflow = || Fault::new("integer overflow");
    match arguments {
        [Value::Int(value)] => Ok(Value::Int(*value)),
        [Value::Uint(value)] => i64::try_from(*value).map(Value::Int).map_err(|_| overflow()),
        [Value::Double(value)] => {
            const BOUND: f64 = 9_223_372_036_854_775_808.0;
            if -BOUND < *value && *value < BOUND { Ok(Value::Int(*value as i64)) } else { Err(overflow()) }
        }
        [Value::Duration(value)] => i64::try_from(value.as_nanos()).map(Value::Int).map_err(|_| overflow()),
        [Value::Timestamp(value)] => {
            Ok(Value::Int(value.as_second() - i64::from(value.subsec_nanosecond() < 0)))
        }
        [Value::String(text)] => {
            text.parse().map(Value::Int).map_err(|_| unconvertible(&arguments[0], "int"))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds checked")]
fn to_uint<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let overflow = || Fault::new("unsigned integer overflow");
    match arguments {
        [Value::Uint(value)] => Ok(Value::Uint(*value)),
        [Value::Int(value)] => u64::try_from(*value).map(Value::Uint).map_err(|_| overflow()),
        [Value::Double(value)] => {
            const BOUND: f64 = 18_446_744_073_709_551_616.0;
            if (0.0..BOUND).contains(value) { Ok(Value::Uint(*value as u64)) } else { Err(overflow()) }
        }
        // Go takes no sign here.
        [Value::String(text)] if !text.starts_with('+') => {
            text.parse().map(Value::Uint).map_err(|_| unconvertible(&arguments[0], "uint"))
        }
        [Value::String(_)] => Err(unconvertible(&arguments[0], "uint")),
        _ => Err(Fault::no_such_overload()),
    }
}

fn to_string<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [value] = arguments else { return Err(Fault::no_such_overload()) };
    budget.work(1)?;
    match value {
        Value::String(_) => Ok(value.clone()),
        Value::Ip(address) => Ok(Value::string(&address.to_string())),
        Value::Cidr(cidr) => Ok(Value::string(&cidr.to_string())),
        Value::Type(_) => Err(Fault::no_such_overload()),
        other => text_of(other).map(|text| Value::string(&text)),
    }
}

/// The text of a value of the language itself.
pub(super) fn text_of(value: &Value<'_>) -> Result<String, Fault> {
    Ok(match value {
        Value::String(text) => text.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        Value::Bytes(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| Fault::new("invalid UTF-8 in bytes, cannot convert to string"))?
            .to_owned(),
        Value::Duration(value) => duration_text(*value),
        Value::Timestamp(value) => timestamp_text(*value),
        Value::Type(name) => name.to_string(),
        _ => return Err(Fault::no_such_overload()),
    })
}

/// The shortest text of a floating point number, as Go's `%g` writes it.
pub(super) fn double_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn to_timestamp<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Timestamp(value)] => Ok(Value::Timestamp(*value)),
        [Value::Int(seconds)] => timestamp_of_seconds(*seconds),
        [Value::String(text)] => parsed_timestamp(text)
            .map(Value::Timestamp)
            .ok_or_else(|| unconvertible(&arguments[0], "google.protobuf.Timestamp")),
        _ => Err(Fault::no_such_overload()),
    }
}
