//! Texts. Positions in them count characters.

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::{Function, print};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("contains", contains),
    ("startsWith", starts_with),
    ("endsWith", ends_with),
    ("charAt", char_at),
    ("lowerAscii", lower),
    ("upperAscii", upper),
    ("replace", replace),
    ("split", split),
    ("substring", substring),
    ("trim", trim),
    ("join", join),
    ("strings.quote", quote),
    ("format", print::format),
];

fn two<'s>(arguments: &'s [Value<'_>]) -> Result<(&'s str, &'s str), Fault> {
    match arguments {
        [Value::String(one), Value::String(other)] => Ok((one, other)),
        _ => Err(Fault::no_such_overload()),
    }
}

fn contains<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (text, part) = two(arguments)?;
    budget.work((text.len() + part.len()) as u64 / 16)?;
    Ok(Value::Bool(text.contains(part)))
}

fn starts_with<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    two(arguments).map(|(text, part)| Value::Bool(text.starts_with(part)))
}

fn ends_with<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    two(arguments).map(|(text, part)| Value::Bool(text.ends_with(part)))
}

fn out_of_range(index: i64) -> Fault {
    Fault::new(format!("index out of range: {index}"))
}

/// A position as it may be: within the text or at its end.
fn position(index: i64, count: usize) -> Result<usize, Fault> {
    usize::try_from(index).ok().filter(|index| *index <= count).ok_or_else(|| out_of_range(index))
}

fn char_at<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::String(text), Value::Int(index)] = arguments else { return Err(Fault::no_such_overload()) };
    budget.work(text.len() as u64 / 16)?;
    let at = position(*index, text.chars().count())?;
    Ok(Value::String(text.chars().skip(at).take(1).collect::<String>().into()))
}

fn lower<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::String(text.to_ascii_lowercase().into())),
        _ => Err(Fault::no_such_overload()),
    }
}

fn upper<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::String(text.to_ascii_uppercase().into())),
        _ => Err(Fault::no_such_overload()),
    }
}

fn replace<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (text, old, new, most) = match arguments {
        [Value::String(text), Value::String(old), Value::String(new)] => (text, old, new, usize::MAX),
        [Value::String(text), Value::String(old), Value::String(new), Value::Int(most)] => {
            (text, old, new, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return Err(Fault::no_such_overload()),
    };
    // What comes out may be much longer than what costs are counted by.
    let places = if new.len() > old.len() { text.matches(&**old).count().min(most) } else { 0 };
    budget.work((text.len() as u64 + (places as u64).saturating_mul(new.len() as u64)) / 8)?;
    Ok(Value::String(text.replacen(&**old, new, most).into()))
}

/// The work of making one of many texts: it takes more memory than what it holds.
pub(super) const PART: u64 = 8;

fn split<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (text, separator, most) = match arguments {
        [Value::String(text), Value::String(separator)] => (text, separator, usize::MAX),
        [Value::String(text), Value::String(separator), Value::Int(most)] => {
            (text, separator, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return Err(Fault::no_such_overload()),
    };
    let places = if separator.is_empty() { text.len() } else { text.matches(&**separator).count() };
    budget.work(text.len() as u64 / 16 + PART * (places.min(most) as u64 + 1))?;
    let parts: Vec<Value<'a>> = if most == 0 {
        Vec::new()
    } else if separator.is_empty() {
        // Every character on its own, the rest with the last.
        let mut parts = Vec::new();
        let mut rest: &str = text;
        while let Some(first) = rest.chars().next() {
            if parts.len() + 1 == most {
                break;
            }
            let (part, after) = rest.split_at(first.len_utf8());
            parts.push(Value::string(part));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Value::string(rest));
        }
        parts
    } else {
        text.splitn(most, &**separator).map(Value::string).collect()
    };
    Ok(Value::list(parts))
}

fn substring<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (text, from, to) = match arguments {
        [Value::String(text), Value::Int(from)] => (text, *from, None),
        [Value::String(text), Value::Int(from), Value::Int(to)] => (text, *from, Some(*to)),
        _ => return Err(Fault::no_such_overload()),
    };
    budget.work(text.len() as u64 / 16)?;
    let count = text.chars().count();
    if let Some(to) = to
        && from > to
    {
        return Err(Fault::new(format!("invalid substring range. start: {from}, end: {to}")));
    }
    let from = position(from, count)?;
    let to = to.map_or(Ok(count), |to| position(to, count))?;
    Ok(Value::String(text.chars().skip(from).take(to - from).collect::<String>().into()))
}

fn trim<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::string(text.trim())),
        _ => Err(Fault::no_such_overload()),
    }
}

fn join<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (elements, separator) = match arguments {
        [Value::List(elements)] => (elements, ""),
        [Value::List(elements), Value::String(separator)] => (elements, &**separator),
        _ => return Err(Fault::no_such_overload()),
    };
    let mut joined = String::new();
    for (index, element) in elements.iter().enumerate() {
        let Value::String(text) = element else {
            return Err(Fault::new(format!("join: invalid input: {}", element.shown())));
        };
        budget.work(1 + (separator.len() + text.len()) as u64 / 8)?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
    }
    Ok(Value::String(joined.into()))
}

fn quote<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::String(text)] = arguments else { return Err(Fault::no_such_overload()) };
    budget.work(text.len() as u64 / 8)?;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    Ok(Value::String(quoted.into()))
}

/// Where a text has a part, from an offset on.
pub(super) fn index_of<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (text, part, offset) = match arguments {
        [Value::String(text), Value::String(part)] => (text, part, 0),
        [Value::String(text), Value::String(part), Value::Int(offset)] => (text, part, *offset),
        _ => return Err(Fault::no_such_overload()),
    };
    if part.is_empty() {
        return Ok(Value::Int(offset));
    }
    budget.work(text.len() as u64 / 16)?;
    let offset = usize::try_from(offset).map_err(|_| out_of_range(offset))?;
    let Some((start, _)) = text.char_indices().nth(offset) else { return Ok(Value::Int(-1)) };
    Ok(Value::Int(text[start..].find(&**part).map_or(-1, |found| characters(&text[..start + found]))))
}

/// Where a text has a part last, not beyond an offset.
pub(super) fn last_index_of<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (text, part, offset) = match arguments {
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(offset)] => (text, part, Some(*offset)),
        _ => return Err(Fault::no_such_overload()),
    };
    budget.work(text.len() as u64 / 16)?;
    if part.is_empty() {
        return Ok(Value::Int(offset.unwrap_or_else(|| characters(text))));
    }
    let end = match offset {
        None => text.len(),
        Some(offset) => {
            let offset = usize::try_from(offset).map_err(|_| out_of_range(offset))?;
            let Some((start, _)) = text.char_indices().nth(offset) else { return Ok(Value::Int(-1)) };
            // The part may begin at the offset and reach beyond it.
            let length = part.chars().count();
            text[start..].char_indices().nth(length).map_or(text.len(), |(index, _)| start + index)
        }
    };
    Ok(Value::Int(text[..end].rfind(&**part).map_or(-1, |found| characters(&text[..found]))))
}

fn characters(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}
