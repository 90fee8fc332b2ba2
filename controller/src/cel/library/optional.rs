//! Optional values.

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::Function;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("optional.of", of),
    ("optional.ofNonZeroValue", of_non_zero),
    ("optional.none", none),
    ("value", value),
    ("hasValue", has_value),
    ("first", first),
    ("last", last),
    ("optional.unwrap", unwrap),
    ("unwrapOpt", unwrap),
];

fn of<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    arguments.first().cloned().map(Value::some).ok_or_else(Fault::no_such_overload)
}

fn of_non_zero<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let [value] = arguments else { return Err(Fault::no_such_overload()) };
    Ok(if zero(value) { Value::Optional(None) } else { Value::some(value.clone()) })
}

fn zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Optional(Some(inner)) => zero(inner),
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::Duration(value) => value.is_zero(),
        Value::String(_) | Value::Bytes(_) | Value::List(_) => value.size() == Some(0),
        map if map.is_map() => map.size() == Some(0),
        _ => false,
    }
}

fn none<'a>(_: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    Ok(Value::Optional(None))
}

fn value<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Optional(Some(inner))] => Ok((**inner).clone()),
        [Value::Optional(None)] => Err(Fault::new("optional.none() dereference")),
        _ => Err(Fault::no_such_overload()),
    }
}

fn has_value<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
        _ => Err(Fault::no_such_overload()),
    }
}

fn first<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::List(elements)] => Ok(elements.first().cloned().map_or(Value::Optional(None), Value::some)),
        _ => Err(Fault::no_such_overload()),
    }
}

fn last<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::List(elements)] => Ok(elements.last().cloned().map_or(Value::Optional(None), Value::some)),
        _ => Err(Fault::no_such_overload()),
    }
}

fn unwrap<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::List(elements)] = arguments else { return Err(Fault::no_such_overload()) };
    budget.work(elements.len() as u64)?;
    let mut values = Vec::new();
    for element in elements.iter() {
        match element {
            Value::Optional(Some(inner)) => values.push((**inner).clone()),
            Value::Optional(None) => {}
            other => return Err(Fault::new(format!("value {} is not optional", other.shown()))),
        }
    }
    Ok(Value::list(values))
}
