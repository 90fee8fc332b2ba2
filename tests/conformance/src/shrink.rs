//! Makes a case smaller while it stays interesting, so that a person sees what it is about.

use serde_json::Value;

use crate::case::Case;

/// Fields that the API server does not insist on.
const OPTIONAL: [&str; 27] = [
    "adminAccess",
    "allocatedDevices",
    "allocatedSharedDevices",
    "allowMultipleAllocations",
    "attributes",
    "bindingConditions",
    "bindingFailureConditions",
    "bindsToNode",
    "capacity",
    "config",
    "constraints",
    "consumedCapacity",
    "consumesCounters",
    "devices",
    "effect",
    "labels",
    "matchExpressions",
    "matchFields",
    "max",
    "namespace",
    "requestPolicy",
    "requests",
    "selectors",
    "step",
    "taints",
    "tolerations",
    "uid",
];
/// Objects whose fields are names of the user's.
const MAPS: [&str; 4] = ["attributes", "capacity", "counters", "labels"];
/// Lists that must not become empty.
const NEVER_EMPTY: [&str; 9] = [
    "claims",
    "classes",
    "counters",
    "firstAvailable",
    "nodeSelectorTerms",
    "slices",
    "sharedCounters",
    "validValues",
    "values",
];

/// A place in a case, as JSON pointers name it.
type Place = String;

/// Makes a case smaller as long as a smaller one is still interesting.
///
/// # Errors
///
/// Those of `interesting`.
pub fn shrink<E>(case: &Case, mut interesting: impl FnMut(&Case) -> Result<bool, E>) -> Result<Case, E> {
    let mut best = serde_json::json!(case);
    loop {
        let mut progress = false;
        for step in [drop_slices, drop_elements, drop_fields, make_simpler] {
            for place in places(&best) {
                // Several of the same place can go, one after the other.
                for candidate in step(&best, &place) {
                    let Ok(smaller) = serde_json::from_value::<Case>(candidate.clone()) else { continue };
                    if interesting(&smaller)? {
                        best = candidate;
                        progress = true;
                        break;
                    }
                }
            }
        }
        if !progress {
            return Ok(serde_json::from_value(best).unwrap_or_else(|_| case.clone()));
        }
    }
}

/// All objects and lists, the outer ones first.
fn places(case: &Value) -> Vec<Place> {
    let mut found = vec![String::new()];
    let mut next = 0;
    while let Some(place) = found.get(next).cloned() {
        next += 1;
        match case.pointer(&place) {
            Some(Value::Object(fields)) => {
                let inner =
                    fields.iter().filter(|(name, value)| *name != "parameters" && is_container(value));
                found.extend(inner.map(|(name, _)| format!("{place}/{}", escaped(name))));
            }
            Some(Value::Array(elements)) => {
                let inner = elements.iter().enumerate().filter(|(_, value)| is_container(value));
                found.extend(inner.map(|(at, _)| format!("{place}/{at}")));
            }
            _ => {}
        }
    }
    found
}

fn is_container(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The last name of a place.
fn field(place: &str) -> &str {
    place.rsplit('/').next().unwrap_or_default()
}

/// The case with another value at a place.
fn with(case: &Value, place: &str, change: impl FnOnce(&mut Value)) -> Option<Value> {
    let mut changed = case.clone();
    change(changed.pointer_mut(place)?);
    Some(changed)
}

/// A slice less, and its pool is whole without it.
fn drop_slices(case: &Value, place: &Place) -> Vec<Value> {
    if place != "/slices" {
        return Vec::new();
    }
    let slices = case["slices"].as_array().map_or(&[][..], Vec::as_slice);
    let without = |at: usize| {
        let pool = |slice: &Value| (slice["spec"]["driver"].clone(), slice["spec"]["pool"]["name"].clone());
        let gone = pool(&slices[at]);
        let mut changed = case.clone();
        let left = changed["slices"].as_array_mut()?;
        left.remove(at);
        for slice in left.iter_mut().filter(|slice| pool(slice) == gone) {
            let count = slice["spec"]["pool"]["resourceSliceCount"].as_u64()?;
            slice["spec"]["pool"]["resourceSliceCount"] = count.saturating_sub(1).into();
        }
        Some(changed)
    };
    (0..slices.len()).filter_map(without).collect()
}

/// Halves of a list less, then single elements less.
fn drop_elements(case: &Value, place: &Place) -> Vec<Value> {
    let Some(Value::Array(elements)) = case.pointer(place) else { return Vec::new() };
    let names_objects = elements.first().is_some_and(Value::is_object);
    let must_stay = NEVER_EMPTY.contains(&field(place)) || (field(place) == "requests" && names_objects);
    let least = usize::from(must_stay);
    let mut candidates = Vec::new();
    let mut size = elements.len().div_ceil(2);
    while size > 0 {
        for start in (0..elements.len()).step_by(size) {
            let end = (start + size).min(elements.len());
            if elements.len() - (end - start) >= least {
                candidates.extend(with(case, place, |list| {
                    if let Value::Array(list) = list {
                        list.drain(start..end);
                    }
                }));
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    candidates
}

/// A field less.
fn drop_fields(case: &Value, place: &Place) -> Vec<Value> {
    let Some(Value::Object(fields)) = case.pointer(place) else { return Vec::new() };
    let is_map = MAPS.contains(&field(place)) || place.ends_with("/capacity/requests");
    let may_go = |name: &str| {
        let is_list_of_objects = name == "requests" && fields[name][0].is_object();
        let is_required = name == "devices" && place.ends_with("/spec") && place.starts_with("/claims");
        is_map || (OPTIONAL.contains(&name) && !is_list_of_objects && !is_required)
    };
    let names = fields.keys().filter(|name| may_go(name));
    names
        .filter_map(|name| {
            with(case, place, |fields| {
                if let Value::Object(fields) = fields {
                    fields.remove(name);
                }
            })
        })
        .collect()
}

/// A number or a text that says less.
fn make_simpler(case: &Value, place: &Place) -> Vec<Value> {
    let Some(Value::Object(fields)) = case.pointer(place) else { return Vec::new() };
    let mut candidates = Vec::new();
    let mut set = |name: &str, to: Value| {
        if fields.get(name).is_some_and(|value| *value != to) {
            candidates.extend(with(case, place, |fields| fields[name] = to));
        }
    };
    if let Some(count) = fields.get("count").and_then(Value::as_u64).filter(|count| *count > 1) {
        set("count", 1.into());
        set("count", (count - 1).into());
    }
    set("deviceClassName", "any".into());
    set("generation", 1.into());
    set("expression", "true".into());
    set("parameters", serde_json::json!({}));
    candidates
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::generate;

    #[test]
    fn what_makes_a_case_interesting_is_left_and_little_else() {
        let has_taint = |case: &Case| case.line().contains("NoExecute");
        let index = (0..).find(|index| has_taint(&generate::case(3, *index).case)).unwrap();
        let big = generate::case(3, index).case;
        let small = shrink(&big, |case| Ok::<_, Infallible>(has_taint(case))).unwrap();
        assert!(has_taint(&small));
        assert!(small.line().len() * 2 < big.line().len());
        assert!(small.line().len() < 900, "{}", small.line());
        assert_eq!(small.claims.len(), 1);
        assert_eq!(small.allocated_devices.len() + small.allocated_shared_devices.len(), 0);
    }

    #[test]
    fn a_pool_stays_whole_when_a_slice_goes() {
        let case = serde_json::json!({"slices": [
            {"spec": {"driver": "d", "pool": {"name": "p", "resourceSliceCount": 2}}},
            {"spec": {"driver": "d", "pool": {"name": "p", "resourceSliceCount": 2}}},
            {"spec": {"driver": "d", "pool": {"name": "q", "resourceSliceCount": 1}}},
        ]});
        let smaller = drop_slices(&case, &"/slices".to_owned());
        let counts = |case: &Value| -> Vec<u64> {
            let slices = case["slices"].as_array().unwrap();
            slices.iter().map(|slice| slice["spec"]["pool"]["resourceSliceCount"].as_u64().unwrap()).collect()
        };
        assert_eq!(smaller.iter().map(counts).collect::<Vec<_>>(), [vec![1, 1], vec![1, 1], vec![2, 2]]);
    }
}
