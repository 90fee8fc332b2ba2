//! A cluster follows its objects, and a copy stays as it was.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::allocator::{Answer, Cancel};

fn from<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

fn slice(name: &str, pool: &str, devices: &[&str]) -> Slice {
    let devices: Vec<_> = devices.iter().map(|name| json!({"name": name})).collect();
    from(json!({
        "metadata": {"name": name},
        "spec": {
            "driver": "gpu.example.com",
            "nodeName": "node-a",
            "pool": {"name": pool, "generation": 1, "resourceSliceCount": 1},
            "devices": devices,
        },
    }))
}

fn claim(name: &str, results: &Value) -> Claim {
    let allocation = if results.is_null() { Value::Null } else { json!({"devices": {"results": results}}) };
    from(json!({
        "metadata": {"namespace": "team", "name": name, "uid": name},
        "spec": {"devices": {"requests": [
            {"name": "gpu", "exactly": {"deviceClassName": "any", "allocationMode": "ExactCount", "count": 1}},
        ]}},
        "status": {"allocation": allocation},
    }))
}

fn result(device: &str) -> Value {
    json!({"request": "gpu", "driver": "gpu.example.com", "pool": "node-a", "device": device})
}

fn pod(name: &str, claims: &[&str], phase: &str) -> Pod {
    let claims: Vec<_> =
        claims.iter().map(|claim| json!({"name": claim, "resourceClaimName": claim})).collect();
    from(json!({
        "metadata": {"namespace": "team", "name": name},
        "spec": {"resourceClaims": claims},
        "status": {"phase": phase},
    }))
}

fn team(name: &str) -> Name {
    Name { namespace: "team".into(), name: name.into() }
}

fn pool() -> PoolId {
    PoolId { driver: "gpu.example.com".into(), name: "node-a".into() }
}

/// What a claim for one device of any class gets on the node.
fn next(cluster: &Cluster) -> Option<String> {
    let cache = cel::Cache::default();
    let wanted = claim("wanted", &Value::Null);
    let node = from(json!({"metadata": {"name": "node-a"}}));
    match cluster.allocator(&cache).allocate(Some(&node), &[&wanted], &Cancel::default()).unwrap() {
        Answer::Fits(results) => Some(results[0].devices.clone()?.results?.first()?.device.clone()),
        Answer::NoFit(_) => None,
    }
}

fn two_devices() -> (Cluster, Shared) {
    let (mut cluster, mut shared) = (Cluster::default(), Shared::default());
    cluster.apply_class(from(json!({"metadata": {"name": "any"}})));
    cluster.apply_slice(slice("a", "node-a", &["gpu-0", "gpu-1"]), &mut shared);
    (cluster, shared)
}

#[test]
fn devices_are_taken_and_freed_with_their_claims() {
    let (mut cluster, mut shared) = two_devices();
    assert_eq!(next(&cluster).as_deref(), Some("gpu-0"));

    cluster.apply_claim(claim("first", &json!([result("gpu-0")])), &mut shared);
    assert_eq!(next(&cluster).as_deref(), Some("gpu-1"));
    let before = cluster.clone();
    cluster.apply_claim(claim("second", &json!([result("gpu-1")])), &mut shared);
    assert_eq!(next(&cluster), None);
    let holders: Vec<_> = cluster.holdings().of(&pool(), "gpu-1").iter().map(|one| &one.claim).collect();
    assert_eq!(holders, [&team("second")]);

    // Deallocated, as the API server does when the last pod has ended.
    cluster.apply_claim(claim("first", &Value::Null), &mut shared);
    assert_eq!(next(&cluster).as_deref(), Some("gpu-0"));
    cluster.delete_claim(&team("second"));
    assert_eq!(cluster.holdings().of_pool(&pool()).count(), 0);
    assert_eq!(next(&before).as_deref(), Some("gpu-1"), "a copy stays as it was");
}

#[test]
fn admin_access_takes_nothing_and_shares_take_their_part() {
    let (mut cluster, mut shared) = two_devices();
    let mut watching = result("gpu-0");
    watching["adminAccess"] = json!(true);
    cluster.apply_claim(claim("watching", &json!([watching])), &mut shared);
    assert_eq!(next(&cluster).as_deref(), Some("gpu-0"));
    assert_eq!(cluster.holdings().of(&pool(), "gpu-0").len(), 1);

    let share = |id: &str| {
        let mut share = result("gpu-1");
        share["shareID"] = json!(id);
        share["consumedCapacity"] = json!({"memory": "10Gi"});
        json!([share])
    };
    cluster.apply_claim(claim("one", &share("1")), &mut shared);
    cluster.apply_claim(claim("two", &share("2")), &mut shared);
    let taken = |cluster: &Cluster| {
        let taken = cluster.allocated().in_pool(&pool())?;
        Some(taken.capacity.get("gpu-1")?.get("memory")?.to_string())
    };
    assert_eq!(taken(&cluster).as_deref(), Some("20Gi"));
    cluster.delete_claim(&team("one"));
    assert_eq!(taken(&cluster).as_deref(), Some("10Gi"));
}

#[test]
fn claims_know_the_pods_that_wait_for_them() {
    let (mut cluster, mut shared) = two_devices();
    cluster.apply_claim(claim("first", &Value::Null), &mut shared);
    let waiting = |cluster: &Cluster| {
        let claim = team("first");
        let names: Vec<_> = cluster.pods_of(&claim).map(|(name, _)| name.to_string()).collect();
        names
    };
    cluster.apply_pod(pod("trainer", &["first"], "Pending"));
    cluster.apply_pod(pod("helper", &["first"], "Pending"));
    cluster.apply_pod(pod("web", &[], "Running"));
    assert_eq!(waiting(&cluster), ["team/helper", "team/trainer"]);
    assert_eq!(cluster.pods().len(), 2, "a pod without claims is not kept");

    cluster.apply_pod(pod("helper", &["first"], "Succeeded"));
    assert_eq!(waiting(&cluster), ["team/trainer"]);
    cluster.delete_pod(&team("trainer"));
    assert_eq!(waiting(&cluster), Vec::<String>::new());
}

#[test]
fn slices_of_a_pool_come_and_go_one_by_one() {
    let (mut cluster, mut shared) = two_devices();
    cluster.apply_slice(slice("a", "node-a", &["gpu-7"]), &mut shared);
    assert_eq!(next(&cluster).as_deref(), Some("gpu-7"));
    // The same name, in another pool: as if the deletion had been missed.
    cluster.apply_slice(slice("a", "node-a-new", &["gpu-8"]), &mut shared);
    assert_eq!(next(&cluster).as_deref(), Some("gpu-8"));
    assert_eq!(cluster.inventory().pools().count(), 1);
    cluster.delete_slice("a", &mut shared);
    assert_eq!(next(&cluster), None);
    assert_eq!(cluster.inventory().pools().count(), 0);
}

#[test]
fn claims_that_ask_for_the_same_share_what_they_ask_for() {
    let (mut cluster, mut shared) = two_devices();
    cluster.apply_claim(claim("first", &Value::Null), &mut shared);
    cluster.apply_claim(claim("second", &Value::Null), &mut shared);
    let specs: Vec<_> = cluster.claims().values().map(|claim| Arc::as_ptr(&claim.spec)).collect();
    assert_eq!(specs[0], specs[1]);
    cluster.delete_claim(&team("first"));
    cluster.delete_claim(&team("second"));
    shared.shrink();
    assert!(shared.specs.is_empty());
}
