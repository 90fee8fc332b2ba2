//! Regular expressions.

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::Function;
use super::strings::PART;

pub(super) const FUNCTIONS: &[(&str, Function)] =
    &[("matches", matches), ("find", find), ("findAll", find_all)];

fn matches<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text), Value::String(pattern)] => {
            let pattern = budget.pattern(pattern)?;
            Ok(Value::Bool(pattern.for_text(text, budget)?.is_match(text)))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

fn find<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text), Value::String(pattern)] => {
            let pattern = budget.pattern(pattern)?;
            let regex = pattern.for_text(text, budget)?;
            Ok(Value::string(regex.find(text).map_or("", |found| found.as_str())))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

fn find_all<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (text, pattern, most) = match arguments {
        [Value::String(text), Value::String(pattern)] => (text, pattern, usize::MAX),
        [Value::String(text), Value::String(pattern), Value::Int(most)] => {
            (text, pattern, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return Err(Fault::no_such_overload()),
    };
    let pattern = budget.pattern(pattern)?;
    let regex = pattern.for_text(text, budget)?;
    let mut all = Vec::new();
    for found in regex.find_iter(text).take(most) {
        budget.work(PART)?;
        all.push(Value::string(found.as_str()));
    }
    Ok(Value::list(all))
}
