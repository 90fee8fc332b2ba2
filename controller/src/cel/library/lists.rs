//! Lists and sets.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::operators::element_is;
use super::{Function, operators, strings};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("slice", slice),
    ("flatten", flatten),
    ("sort", sort),
    ("@sortByAssociatedKeys", sort_by_keys),
    ("lists.range", range),
    ("reverse", reverse),
    ("distinct", distinct),
    ("isSorted", is_sorted),
    ("sum", sum),
    ("max", max),
    ("min", min),
    ("indexOf", index_of),
    ("lastIndexOf", last_index_of),
    ("sets.contains", contains),
    ("sets.equivalent", equivalent),
    ("sets.intersects", intersects),
];

type Elements<'s, 'a> = &'s Arc<Vec<Value<'a>>>;

fn elements<'s, 'a>(argument: Option<&'s Value<'a>>) -> Result<Elements<'s, 'a>, Fault> {
    match argument {
        Some(Value::List(elements)) => Ok(elements),
        _ => Err(Fault::no_such_overload()),
    }
}

fn slice<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::List(elements), Value::Int(from), Value::Int(to)] = arguments else {
        return Err(Fault::no_such_overload());
    };
    let wrong = || Fault::new(format!("cannot slice({from}, {to}), list is length {}", elements.len()));
    let from = usize::try_from(*from).map_err(|_| wrong())?;
    let to = usize::try_from(*to).map_err(|_| wrong())?;
    let part = elements.get(from..to).ok_or_else(wrong)?;
    budget.work(part.len() as u64)?;
    Ok(Value::list(part.to_vec()))
}

fn flatten<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let depth = match arguments.get(1) {
        None => 1,
        Some(Value::Int(depth)) if *depth < 0 => return Err(Fault::new("level must be non-negative")),
        Some(Value::Int(depth)) => *depth,
        Some(_) => return Err(Fault::no_such_overload()),
    };
    let mut flat = Vec::new();
    flatten_into(elements(arguments.first())?, depth, &mut flat, budget)?;
    Ok(Value::list(flat))
}

fn flatten_into<'a>(
    list: &[Value<'a>],
    depth: i64,
    flat: &mut Vec<Value<'a>>,
    budget: &mut Budget,
) -> Result<(), Fault> {
    budget.work(list.len() as u64)?;
    for element in list {
        match element {
            Value::List(inner) if depth > 0 => flatten_into(inner, depth - 1, flat, budget)?,
            other => flat.push(other.clone()),
        }
    }
    Ok(())
}

fn sort<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let list = elements(arguments.first())?;
    sorted(list, list, budget)
}

fn sort_by_keys<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    sorted(elements(arguments.first())?, elements(arguments.get(1))?, budget)
}

/// The list in the order of the keys.
fn sorted<'a>(list: Elements<'_, 'a>, keys: Elements<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    if list.len() != keys.len() {
        return Err(Fault::new("the list and its keys have different sizes"));
    }
    let Some(first) = keys.first() else { return Ok(Value::List(Arc::clone(list))) };
    budget.work(16 * list.len() as u64)?;
    if first.compare(first).is_none() && !matches!(first, Value::Double(_)) {
        return Err(Fault::new("list elements must be comparable"));
    }
    if keys.iter().any(|key| key.type_name() != first.type_name()) {
        return Err(Fault::new("list elements must have the same type"));
    }
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by(|one, other| keys[*one].compare(&keys[*other]).unwrap_or(Ordering::Equal));
    Ok(Value::list(order.into_iter().map(|index| list[index].clone()).collect()))
}

fn range<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::Int(end)] = arguments else { return Err(Fault::no_such_overload()) };
    budget.work(u64::try_from(*end).unwrap_or_default())?;
    Ok(Value::list((0..*end).map(Value::Int).collect()))
}

fn reverse<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let list = elements(arguments.first())?;
    budget.work(list.len() as u64)?;
    Ok(Value::list(list.iter().rev().cloned().collect()))
}

fn distinct<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let list = elements(arguments.first())?;
    let mut unique: Vec<Value<'a>> = Vec::new();
    for element in list.iter() {
        if !element_is(element, &unique, budget)? {
            unique.push(element.clone());
        }
    }
    Ok(Value::list(unique))
}

fn is_sorted<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let list = elements(arguments.first())?;
    budget.work(list.len() as u64)?;
    if let [only] = list.as_slice() {
        only.compare(only).ok_or_else(Fault::no_such_overload)?;
    }
    for pair in list.windows(2) {
        if pair[0].compare(&pair[1]).ok_or_else(Fault::no_such_overload)? == Ordering::Greater {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let list = elements(arguments.first())?;
    budget.work(list.len() as u64)?;
    let Some(mut total) = list.first().cloned() else { return Ok(Value::Int(0)) };
    if !matches!(total, Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_)) {
        return Err(Fault::no_such_overload());
    }
    for element in &list[1..] {
        total = operators::add(&[total, element.clone()], budget)?;
    }
    Ok(total)
}

/// The element that no other is beyond.
fn extreme<'a>(arguments: &[Value<'a>], beyond: Ordering, name: &str, budget: &mut Budget) -> Outcome<'a> {
    let list = elements(arguments.first())?;
    budget.work(list.len() as u64)?;
    let mut found: Option<&Value<'a>> = None;
    for element in list.iter() {
        let order = element.compare(found.unwrap_or(element)).ok_or_else(Fault::no_such_overload)?;
        if found.is_none() || order == beyond {
            found = Some(element);
        }
    }
    found.cloned().ok_or_else(|| Fault::new(format!("{name} called on empty list")))
}

fn max<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    extreme(arguments, Ordering::Greater, "max", budget)
}

fn min<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    extreme(arguments, Ordering::Less, "min", budget)
}

fn position<'a>(found: Option<usize>) -> Outcome<'a> {
    Ok(Value::Int(found.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)))
}

fn index_of<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::List(list), wanted] = arguments else { return strings::index_of(arguments, budget) };
    for (index, element) in list.iter().enumerate() {
        if element_is(wanted, std::slice::from_ref(element), budget)? {
            return position(Some(index));
        }
    }
    position(None)
}

fn last_index_of<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::List(list), wanted] = arguments else { return strings::last_index_of(arguments, budget) };
    for (index, element) in list.iter().enumerate().rev() {
        if element_is(wanted, std::slice::from_ref(element), budget)? {
            return position(Some(index));
        }
    }
    position(None)
}

fn all_in(part: &[Value<'_>], of: &[Value<'_>], budget: &mut Budget) -> Result<bool, Fault> {
    for element in part {
        if !element_is(element, of, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (list, part) = (elements(arguments.first())?, elements(arguments.get(1))?);
    all_in(part, list, budget).map(Value::Bool)
}

fn equivalent<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (one, other) = (elements(arguments.first())?, elements(arguments.get(1))?);
    Ok(Value::Bool(all_in(other, one, budget)? && all_in(one, other, budget)?))
}

fn intersects<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (one, other) = (elements(arguments.first())?, elements(arguments.get(1))?);
    for element in one.iter() {
        if element_is(element, other, budget)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
