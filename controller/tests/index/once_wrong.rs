//! What was once wrong.

use super::scene::*;
use dra_controller::explain::Blocker;
use serde_json::json;

#[test]
fn shared_claim_two_pods_errors_per_pass() {
    let mut s = Scene::read(vec![], vec![]);
    s.claim(claim("a", 0));
    s.pod(pod("p", "a", 0));
    s.pod(pod("q", "a", 0));
    for pass in 0..4u64 {
        s.ticks = 10 + pass * 100;
        let other = claim("other", 0);
        s.claim(if pass % 2 == 0 { has("gpu-0", other) } else { other });
        let now = s.now();
        for task in s.index.due(now, 10) {
            let b = if &*task.pod.name == "p" { Blocker::InUse } else { Blocker::NodeRules };
            s.finished(&task, b);
        }
    }
    assert_eq!(
        (s.errors(Blocker::InUse), s.errors(Blocker::NodeRules)),
        (1, 0),
        "of two pods the first one counts"
    );
}

#[test]
fn pod_time_includes_outage() {
    let mut s = Scene::read(vec![], vec![]);
    s.claim(claim("a", 0));
    s.pod(pod("p", "a", 0));
    s.ticks = 300;
    s.list_claims(vec![at(4, has("gpu-0", claim("a", 0)))]);
    assert_eq!(s.times("dra_pod_allocation_duration_seconds"), (1, 4.0));
}

#[test]
fn takeover_counts_again() {
    // A follower sees the claim come live; its leader explained and counted; then it takes over.
    let mut s = Scene::read(vec![], vec![]);
    s.index.lead(false);
    s.claim(claim("a", 0));
    s.pod(pod("p", "a", 0));
    s.ticks = 600;
    s.index.lead(true);
    s.explained("p", Blocker::InUse);
    assert_eq!(s.errors(Blocker::InUse), 0);
}

#[test]
fn event_not_refreshed_in_quiet_cluster() {
    let mut s = Scene::read(vec![], vec![]);
    s.claim(claim("a", 0));
    s.pod(pod("p", "a", 0));
    s.ticks = 10;
    assert_eq!(s.explained("p", Blocker::InUse).len(), 2);
    s.ticks = 3 * 3600;
    assert_eq!(s.due(), ["team/p"], "API server forgot the Event after an hour");
}

#[test]
fn unsynced_leader_exports_cluster_figures() {
    let mut s = Scene::unread();
    s.list_claims(vec![]);
    let text = s.scrape();
    assert!(
        !text.contains("dra_pending_claims_total{"),
        "nothing was read of pods, yet it says 0 claims wait"
    );
}

#[test]
fn duplicate_info_series_for_shares() {
    let mut c = has("gpu-0", claim("a", 0));
    let share = |id: &str| json!({"request": "gpu", "driver": DRIVER, "pool": "node-a/gpu", "device": "gpu-0", "shareID": id});
    c["status"]["allocation"]["devices"]["results"] =
        json!([share("0f7a3b8e-0000-4000-8000-000000000001"), share("0f7a3b8e-0000-4000-8000-000000000002")]);
    let text = Scene::read(vec![c], vec![]).scrape();
    let lines: Vec<_> = text.lines().filter(|l| l.starts_with("dra_claim_allocation_info{")).collect();
    let unique: std::collections::BTreeSet<_> = lines.iter().collect();
    assert_eq!(lines.len(), unique.len(), "{lines:#?}");
}

#[test]
fn stale_explanation_of_replaced_pod() {
    let mut s = Scene::read(vec![], vec![]);
    s.claim(claim("a", 0));
    s.pod(pod("p", "a", 0));
    s.ticks = 10;
    let now = s.now();
    let task = s.index.due(now, 10).remove(0);
    let mut other = pod("p", "a", 9);
    other["metadata"]["uid"] = json!("new");
    other["spec"]["nodeSelector"] = json!({"x": "y"});
    s.pod(other);
    let said = s.finished(&task, Blocker::InUse);
    assert!(said.is_empty(), "found of the old pod, said of the new: {said:?}");
}

#[test]
fn pods_status_after_allocation() {
    // The pods' watch lags: the claim's allocation is told before the pod's.
    let mut s = Scene::read(vec![], vec![]);
    let mut p = pod("p", "a", 0);
    p["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "t"}]);
    s.pod(p.clone());
    s.claim(claim("a", 0));
    s.ticks = 3;
    s.claim(has("gpu-0", claim("a", 0)));
    p["status"]["resourceClaimStatuses"] = json!([{"name": "gpu", "resourceClaimName": "a"}]);
    s.pod(p);
    assert_eq!(s.times("dra_pod_allocation_duration_seconds").0, 1);
}

#[test]
fn relist_of_unchanged_classes_and_slices_asks_for_all_explanations_again() {
    let mut s = Scene::read(vec![], vec![]);
    s.claim(claim("a", 0));
    s.pod(pod("p", "a", 0));
    s.ticks = 10;
    s.explained("p", Blocker::InUse);
    s.ticks = 100;
    s.list_classes(vec![class()]);
    assert_eq!(s.due(), [""; 0]);
}
