//! What the API's documentation and the enhancement proposals say about each feature, as cases with names.

use std::borrow::Borrow;

use serde_json::{Value, json};

use super::{all, answered, case, claim, devices, named, request, slice, with};

/// Runs a table of cases: the name, the case, and what its claims get.
fn check(table: Vec<(&str, Value, Value)>) {
    for (name, case, wanted) in table {
        assert_eq!(devices(&case), wanted, "{name}");
    }
}

fn no_fit() -> Value {
    json!("does not fit")
}

fn error(kind: &str) -> Value {
    json!(format!("error: {}", json!(kind)))
}

/// A slice of a pool that has several.
fn part(name: &str, generation: i64, count: i64, devices: impl Borrow<Value>) -> Value {
    let part = with(slice("p", devices), "metadata.name", json!(name));
    let part = with(part, "spec.pool.generation", json!(generation));
    with(part, "spec.pool.resourceSliceCount", json!(count))
}

fn one(slices: Value) -> Value {
    case(json!({"slices": slices, "claims": [claim(json!([request("r", 1)]))]}))
}

fn everything(slices: Value) -> Value {
    case(json!({"slices": slices, "claims": [claim(json!([all("r")]))]}))
}

#[test]
fn pools_are_used_as_a_whole_and_in_their_newest_generation() {
    let twice = part("s", 1, 1, named(&["a", "a"]));
    let good = slice("q", named(&["b"]));
    check(vec![
        ("a pool that is there", one(json!([part("s", 1, 1, named(&["a"]))])), json!([["p/a"]])),
        ("half a pool", one(json!([part("s", 1, 2, named(&["a"]))])), no_fit()),
        (
            "half a pool, and all are wanted",
            everything(json!([part("s", 1, 2, named(&["a"]))])),
            error("incompletePool"),
        ),
        (
            "the newer generation",
            one(json!([part("s", 1, 1, named(&["old"])), part("t", 2, 1, named(&["new"]))])),
            json!([["p/new"]]),
        ),
        (
            "the newer generation is being written",
            one(json!([part("s", 1, 1, named(&["old"])), part("t", 2, 2, named(&["new"]))])),
            no_fit(),
        ),
        ("a name that is there twice", one(json!([twice])), error("invalidPools")),
        ("another pool is valid", one(json!([twice, good])), json!([["q/b"]])),
        ("all are wanted, and one pool is invalid", everything(json!([twice, good])), error("invalidPool")),
        (
            "all",
            everything(json!([slice("q", named(&["b", "c"])), slice("p", named(&["a"]))])),
            json!([["p/a", "q/b", "q/c"]]),
        ),
        ("all of nothing", everything(json!([])), no_fit()),
    ]);
}

#[test]
fn devices_are_tried_in_order() {
    let conditions = json!([{"name": "a", "bindingConditions": ["ready"]}]);
    let early = with(slice("z", named(&["a"])), "spec.driver", json!("c"));
    check(vec![
        ("as they are listed", one(json!([slice("p", named(&["b", "a"]))])), json!([["p/b"]])),
        (
            "slices by name",
            one(json!([part("2", 1, 2, named(&["a"])), part("1", 1, 2, named(&["b"]))])),
            json!([["p/b"]]),
        ),
        (
            "pools by name",
            one(json!([slice("q", named(&["a"])), slice("p", named(&["b"]))])),
            json!([["p/b"]]),
        ),
        ("drivers before pools", one(json!([slice("p", named(&["b"])), early])), json!([["z/a"]])),
        (
            "binding conditions last",
            one(json!([slice("p", conditions), slice("q", named(&["b"]))])),
            json!([["q/b"]]),
        ),
        (
            "what others have is passed over",
            with(one(json!([slice("p/0", named(&["a", "b"]))])), "allocatedDevices", json!(["d/p/0/a"])),
            json!([["p/0/b"]]),
        ),
    ]);
}

#[test]
fn a_node_gets_what_is_for_it() {
    let on = |field: &str, value: Value| {
        let slice = with(slice("p", named(&["a"])), "spec.allNodes", Value::Null);
        one(json!([with(slice, &format!("spec.{field}"), value)]))
    };
    let selector = |zone: &str| json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]});
    let each = json!([
        {"name": "a", "nodeName": "other"},
        {"name": "b", "nodeSelector": selector("b")},
        {"name": "c", "nodeName": "node"},
        {"name": "e", "allNodes": true},
    ]);
    let per_device = with(slice("p", each), "spec.allNodes", Value::Null);
    let per_device = with(per_device, "spec.perDeviceNodeSelection", json!(true));
    let wrong = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Like"}]}]});
    check(vec![
        ("its own", on("nodeName", json!("node")), json!([["p/a"]])),
        ("another's", on("nodeName", json!("other")), no_fit()),
        ("selected", on("nodeSelector", selector("a")), json!([["p/a"]])),
        ("not selected", on("nodeSelector", selector("b")), no_fit()),
        ("a selector that nobody understands", on("nodeSelector", wrong), error("nodeSelector")),
        ("for no node at all", on("allNodes", Value::Null), no_fit()),
        ("each device by itself", everything(json!([per_device])), json!([["p/c", "p/e"]])),
        (
            "without the feature, such slices are not there",
            with(everything(json!([per_device])), "features", json!([])),
            no_fit(),
        ),
    ]);
}

#[test]
fn requests_say_how_many_and_at_best_what() {
    let three = json!([slice("p", named(&["a", "b", "c"]))]);
    let of = |requests: Value| case(json!({"slices": three, "claims": [claim(requests)]}));
    let sub = |name: &str, count: u64| json!({"name": name, "deviceClassName": "any", "allocationMode": "ExactCount", "count": count});
    let first = |subs: Value| json!({"name": "f", "firstAvailable": subs});
    let many: Vec<String> = (0..40).map(|number| format!("d{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let forty = case(json!({"slices": [slice("p", named(&many))], "claims": [claim(json!([all("r")]))]}));
    let (admin, used) = (with(request("r", 1), "exactly.adminAccess", json!(true)), json!(["d/p/a"]));
    check(vec![
        ("two", of(json!([request("r", 2)])), json!([["p/a", "p/b"]])),
        ("four of three", of(json!([request("r", 4)])), no_fit()),
        ("two requests", of(json!([request("r", 1), request("s", 2)])), json!([["p/a", "p/b", "p/c"]])),
        (
            "the best that can be had",
            of(json!([first(json!([sub("big", 4), sub("small", 2)]))])),
            json!([["p/a", "p/b"]]),
        ),
        (
            "a smaller one, so that the next request gets something",
            of(json!([first(json!([sub("big", 3), sub("small", 2)])), request("r", 1)])),
            json!([["p/a", "p/b", "p/c"]]),
        ),
        ("more than a claim holds", of(json!([request("r", 33)])), error("limit")),
        ("all are more than a claim holds", forty, error("limit")),
        (
            "a class that is not there",
            of(json!([with(request("r", 1), "exactly.deviceClassName", json!("none"))])),
            error("class"),
        ),
        (
            "a mode of the future",
            of(json!([with(request("r", 1), "exactly.allocationMode", json!("Some"))])),
            error("request"),
        ),
        (
            "a selector of the future",
            of(json!([with(request("r", 1), "exactly.selectors", json!([{"sql": "?"}]))])),
            error("request"),
        ),
        (
            "devices that others have",
            with(of(json!([admin])), "allocatedDevices", used.clone()),
            json!([["p/a"]]),
        ),
        ("without the feature", with(of(json!([admin])), "features", json!([])), error("feature")),
        (
            "sub-requests without the feature",
            with(of(json!([first(json!([sub("s", 1)]))])), "features", json!([])),
            error("feature"),
        ),
    ]);
}

#[test]
fn selectors_are_expressions_and_their_errors_count_where_a_device_is_tried() {
    let devices = json!([
        {"name": "a", "attributes": {"size": {"int": 1}}},
        {"name": "b", "attributes": {"size": {"int": 2}}},
        {"name": "c"},
    ]);
    let select = |expression: &str, count: u64| {
        let selectors = json!([{"cel": {"expression": expression}}]);
        let request = with(request("r", count), "exactly.selectors", selectors);
        case(json!({"slices": [slice("p", &devices)], "claims": [claim(json!([request]))]}))
    };
    let size = "device.attributes['d'].size >= 2";
    check(vec![
        ("the one that matches", select(size, 1), json!([["p/b"]])),
        ("the search comes to a device without the attribute", select(size, 2), error("cel")),
        (
            "another claim has that device",
            with(select(size, 2), "allocatedDevices", json!(["d/p/c"])),
            no_fit(),
        ),
        ("no expression", select("device.", 1), error("cel")),
        (
            "the class does not select",
            with(
                select("true", 1),
                "classes.0.spec",
                json!({"selectors": [{"cel": {"expression": "false"}}]}),
            ),
            no_fit(),
        ),
    ]);
}

#[test]
fn constraints_hold_between_the_devices_of_a_claim() {
    let devices = json!([
        {"name": "a", "attributes": {"d/root": {"string": "x"}, "model": {"string": "m"}}},
        {"name": "b", "attributes": {"root": {"string": "y"}, "model": {"string": "m"}}},
        {"name": "c", "attributes": {"root": {"string": "y"}, "model": {"string": "n"}}},
        {"name": "e"},
    ]);
    let of = |requests: Value, constraints: Value| {
        let claim = with(claim(requests), "spec.devices.constraints", constraints);
        case(json!({"slices": [slice("p", &devices)], "claims": [claim]}))
    };
    let equal = json!([{"matchAttribute": "d/root"}]);
    let two = json!([request("r", 1), request("s", 1)]);
    check(vec![
        ("two of one root", of(json!([request("r", 2)]), equal.clone()), json!([["p/b", "p/c"]])),
        ("two requests", of(two.clone(), equal.clone()), json!([["p/b", "p/c"]])),
        ("three of one root", of(json!([request("r", 3)]), equal), no_fit()),
        (
            "all of one root",
            of(json!([all("r")]), json!([{"matchAttribute": "d/root"}])),
            error("constraint"),
        ),
        ("another domain", of(two.clone(), json!([{"matchAttribute": "x/root"}])), no_fit()),
        ("two models", of(two.clone(), json!([{"distinctAttribute": "d/model"}])), json!([["p/a", "p/c"]])),
        (
            "only some requests",
            of(two, json!([{"requests": ["s"], "matchAttribute": "d/model"}])),
            json!([["p/a", "p/b"]]),
        ),
        (
            "a constraint of the future",
            of(json!([request("r", 1)]), json!([{"requests": ["r"]}])),
            error("constraint"),
        ),
    ]);
}

#[test]
fn lists_match_by_what_they_have_in_common() {
    let of = |lists: [&[i64]; 3], field: &str, count: u64| {
        let device =
            |(name, values): (&str, &[i64])| json!({"name": name, "attributes": {"nodes": {"ints": values}}});
        let devices: Vec<Value> = ["a", "b", "c"].into_iter().zip(lists).map(device).collect();
        let claim = with(
            claim(json!([request("r", count)])),
            "spec.devices.constraints",
            json!([{field: "d/nodes"}]),
        );
        let case = case(json!({"slices": [slice("p", Value::Array(devices))], "claims": [claim]}));
        with(case, "features", json!(["ListTypeAttributes", "ConsumableCapacity"]))
    };
    let lists: [&[i64]; 3] = [&[0, 1], &[2], &[1, 2]];
    check(vec![
        ("something in common", of(lists, "matchAttribute", 2), json!([["p/a", "p/c"]])),
        ("nothing that all have", of([&[0, 1], &[1, 2], &[0, 2]], "matchAttribute", 3), no_fit()),
        ("nothing in common", of(lists, "distinctAttribute", 2), json!([["p/a", "p/b"]])),
        ("no three without", of(lists, "distinctAttribute", 3), no_fit()),
    ]);
}

#[test]
fn partitions_take_from_the_counters_of_their_device() {
    let taking = |name: &str, memory: &str| json!({"name": name, "consumesCounters": [{"counterSet": "gpu", "counters": {"memory": {"value": memory}}}]});
    let devices = json!([
        taking("whole", "40Gi"),
        taking("half-0", "20Gi"),
        taking("half-1", "20Gi"),
        taking("tiny", "1Gi")
    ]);
    let counters = json!([{"name": "gpu", "counters": {"memory": {"value": "40Gi"}}}]);
    let sets = with(part("counters", 1, 2, json!([])), "spec.sharedCounters", counters);
    let slices = json!([sets, part("devices", 1, 2, &devices)]);
    let of = |count: u64| case(json!({"slices": slices, "claims": [claim(json!([request("r", count)]))]}));
    let missing = json!([part("devices", 1, 1, &devices)]);
    let invalid = json!({"slices": missing, "claims": [claim(json!([request("r", 1)]))]});
    check(vec![
        ("the whole", of(1), json!([["p/whole"]])),
        ("halves", of(2), json!([["p/half-0", "p/half-1"]])),
        ("no more than there is", of(3), no_fit()),
        (
            "beside another's half",
            with(of(1), "allocatedDevices", json!(["d/p/half-0"])),
            json!([["p/half-1"]]),
        ),
        ("beside another's whole", with(of(1), "allocatedDevices", json!(["d/p/whole"])), no_fit()),
        ("counters that are not there", case(invalid), error("invalidPools")),
    ]);
}

#[test]
fn taints_keep_claims_away_that_do_not_tolerate_them() {
    let tainted = |effect: &str| json!([{"name": "a", "taints": [{"key": "sick", "value": "yes", "effect": effect}]}, {"name": "b"}]);
    let of = |effect: &str, tolerations: Value| {
        let request = with(request("r", 1), "exactly.tolerations", tolerations);
        case(json!({"slices": [slice("p", tainted(effect))], "claims": [claim(json!([request]))]}))
    };
    let (a, b) = (json!([["p/a"]]), json!([["p/b"]]));
    check(vec![
        ("no toleration", of("NoSchedule", json!([])), b.clone()),
        ("eviction keeps away as well", of("NoExecute", json!([])), b.clone()),
        ("only said", of("None", json!([])), a.clone()),
        ("an effect of the future", of("Maybe", json!([])), a.clone()),
        ("exists", of("NoSchedule", json!([{"operator": "Exists"}])), a.clone()),
        ("the key exists", of("NoSchedule", json!([{"operator": "Exists", "key": "sick"}])), a.clone()),
        ("another key", of("NoSchedule", json!([{"operator": "Exists", "key": "old"}])), b.clone()),
        ("equal", of("NoSchedule", json!([{"key": "sick", "value": "yes"}])), a.clone()),
        ("not equal", of("NoSchedule", json!([{"key": "sick", "value": "no"}])), b.clone()),
        ("another effect", of("NoExecute", json!([{"operator": "Exists", "effect": "NoSchedule"}])), b),
        ("without the feature", with(of("NoSchedule", json!([])), "features", json!([])), a),
    ]);
}

#[test]
fn shares_take_what_the_policy_offers() {
    let of = |policy: Value, asked: Value, count: u64| {
        let device = json!({
            "name": "a",
            "allowMultipleAllocations": true,
            "capacity": {"memory": {"value": "10Gi", "requestPolicy": policy}},
        });
        let request =
            |number| with(request(&format!("r{number}"), 1), "exactly.capacity", json!({"requests": asked}));
        let requests: Vec<Value> = (0..count).map(request).collect();
        case(json!({"slices": [slice("p", json!([device]))], "claims": [claim(json!(requests))]}))
    };
    let taken = |case: &Value| {
        answered(case)["results"][0]["devices"]["results"][0]["consumedCapacity"]["memory"].clone()
    };
    let range = json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "6Gi", "step": "2Gi"}});
    let values = json!({"default": "2Gi", "validValues": ["2Gi", "4Gi", "8Gi"]});
    let table = [
        ("no policy", Value::Null, json!({"memory": "3Gi"}), json!("3Gi")),
        ("no policy and no wish: all of it", Value::Null, json!({}), json!("10Gi")),
        ("the default", values.clone(), json!({}), json!("2Gi")),
        ("raised to a value", values.clone(), json!({"memory": "3Gi"}), json!("4Gi")),
        ("above all values", values, json!({"memory": "9Gi"}), Value::Null),
        ("raised to the least", range.clone(), json!({"memory": "1Mi"}), json!("1Gi")),
        ("raised to a step", range.clone(), json!({"memory": "2Gi"}), json!("3Gi")),
        ("above the most", range.clone(), json!({"memory": "6Gi"}), Value::Null),
        ("a capacity that is not there", range.clone(), json!({"colour": "1"}), Value::Null),
    ];
    for (name, policy, asked, wanted) in table {
        assert_eq!(taken(&of(policy, asked, 1)), wanted, "{name}");
    }
    let three = of(range.clone(), json!({"memory": "3Gi"}), 3);
    let others = json!([{"driver": "d", "pool": "p", "device": "a", "capacity": {"memory": "2Gi"}}]);
    check(vec![
        ("three times three of ten", three.clone(), json!([["p/a", "p/a", "p/a"]])),
        ("four times", of(range, json!({"memory": "3Gi"}), 4), no_fit()),
        ("beside what others have", with(three, "consumedCapacity", others), no_fit()),
    ]);
}

#[test]
fn what_a_claims_status_gets() {
    let configured = |value: &str| json!({"opaque": {"driver": "d", "parameters": {"value": value}}});
    let with_requests = |value: &str, requests: Value| with(configured(value), "requests", requests);
    let device = json!({
        "name": "a",
        "bindsToNode": true,
        "bindingConditions": ["ready"],
        "bindingFailureConditions": ["broken"],
        "allowMultipleAllocations": true,
    });
    let toleration = json!({"key": "k", "operator": "Exists"});
    let admin = with(request("r", 1), "exactly.tolerations", json!([toleration]));
    let admin = with(admin, "exactly.adminAccess", json!(true));
    let config =
        json!([with_requests("r", json!(["r"])), configured("all"), with_requests("x", json!(["x"]))]);
    let claim = with(claim(json!([admin, request("s", 1)])), "spec.devices.config", config);
    let case = case(json!({"slices": [slice("p", json!([device]))], "claims": [claim]}));
    let case = with(case, "classes.0.spec", json!({"config": [configured("class")]}));
    let case = with(case, "id", json!(7));
    let mut answer = answered(&case);
    assert_eq!(answer["id"], 7);
    let allocation = answer["results"][0].take();
    let result = &allocation["devices"]["results"][0];
    for (field, wanted) in [
        ("request", json!("r")),
        ("driver", json!("d")),
        ("adminAccess", json!(true)),
        ("tolerations", json!([toleration])),
        ("bindingConditions", json!(["ready"])),
        ("bindingFailureConditions", json!(["broken"])),
    ] {
        assert_eq!(result[field], wanted, "{field}");
    }
    let shares = [&result["shareID"], &allocation["devices"]["results"][1]["shareID"]];
    assert_ne!(shares[0], shares[1]);
    for share in shares {
        let groups: Vec<usize> = share.as_str().unwrap().split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{share} is a UUID");
    }
    let from = |source: &str, value: &str, requests: Value| {
        let mut one = with(configured(value), "source", json!(source));
        if !requests.is_null() {
            one["requests"] = requests;
        }
        one
    };
    let wanted = json!([
        from("FromClass", "class", json!(["r", "s"])),
        from("FromClaim", "r", json!(["r"])),
        from("FromClaim", "all", Value::Null),
    ]);
    assert_eq!(allocation["devices"]["config"], wanted);
    let node = json!({"key": "metadata.name", "operator": "In", "values": ["node"]});
    assert_eq!(allocation["nodeSelector"], json!({"nodeSelectorTerms": [{"matchFields": [node]}]}));
}

#[test]
fn a_case_that_is_none_says_where() {
    for (name, text, wanted) in [
        (
            "a feature of the future",
            r#"{"features":["Telepathy"]}"#,
            "at features: the feature \"Telepathy\" is none of",
        ),
        ("a number for a name", r#"{"claims":[{"metadata":{"name":3}}]}"#, "at claims[0].metadata.name: "),
        (
            "no quantity",
            r#"{"consumedCapacity":[{"capacity":{"m":"much"}}]}"#,
            "at consumedCapacity[0].capacity",
        ),
        ("no device", r#"{"allocatedDevices":["x"]}"#, "the device \"x\" is not driver/pool/device"),
        ("no JSON", "{", "EOF"),
    ] {
        let reply = super::answer(text.as_bytes(), &super::Cache::default(), super::TIME);
        let reply = serde_json::to_value(reply).unwrap();
        assert_eq!(reply["kind"], "input", "{name}");
        assert!(reply["error"].as_str().unwrap().contains(wanted), "{name}: {reply}");
    }
}
