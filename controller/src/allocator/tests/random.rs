//! The search finds what the plain search finds, on random small cases.

use std::ops::Range;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::allocate::case::{Case, Prepared};
use crate::allocator::search::Search;
use crate::allocator::shortcuts::Shortcuts;
use crate::allocator::state::State;
use crate::allocator::{Allocator, Cancel};
use crate::cel::Cache;

use super::plain;

#[test]
fn shortcuts_change_no_answer() {
    compare(0..1500);
}

#[test]
#[ignore = "long: the plain search needs minutes for so many cases"]
fn shortcuts_change_no_answer_to_many_cases() {
    compare(1500..100_000);
}

fn compare(seeds: Range<u64>) {
    let many = seeds.end - seeds.start;
    let cache = Cache::default();
    let (mut solved, mut failed, mut errors) = (0_u64, 0_u64, 0_u64);
    for seed in seeds {
        let case = random_case(&mut Rng::with_seed(seed));
        let text = case.to_string();
        let prepared: Prepared = serde_json::from_str::<Case>(&text).unwrap().prepared();
        let allocator = Allocator::new(
            prepared.features,
            &prepared.inventory,
            &prepared.classes,
            &prepared.allocated,
            &cache,
        );
        let claims: Vec<_> = prepared.claims.iter().collect();
        let cancel = Cancel::default();
        let Ok(problem) = allocator.problem(prepared.node.as_ref(), &claims, &cancel) else {
            errors += 1;
            continue;
        };
        let wanted = plain::search(&problem);
        for early in [false, true] {
            let mut search = Search::new(&problem);
            if early {
                search.shortcuts = Some(Shortcuts::new(&problem, &State::new(&problem)));
            }
            let found =
                search.run(&cancel).map(|found| found.solution.map(|found| plain::choices(&found.state)));
            assert_eq!(found, wanted, "seed {seed}, shortcuts from the start: {early}\n{text}");
        }
        match wanted {
            Ok(Some(_)) => solved += 1,
            Ok(None) => failed += 1,
            Err(_) => errors += 1,
        }
    }
    // A test that never comes to the interesting ends tests little.
    let least = [many / 4, many / 4, many / 20];
    assert!(
        solved > least[0] && failed > least[1] && errors > least[2],
        "{solved} solved, {failed} failed, {errors} errors"
    );
}

/// Few devices, but of few kinds, and requests for nearly all of them.
fn random_case(dice: &mut Rng) -> Value {
    let mut slices = Vec::new();
    for pool in 0..dice.usize(1..=2) {
        let pool = format!("pool-{pool}");
        let sets = dice.usize(0..=3);
        let count = if sets > 0 { 2 } else { 1 };
        let spec = |content: Value| {
            let mut spec = json!({
                "driver": "d", "allNodes": true,
                "pool": {"name": pool, "generation": 1, "resourceSliceCount": count},
            });
            for (name, value) in content.as_object().unwrap() {
                spec[name] = value.clone();
            }
            spec
        };
        if sets > 0 {
            let set = |number: usize| json!({"name": format!("set-{number}"), "counters": {"m": {"value": "4"}, "c": {"value": "3"}}});
            let sets: Vec<Value> = (0..sets).map(set).collect();
            slices.push(json!({"metadata": {"name": format!("{pool}-c")}, "spec": spec(json!({"sharedCounters": sets}))}));
        }
        let devices: Vec<Value> =
            (0..dice.usize(2..=6)).map(|number| random_device(dice, number, sets)).collect();
        slices.push(
            json!({"metadata": {"name": format!("{pool}-d")}, "spec": spec(json!({"devices": devices}))}),
        );
    }
    let claims: Vec<Value> = (0..dice.usize(1..=2)).map(|number| random_claim(dice, number)).collect();
    let lists: &[&str] = if dice.bool() { &["ListTypeAttributes"] } else { &[] };
    let features =
        ["AdminAccess", "ConsumableCapacity", "DeviceTaints", "PartitionableDevices", "PrioritizedList"];
    let features: Vec<&str> = features.iter().chain(lists).copied().collect();
    json!({
        "features": features,
        "classes": [{"metadata": {"name": "any"}}],
        "node": {"metadata": {"name": "node"}},
        "slices": slices,
        "claims": claims,
        "allocatedDevices": if dice.u8(..4) == 0 { json!(["d/pool-0/device-0"]) } else { json!([]) },
    })
}

fn random_device(dice: &mut Rng, number: usize, sets: usize) -> Value {
    let mut device =
        json!({"name": format!("device-{number}"), "attributes": {"kind": {"int": dice.u8(..2)}}});
    if dice.u8(..60) == 0 {
        // Selectors have no answer for it.
        device["attributes"] = json!({});
    }
    if dice.u8(..3) > 0 {
        let value = dice.u8(..3);
        device["attributes"]["root"] =
            if dice.bool() { json!({"int": value}) } else { json!({"ints": [value, 1]}) };
    }
    if sets > 0 && dice.u8(..4) > 0 {
        let take = |dice: &mut Rng| {
            json!({
                "counterSet": format!("set-{}", dice.usize(..sets)),
                "counters": {"m": {"value": dice.u8(..4).to_string()}, "c": {"value": dice.u8(..2).to_string()}},
            })
        };
        let takes: Vec<Value> = (0..dice.usize(1..=2)).map(|_| take(dice)).collect();
        device["consumesCounters"] = json!(takes);
    }
    if dice.u8(..5) == 0 {
        device["allowMultipleAllocations"] = json!(true);
        device["capacity"] = json!({"share": {"value": "3", "requestPolicy": {"default": "1"}}});
    }
    if dice.u8(..8) == 0 {
        device["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]);
    }
    device
}

fn random_claim(dice: &mut Rng, number: usize) -> Value {
    let names = ["a", "b", "c", "e"];
    let requests: Vec<Value> =
        names[..dice.usize(1..=3)].iter().map(|name| random_request(dice, name)).collect();
    let mut constraints = Vec::new();
    for field in ["matchAttribute", "distinctAttribute"] {
        if dice.u8(..4) == 0 {
            let requests: Vec<&str> = names.iter().copied().filter(|_| dice.bool()).collect();
            constraints.push(json!({field: "d/root", "requests": requests}));
        }
    }
    json!({
        "metadata": {"name": format!("claim-{number}")},
        "spec": {"devices": {"requests": requests, "constraints": constraints}},
    })
}

fn random_request(dice: &mut Rng, name: &str) -> Value {
    let ask = |dice: &mut Rng, admin: bool| {
        let mut ask =
            json!({"deviceClassName": "any", "allocationMode": "ExactCount", "count": dice.u8(1..=2)});
        if dice.u8(..8) == 0 {
            ask["allocationMode"] = json!("All");
        }
        if dice.u8(..40) == 0 {
            ask["count"] = json!(dice.u8(15..=20));
        }
        if admin && dice.u8(..10) == 0 {
            ask["adminAccess"] = json!(true);
        }
        if dice.bool() {
            let expression = match dice.u8(..3) {
                0 => "device.attributes['d'].kind == 0",
                1 => "device.attributes['d'].kind == 1",
                _ => "device.attributes['d'].?kind.orValue(0) == 0",
            };
            ask["selectors"] = json!([{"cel": {"expression": expression}}]);
        }
        ask
    };
    if dice.u8(..4) > 0 {
        return json!({"name": name, "exactly": ask(dice, true)});
    }
    let sub = |(number, mut sub): (usize, Value)| {
        sub["name"] = json!(format!("s{number}"));
        sub
    };
    let subs: Vec<Value> = (0..dice.usize(1..=3)).map(|_| ask(dice, false)).enumerate().map(sub).collect();
    json!({"name": name, "firstAvailable": subs})
}
