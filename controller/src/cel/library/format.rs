//! Kubernetes' named formats.

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::{Function, url};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("format.dns1123Label", |_, _| Ok(Value::Format(NamedFormat::Dns1123Label))),
    ("format.dns1123Subdomain", |_, _| Ok(Value::Format(NamedFormat::Dns1123Subdomain))),
    ("format.dns1035Label", |_, _| Ok(Value::Format(NamedFormat::Dns1035Label))),
    ("format.qualifiedName", |_, _| Ok(Value::Format(NamedFormat::QualifiedName))),
    ("format.dns1123LabelPrefix", |_, _| Ok(Value::Format(NamedFormat::Dns1123LabelPrefix))),
    ("format.dns1123SubdomainPrefix", |_, _| Ok(Value::Format(NamedFormat::Dns1123SubdomainPrefix))),
    ("format.dns1035LabelPrefix", |_, _| Ok(Value::Format(NamedFormat::Dns1035LabelPrefix))),
    ("format.labelValue", |_, _| Ok(Value::Format(NamedFormat::LabelValue))),
    ("format.uri", |_, _| Ok(Value::Format(NamedFormat::Uri))),
    ("format.uuid", |_, _| Ok(Value::Format(NamedFormat::Uuid))),
    ("format.byte", |_, _| Ok(Value::Format(NamedFormat::Byte))),
    ("format.date", |_, _| Ok(Value::Format(NamedFormat::Date))),
    ("format.datetime", |_, _| Ok(Value::Format(NamedFormat::DateTime))),
    ("format.named", named),
    ("validate", validate),
];

/// A format that a text may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum NamedFormat {
    Dns1123Label,
    Dns1123Subdomain,
    Dns1035Label,
    QualifiedName,
    Dns1123LabelPrefix,
    Dns1123SubdomainPrefix,
    Dns1035LabelPrefix,
    LabelValue,
    Uri,
    Uuid,
    Byte,
    Date,
    DateTime,
}

/// How long the pattern is taken to be when costs are counted.
pub(in super::super) fn pattern_size(of: NamedFormat) -> u64 {
    match of {
        NamedFormat::Dns1123Label
        | NamedFormat::Dns1035Label
        | NamedFormat::Dns1123LabelPrefix
        | NamedFormat::Dns1035LabelPrefix => 30,
        NamedFormat::Dns1123Subdomain | NamedFormat::Dns1123SubdomainPrefix | NamedFormat::QualifiedName => {
            60
        }
        NamedFormat::LabelValue => 40,
        NamedFormat::Uri => 1103,
        NamedFormat::Uuid => 70,
        NamedFormat::Byte => 84,
        NamedFormat::Date | NamedFormat::DateTime => 71,
    }
}

fn named<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::String(name)] = arguments else { return Err(Fault::no_such_overload()) };
    let wanted = format!("format.{name}");
    match FUNCTIONS.iter().find(|(known, _)| *known == wanted && !matches!(&**name, "named" | "validate")) {
        Some((_, format)) => format(&[], budget).map(Value::some),
        None => Ok(Value::Optional(None)),
    }
}

/// What is wrong with a text, if anything.
fn validate<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::Format(format), Value::String(text)] = arguments else {
        return Err(Fault::no_such_overload());
    };
    budget.work(text.len() as u64)?;
    Ok(match wrong(*format, text) {
        None => Value::Optional(None),
        Some(why) => Value::some(Value::list(vec![Value::string(why)])),
    })
}

fn wrong(format: NamedFormat, text: &str) -> Option<&'static str> {
    let masked = match format {
        NamedFormat::Dns1123LabelPrefix
        | NamedFormat::Dns1035LabelPrefix
        | NamedFormat::Dns1123SubdomainPrefix => without_last_dash(text),
        _ => text.to_owned(),
    };
    let right = match format {
        NamedFormat::Dns1123Label | NamedFormat::Dns1123LabelPrefix => label(&masked, 63),
        NamedFormat::Dns1035Label | NamedFormat::Dns1035LabelPrefix => {
            label(&masked, 63) && masked.starts_with(|first: char| first.is_ascii_lowercase())
        }
        NamedFormat::Dns1123Subdomain | NamedFormat::Dns1123SubdomainPrefix => subdomain(&masked),
        NamedFormat::QualifiedName => match text.split_once('/') {
            Some((prefix, name)) => subdomain(prefix) && !name.contains('/') && name_part(name),
            None => name_part(text),
        },
        NamedFormat::LabelValue => text.is_empty() || name_part(text),
        NamedFormat::Uri => return url::parsed(text).err(),
        NamedFormat::Uuid => uuid(text),
        NamedFormat::Byte => base64(text),
        NamedFormat::Date => date(text),
        NamedFormat::DateTime => date_time(text),
    };
    (!right).then_some("does not have the format")
}

/// A name that something will be appended to may end in a dash.
fn without_last_dash(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(before) if !before.is_empty() => {
            let end = before.char_indices().next_back().map_or(0, |(index, _)| index);
            format!("{}a", &before[..end])
        }
        _ => text.to_owned(),
    }
}

fn label(text: &str, most: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.len() <= most
        && text.bytes().all(|byte| inner(byte) || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|part| label(part, 253))
}

/// The name of a label.
fn name_part(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn uuid(text: &str) -> bool {
    let mut rest = text;
    for (index, count) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        match rest.as_bytes().get(..count) {
            Some(part) if part.iter().all(u8::is_ascii_hexdigit) => rest = &rest[count..],
            _ => return false,
        }
    }
    rest.is_empty()
}

fn base64(text: &str) -> bool {
    let text = text.as_bytes();
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    text.len().is_multiple_of(4)
        && !text.is_empty()
        && padding <= 2
        && text[..text.len() - padding]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
}

fn date(text: &str) -> bool {
    let shaped = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(index, byte)| if matches!(index, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    shaped && text.parse::<jiff::civil::Date>().is_ok()
}

fn date_time(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some((day, time)) = lower.split_once('t') else { return false };
    let Some((clock, rest)) = time.split_at_checked(8) else { return false };
    let part = |from: usize, most: &str| {
        clock
            .get(from..from + 2)
            .is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()) && part <= most)
    };
    let clock_right = part(0, "23")
        && part(3, "59")
        && part(6, "59")
        && clock.as_bytes()[2] == b':'
        && clock.as_bytes()[5] == b':';
    let zone = rest
        .strip_prefix('.')
        .map_or(rest, |rest| rest.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    let zone_right = zone == "z"
        || (zone.len() == 6
            && zone.starts_with(['+', '-'])
            && zone
                .bytes()
                .enumerate()
                .skip(1)
                .all(|(index, byte)| if index == 3 { byte == b':' } else { byte.is_ascii_digit() }));
    date(day) && clock_right && zone_right
}
