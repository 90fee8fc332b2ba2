//! Texts made from a template and values.

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::convert::{double_text, text_of};
use super::time::{duration_text, timestamp_text};

/// How many digits stand behind the point where the template does not say.
const DIGITS: usize = 6;
/// How many may.
const MOST_DIGITS: usize = 1000;

/// A part of a template.
enum Part<'t> {
    Text(&'t str),
    /// What a value is to become, with so many digits.
    Clause(char, Option<usize>),
}

fn parts(template: &str) -> Result<Vec<Part<'_>>, Fault> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        parts.push(Part::Text(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            parts.push(Part::Text("%"));
            rest = after;
            continue;
        }
        let (digits, after) = precision(rest)?;
        let clause = after.chars().next().ok_or_else(|| Fault::new("unexpected end of string"))?;
        if !"sdfebxXo".contains(clause) {
            let message =
                format!("could not parse formatting clause: unrecognized formatting clause \"{clause}\"");
            return Err(Fault::new(message));
        }
        parts.push(Part::Clause(clause, digits));
        rest = &after[clause.len_utf8()..];
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

/// The clauses of a template.
pub(super) fn clauses(template: &str) -> Result<Vec<char>, Fault> {
    let clauses = parts(template)?.into_iter().filter_map(|part| match part {
        Part::Clause(clause, _) => Some(clause),
        Part::Text(_) => None,
    });
    Ok(clauses.collect())
}

/// The template with its clauses (`%s`, `%d`, `%.2f`, ...) replaced by the values.
pub(super) fn format<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::String(template), Value::List(values)] = arguments else {
        return Err(Fault::no_such_overload());
    };
    budget.work(template.len() as u64 / 8)?;
    let mut values = values.iter();
    let mut out = String::new();
    for part in parts(template)? {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Clause(clause, digits) => {
                let value = values
                    .next()
                    .ok_or_else(|| Fault::new("index out of range: too few arguments of format"))?;
                let text = clause_text(clause, digits, value, budget)?;
                budget.work(1 + text.len() as u64 / 8)?;
                out.push_str(&text);
            }
        }
    }
    Ok(Value::String(out.into()))
}

/// The digits that `.3` asks for, and what follows.
fn precision(rest: &str) -> Result<(Option<usize>, &str), Fault> {
    let Some(after) = rest.strip_prefix('.') else { return Ok((None, rest)) };
    let end = after.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(after.len());
    let (digits, after) = after.split_at(end);
    let digits = digits.parse().map_err(|_| Fault::new("error while converting precision to integer"))?;
    if digits > MOST_DIGITS {
        return Err(Fault::new("precision is too large"));
    }
    Ok((Some(digits), after))
}

fn clause_text(
    clause: char,
    digits: Option<usize>,
    value: &Value<'_>,
    budget: &mut Budget,
) -> Result<String, Fault> {
    let refused =
        || Fault::new(format!("error during formatting: %{clause} cannot be used on {}", value.type_name()));
    match clause {
        's' => text(value, budget),
        'd' => decimal(value).ok_or_else(refused),
        'f' => number(value).map(|number| fixed(number, digits.unwrap_or(DIGITS))).ok_or_else(refused),
        'e' => number(value).map(|number| scientific(number, digits.unwrap_or(DIGITS))).ok_or_else(refused),
        'b' => match value {
            Value::Int(number) => Ok(signed(*number, |size| format!("{size:b}"))),
            Value::Uint(number) => Ok(format!("{number:b}")),
            Value::Bool(value) => Ok(if *value { "1" } else { "0" }.to_owned()),
            _ => Err(refused()),
        },
        'o' => match value {
            Value::Int(number) => Ok(signed(*number, |size| format!("{size:o}"))),
            Value::Uint(number) => Ok(format!("{number:o}")),
            _ => Err(refused()),
        },
        _ => {
            let hex = match value {
                Value::Int(number) => signed(*number, |size| format!("{size:x}")),
                Value::Uint(number) => format!("{number:x}"),
                Value::String(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                _ => return Err(refused()),
            };
            Ok(if clause == 'X' { hex.to_uppercase() } else { hex })
        }
    }
}

fn signed(number: i64, size: impl Fn(u64) -> String) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", size(number.unsigned_abs()))
}

fn decimal(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Int(number) => Some(number.to_string()),
        Value::Uint(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A floating point number; some texts are names of such.
fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        Value::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn not_finite(number: f64) -> String {
    match number {
        number if number.is_nan() => "NaN",
        number if number > 0.0 => "∞",
        _ => "-∞",
    }
    .to_owned()
}

/// With the whole part in groups of three digits.
fn fixed(number: f64, digits: usize) -> String {
    if !number.is_finite() {
        return not_finite(number);
    }
    let text = format!("{:.digits$}", number.abs());
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), String::new()), |(whole, fraction)| (whole, format!(".{fraction}")));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if number.is_sign_negative() { "-" } else { "" };
    format!("{sign}{grouped}{fraction}")
}

/// With one digit before the point and six behind it: what the template says of digits is, to upstream, how wide the
/// text is at least.
fn scientific(number: f64, width: usize) -> String {
    if !number.is_finite() {
        return not_finite(number);
    }
    let text = format!("{number:.DIGITS$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    format!("{:>width$}", format!("{mantissa}×10{}", superscript(exponent)))
}

/// The exponent of a power of ten, in small digits.
fn superscript(exponent: i32) -> String {
    let small = |digit: char| match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32(0x2070 + digit.to_digit(10).unwrap_or_default()).unwrap_or(digit),
    };
    let sign = if exponent < 0 { "-" } else { "" };
    format!("{sign}{:02}", exponent.abs()).chars().map(small).collect()
}

/// What `%s` makes of a value.
fn text(value: &Value<'_>, budget: &mut Budget) -> Result<String, Fault> {
    budget.work(1)?;
    match value {
        Value::Null => Ok("null".to_owned()),
        Value::List(elements) => {
            let elements =
                elements.iter().map(|element| inner(element, budget)).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("[{}]", elements.join(", ")))
        }
        map if map.is_map() => {
            let mut entries = Vec::new();
            for (key, value) in map.entries() {
                let shown = match &key {
                    Value::String(key) => format!("{key:?}"),
                    Value::Bool(_) | Value::Int(_) | Value::Uint(_) => key.shown(),
                    other => {
                        return Err(Fault::new(format!(
                            "no formatting function for map key of type {}",
                            other.type_name()
                        )));
                    }
                };
                entries.push((shown, inner(&value, budget)?));
            }
            entries.sort();
            let entries: Vec<String> =
                entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            Ok(format!("{{{}}}", entries.join(", ")))
        }
        Value::String(_)
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Bytes(_)
        | Value::Duration(_)
        | Value::Timestamp(_)
        | Value::Type(_) => text_of(value),
        other => Err(Fault::new(format!(
            "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
            other.type_name()
        ))),
    }
}

/// What a list or a map shows of an element.
fn inner(value: &Value<'_>, budget: &mut Budget) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(format!("{text:?}")),
        Value::Bytes(bytes) => Ok(format!("b{:?}", String::from_utf8_lossy(bytes))),
        Value::Double(number) if number.is_nan() => Ok("\"NaN\"".to_owned()),
        Value::Double(number) if number.is_infinite() => Ok(format!("\"{}\"", double_text(*number))),
        Value::Double(number) => Ok(format!("{number:.DIGITS$}")),
        Value::Duration(duration) => Ok(format!("duration(\"{}\")", duration_text(*duration))),
        Value::Timestamp(timestamp) => Ok(format!("timestamp(\"{}\")", timestamp_text(*timestamp))),
        other => text(other, budget),
    }
}
