//! Where we differ from upstream's allocator on purpose: see the table in the module's documentation.

use serde_json::{Value, json};

use super::{case, claim, devices, request, slice, with};

#[test]
fn a_third_device_of_a_request_is_compared_with_the_first() {
    let device =
        |(name, model): (&str, &str)| json!({"name": name, "attributes": {"model": {"string": model}}});
    let devices_of = |models: &[(&str, &str)]| Value::Array(models.iter().copied().map(device).collect());
    let of = |models: &[(&str, &str)]| {
        let claim = with(
            claim(json!([request("r", 3)])),
            "spec.devices.constraints",
            json!([{"distinctAttribute": "d/model"}]),
        );
        case(json!({"slices": [slice("p", devices_of(models))], "claims": [claim]}))
    };
    assert_eq!(devices(&of(&[("a", "A"), ("b", "B"), ("c", "A")])), "does not fit");
    assert_eq!(
        devices(&of(&[("a", "A"), ("b", "B"), ("c", "A"), ("e", "C")])),
        json!([["p/a", "p/b", "p/e"]])
    );
}

#[test]
fn what_lists_have_in_common_is_forgotten_with_the_device_that_narrowed_it() {
    // With b, only 2 is left in common, and nothing goes with that; a and c have 1 in common, and so has e.
    let device =
        |(name, values): (&str, &[i64])| json!({"name": name, "attributes": {"nodes": {"ints": values}}});
    let lists: [(&str, &[i64]); 4] = [("a", &[1, 2]), ("b", &[2]), ("c", &[1]), ("e", &[1])];
    let claim = with(
        claim(json!([request("r", 3)])),
        "spec.devices.constraints",
        json!([{"matchAttribute": "d/nodes"}]),
    );
    let slices = json!([slice("p", lists.into_iter().map(device).collect::<Value>())]);
    let case =
        with(case(json!({"slices": slices, "claims": [claim]})), "features", json!(["ListTypeAttributes"]));
    assert_eq!(devices(&case), json!([["p/a", "p/c", "p/e"]]));
}

#[test]
fn pools_of_two_drivers_with_one_name_have_counters_of_their_own() {
    let taking = json!([{"name": "a", "consumesCounters": [{"counterSet": "set", "counters": {"memory": {"value": "1"}}}]}]);
    let sets = json!([{"name": "set", "counters": {"memory": {"value": "1"}}}]);
    let slices: Vec<Value> = ["d", "e"]
        .into_iter()
        .flat_map(|driver| {
            let of_driver = |slice: Value| {
                with(with(slice, "spec.driver", json!(driver)), "spec.pool.resourceSliceCount", json!(2))
            };
            let counters = with(slice("p", json!([])), "spec.sharedCounters", sets.clone());
            [
                of_driver(with(counters, "metadata.name", json!("counters"))),
                of_driver(slice("p", taking.clone())),
            ]
        })
        .collect();
    let case = case(json!({"slices": slices, "claims": [claim(json!([request("r", 2)]))]}));
    assert_eq!(devices(&case), json!([["p/a", "p/a"]]));
}
