//! Cases with names, and random ones.

mod cases;
mod crowded;
mod difference;
mod plain;
mod random;
mod reasons;

use std::borrow::Borrow;
use std::time::Duration;

use serde_json::{Value, json};

use crate::allocate::answer;
use crate::cel::Cache;

/// Long enough for whatever a test asks.
const TIME: Duration = Duration::from_secs(60);

/// What the allocator answers to a case.
fn answered(case: &Value) -> Value {
    serde_json::to_value(answer(case.to_string().as_bytes(), &Cache::default(), TIME)).unwrap()
}

/// The devices that a claim gets, by its results' order: `pool/device`, or what else was answered.
fn devices(case: &Value) -> Value {
    let answer = answered(case);
    let Some(claims) = answer["results"].as_array() else {
        let is_no_fit = answer["noFit"].is_object();
        return if is_no_fit { json!("does not fit") } else { json!(format!("error: {}", answer["kind"])) };
    };
    let of_claim = |claim: &Value| {
        let results = claim["devices"]["results"].as_array().unwrap();
        let name = |result: &Value| {
            json!(format!("{}/{}", result["pool"].as_str().unwrap(), result["device"].as_str().unwrap()))
        };
        Value::Array(results.iter().map(name).collect())
    };
    Value::Array(claims.iter().map(of_claim).collect())
}

/// A case of node `node` and class `any`, with these fields.
fn case(fields: Value) -> Value {
    let mut case = json!({
        "classes": [{"metadata": {"name": "any"}}],
        "node": {"metadata": {"name": "node", "labels": {"zone": "a"}}},
    });
    for (name, value) in fields.as_object().unwrap() {
        case[name] = value.clone();
    }
    case
}

/// The only slice of a pool of driver `d`, for all nodes.
fn slice(pool: &str, devices: impl Borrow<Value>) -> Value {
    json!({
        "metadata": {"name": format!("{pool}-slice")},
        "spec": {
            "driver": "d",
            "pool": {"name": pool, "generation": 1, "resourceSliceCount": 1},
            "allNodes": true,
            "devices": devices.borrow(),
        },
    })
}

/// A value with other fields, at a path of names.
fn with(mut value: Value, path: &str, new: Value) -> Value {
    let mut at = &mut value;
    for name in path.split('.') {
        at = match name.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[name],
        };
    }
    *at = new;
    value
}

/// A claim of these requests.
fn claim(requests: impl Borrow<Value>) -> Value {
    json!({"metadata": {"name": "claim", "namespace": "default"}, "spec": {"devices": {"requests": requests.borrow()}}})
}

/// A request for so many devices of the class.
fn request(name: &str, count: u64) -> Value {
    json!({
        "name": name,
        "exactly": {"deviceClassName": "any", "allocationMode": "ExactCount", "count": count},
    })
}

/// A request for all devices of the class.
fn all(name: &str) -> Value {
    json!({"name": name, "exactly": {"deviceClassName": "any", "allocationMode": "All"}})
}

/// Devices that say nothing.
fn named(names: &[&str]) -> Value {
    Value::Array(names.iter().map(|name| json!({"name": name})).collect())
}
