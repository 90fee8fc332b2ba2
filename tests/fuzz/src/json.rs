//! Spoils JSON: values change their type, grow beyond all limits, go, come twice, or change places.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::cel;
use crate::text::pick;

/// Amounts that no device has, or not in this form.
const QUANTITIES: [&str; 14] = [
    "0",
    "-1",
    "1n",
    "1500m",
    "-80Gi",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808Ei",
    "170141183460469231731687303715884105728",
    "1e2147483647",
    "1e-2147483647",
    "0.0000000000000000000000001",
    "",
    "1.5.5",
];

/// Spoils one of the values, each as likely as another, and tells whether there was one with that number.
pub(crate) fn spoil(value: &mut Value, all: &Value, rng: &mut Rng) {
    let mut number = rng.usize(0..size(value));
    spoil_numbered(value, "", &mut number, all, rng);
}

/// How many values there are.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(all) => all.iter().map(size).sum(),
        Value::Object(all) => all.values().map(size).sum(),
        _ => 0,
    }
}

/// Spoils the value with this number, counted from the outside in, and tells whether there was one.
fn spoil_numbered(value: &mut Value, key: &str, number: &mut usize, all: &Value, rng: &mut Rng) -> bool {
    if *number == 0 {
        spoil_this(value, key, all, rng);
        return true;
    }
    *number -= 1;
    match value {
        Value::Array(inner) => inner.iter_mut().any(|one| spoil_numbered(one, key, number, all, rng)),
        Value::Object(inner) => inner.iter_mut().any(|(key, one)| spoil_numbered(one, key, number, all, rng)),
        _ => false,
    }
}

fn spoil_this(value: &mut Value, key: &str, all: &Value, rng: &mut Rng) {
    match (rng.u32(0..8), &mut *value) {
        (0, Value::Array(list)) if !list.is_empty() => drop(list.remove(rng.usize(0..list.len()))),
        (1 | 2, Value::Array(list)) if !list.is_empty() => {
            // As often as it takes to be too many.
            let again = list[rng.usize(0..list.len())].clone();
            let times = pick(rng, &[1, 2, 33, 129, 2_000]);
            let times = times.min((128 << 10) / again.to_string().len()).max(1);
            list.extend(std::iter::repeat_n(again, times));
        }
        (3, Value::Array(list)) => rng.shuffle(list),
        (0, Value::Object(fields)) if !fields.is_empty() => {
            if let Some(key) = fields.keys().nth(rng.usize(0..fields.len())).cloned() {
                fields.remove(&key);
            }
        }
        (1, Value::Object(fields)) => {
            let (key, value) = pick(rng, &FIELDS);
            let value = serde_json::from_str(value).unwrap_or_else(|_| anything(rng));
            fields.insert(key.to_owned(), value);
        }
        (2..=4, _) => {
            // What stands in this field elsewhere: names come twice, requests compete.
            let mut others = Vec::new();
            collect(all, key, &mut others);
            if let Some(other) = others.get(rng.usize(0..others.len().max(1))) {
                *value = (*other).clone();
            }
        }
        (5, _) => *value = anything(rng),
        _ => *value = fitting(value, key, rng),
    }
}

/// Fields that change much.
const FIELDS: [(&str, &str); 14] = [
    ("unknown", ""),
    ("adminAccess", "true"),
    ("allNodes", "true"),
    ("allocationMode", "\"All\""),
    ("allowMultipleAllocations", "true"),
    ("bindsToNode", "true"),
    ("count", "9223372036854775807"),
    ("distinctAttribute", "\"gpu.example.com/index\""),
    ("matchAttribute", "\"gpu.example.com/model\""),
    (
        "nodeSelector",
        "{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Gt\",\"values\":[\"x\"]}]}]}",
    ),
    ("perDeviceNodeSelection", "true"),
    ("requestPolicy", "{\"default\":\"1\",\"validRange\":{\"min\":\"-1\",\"max\":\"1e30\",\"step\":\"0\"}}"),
    ("capacity", "{\"requests\":{\"memory\":\"1n\"}}"),
    ("tolerations", "[{\"operator\":\"Exists\"}]"),
];

/// All values of a field.
fn collect<'v>(value: &'v Value, key: &str, into: &mut Vec<&'v Value>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| collect(one, key, into)),
        Value::Object(all) => {
            for (name, one) in all {
                if name == key {
                    into.push(one);
                }
                collect(one, key, into);
            }
        }
        _ => {}
    }
}

/// What a field takes, and should not be given.
fn fitting(value: &Value, key: &str, rng: &mut Rng) -> Value {
    match (key, value) {
        ("expression", Value::String(expression)) => {
            let spoiled = cel::mutate(expression.as_bytes(), rng);
            json!(String::from_utf8_lossy(&spoiled))
        }
        ("min" | "max" | "step" | "default" | "value" | "validValues", _) => json!(pick(rng, &QUANTITIES)),
        (_, Value::Number(_)) => {
            let numbers = [0, 1, -1, 2, 32, 33, 128, i64::MAX, i64::MIN, i64::from(i32::MAX)];
            match rng.u32(0..8) {
                0 => json!(u64::MAX),
                1 => json!(9_223_372_036_854_775_808_u64),
                2 => json!(1e308),
                3 => json!(0.5),
                _ => json!(pick(rng, &numbers)),
            }
        }
        (_, Value::Bool(value)) => json!(!value),
        (_, Value::String(text)) => match rng.u32(0..8) {
            0 => json!(""),
            1 => json!("a".repeat(rng.usize(1..20_000))),
            2 => json!("\u{0}\u{202e}\u{10ffff}"),
            3 => json!(format!("{text}/{text}")),
            4 => json!("gpu.example.com/"),
            5 => json!("1.2.3-rc.1+build"),
            6 => json!("99999999999999999999.0.0"),
            _ => json!(pick(rng, &QUANTITIES)),
        },
        _ => anything(rng),
    }
}

/// A value of any type.
fn anything(rng: &mut Rng) -> Value {
    match rng.u32(0..14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(u64::MAX),
        5 => json!(0.5),
        6 => json!(""),
        7 => json!("x"),
        8 => json!([]),
        9 => json!({}),
        10 => json!([null, {"": []}]),
        11 => (0..rng.usize(1..140)).fold(json!(1), |inner, _| json!([inner])),
        12 => (0..rng.usize(1..140)).fold(json!(1), |inner, _| json!({"spec": inner})),
        _ => json!(pick(rng, &QUANTITIES)),
    }
}
