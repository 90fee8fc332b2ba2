//! Looks things up in a case: which device a result names, what it is worth to a constraint, and where it stands in
//! the order in which devices are tried.

use serde_json::Value;

use crate::case::Case;

/// The elements of a list that may be absent.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The devices part of a claim's specification.
pub(crate) fn devices_of(claim: &Value) -> &Value {
    &claim["spec"]["devices"]
}

/// The slice of the newest generation that has the device of a result, and the device's position in it. Slices of
/// another node may have devices of the same names.
pub(crate) fn find<'a>(case: &'a Case, result: &Value) -> Option<(&'a Value, usize)> {
    let of_pool = case.slices.iter().filter(|slice| {
        let spec = &slice["spec"];
        let is_here = spec["nodeName"].is_null() || spec["nodeName"] == case.node["metadata"]["name"];
        is_here && spec["driver"] == result["driver"] && spec["pool"]["name"] == result["pool"]
    });
    let found = of_pool.filter_map(|slice| {
        let at = list(&slice["spec"]["devices"]).position(|device| device["name"] == result["device"])?;
        Some((slice, at))
    });
    found.max_by_key(|(slice, _)| slice["spec"]["pool"]["generation"].as_i64())
}

/// The values of an attribute that a result's device has, as text with their type; a list has several.
pub(crate) fn values(case: &Case, result: &Value, attribute: &str) -> Option<Vec<String>> {
    let (slice, at) = find(case, result)?;
    let attributes = &slice["spec"]["devices"][at]["attributes"];
    let domain = format!("{}/", result["driver"].as_str()?);
    let value = match &attributes[attribute] {
        Value::Null => &attributes[attribute.strip_prefix(&domain)?],
        found => found,
    };
    let (kind, value) = value.as_object()?.iter().next()?;
    let kind = kind.trim_end_matches('s');
    Some(match value {
        Value::Array(several) => several.iter().map(|value| format!("{kind} {value}")).collect(),
        one => vec![format!("{kind} {one}")],
    })
}

/// Whether a constraint is about a request: `request` or `request/alternative`.
pub(crate) fn concerns(constraint: &Value, request: &str) -> bool {
    let base = request.split('/').next().unwrap_or_default();
    let mut names = list(&constraint["requests"]).peekable();
    names.peek().is_none() || names.any(|name| name == base || name == request)
}

/// Where a result's device stands in the order in which devices are tried, its alternative first.
pub(crate) fn position(case: &Case, claim: &Value, result: &Value) -> Option<impl Ord + use<>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&result["request"]);
    let alternative = name.split_once('/').and_then(|(base, sub)| {
        let request = list(&devices_of(claim)["requests"]).find(|request| request["name"] == base)?;
        list(&request["firstAvailable"]).position(|alternative| alternative["name"] == sub)
    });
    let (slice, at) = find(case, result)?;
    let of_pool = |other: &&Value| {
        let (other, spec) = (&other["spec"], &slice["spec"]);
        other["driver"] == spec["driver"] && other["pool"]["name"] == spec["pool"]["name"]
    };
    let mut devices = case.slices.iter().filter(of_pool).flat_map(|slice| list(&slice["spec"]["devices"]));
    let binds = devices.any(|device| !device["bindingConditions"].is_null());
    let names = (text(&result["driver"]), text(&result["pool"]), text(&slice["metadata"]["name"]));
    Some((alternative, binds, names, at))
}
