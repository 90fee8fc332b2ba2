//! What is said of claims that do not fit.

use serde_json::{Value, json};

use super::{answered, case, claim, named, request, slice, with};

#[test]
fn each_check_that_fails_is_named_with_its_devices() {
    let taking = json!([{"counterSet": "gpu", "counters": {"memory": {"value": "2Gi"}}}]);
    let sets = json!([{"name": "gpu", "counters": {"memory": {"value": "1Gi"}}}]);
    let counters = with(slice("p", json!([])), "spec.sharedCounters", sets);
    let counters = with(counters, "spec.pool.resourceSliceCount", json!(2));
    let small = json!([{"name": "a", "capacity": {"memory": {"value": "1Gi"}}}, {"name": "b"}]);
    let big = with(request("r", 1), "exactly.capacity", json!({"requests": {"memory": "2Gi"}}));
    let none = with(request("r", 1), "exactly.selectors", json!([{"cel": {"expression": "false"}}]));
    let of =
        |slices: Value, request: Value| case(json!({"slices": slices, "claims": [claim(json!([request]))]}));
    let plain = of(json!([slice("p", named(&["a", "b"]))]), request("r", 1));
    let tainted = json!([{"name": "a", "taints": [{"key": "k", "effect": "NoSchedule"}]}]);
    let parted =
        with(slice("p", json!([{"name": "a", "consumesCounters": taking}])), "metadata.name", json!("2"));
    let parted = with(parted, "spec.pool.resourceSliceCount", json!(2));
    let constrained = with(
        of(json!([slice("p", named(&["a"]))]), request("r", 1)),
        "claims.0.spec.devices.constraints",
        json!([{"matchAttribute": "d/root"}]),
    );
    for (name, case, wanted) in [
        ("in use", with(plain.clone(), "allocatedDevices", json!(["d/p/a", "d/p/b"])), ("inUse", 2)),
        ("the request's selector", of(json!([slice("p", named(&["a"]))]), none), ("requestSelector", 1)),
        (
            "the class's selector",
            with(plain, "classes.0.spec", json!({"selectors": [{"cel": {"expression": "false"}}]})),
            ("classSelector", 2),
        ),
        ("too little of a capacity", of(json!([slice("p", small)]), big.clone()), ("capacityPolicy", 1)),
        ("taints", of(json!([slice("p", tainted)]), request("r", 1)), ("taints", 1)),
        ("counters", of(json!([counters, parted]), request("r", 1)), ("counters", 1)),
        ("a constraint", constrained, ("constraint", 1)),
    ] {
        let answer = answered(&case);
        let reasons = answer["noFit"]["reasons"].as_array().unwrap_or_else(|| panic!("{name}: {answer}"));
        let of_check = reasons
            .iter()
            .find(|reason| reason["check"] == wanted.0)
            .unwrap_or_else(|| panic!("{name}: {answer}"));
        assert_eq!(of_check["count"], wanted.1, "{name}");
        assert_eq!(of_check["pool"], "d/p", "{name}");
        assert_eq!(of_check["claim"], "default/claim", "{name}");
        assert!(reasons.iter().any(|reason| reason["check"] == "count"), "{name}: how many are short");
    }
}

#[test]
fn pools_that_are_being_written_are_named() {
    let half = with(slice("p", named(&["a"])), "spec.pool.resourceSliceCount", json!(2));
    let answer = answered(&case(json!({"slices": [half], "claims": [claim(json!([request("r", 1)]))]})));
    let checks: Vec<&Value> =
        answer["noFit"]["reasons"].as_array().unwrap().iter().map(|one| &one["check"]).collect();
    assert_eq!(checks, ["devices", "poolComplete"]);
}

#[test]
fn requests_that_each_fit_alone_are_said_not_to_fit_together() {
    let requests = json!([request("r", 2), request("s", 2)]);
    let answer = answered(&case(
        json!({"slices": [slice("p", named(&["a", "b", "c"]))], "claims": [claim(requests)]}),
    ));
    let reasons = answer["noFit"]["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 1);
    assert_eq!((&reasons[0]["check"], &reasons[0]["request"]), (&json!("together"), &json!("s")));
}

#[test]
fn reasons_stay_few_in_a_large_cluster() {
    let pools: Vec<Value> =
        (0..2000).map(|number| slice(&format!("p{number:04}"), named(&["a", "b"]))).collect();
    let none = with(request("r", 1), "exactly.selectors", json!([{"cel": {"expression": "false"}}]));
    let answer = answered(&case(json!({"slices": pools, "claims": [claim(json!([none]))]})));
    assert_eq!(answer["noFit"]["reasons"].as_array().unwrap().len(), 256);
    assert_eq!(answer["noFit"]["left_out"], 1745);
}
