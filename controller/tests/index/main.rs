//! What the controller makes of news and time, told to it directly: there is no API server and no clock here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

mod once_wrong;
mod page;
mod scene;

use dra_controller::explain::Blocker;
use dra_controller::index::SubjectKind;
use serde_json::json;

use scene::{Scene, at, claim, claim_of, has, name, pod, reserved};

const ALLOCATION: &str = "dra_allocation_duration_seconds";
const POD: &str = "dra_pod_allocation_duration_seconds";

/// What happens to a cluster that has been read at second 0.
type Story = fn(&mut Scene);

/// Each story ends with how many allocations were timed, and how many seconds they took together.
#[test]
fn allocations_are_timed_once_and_by_the_right_clock() {
    let cases: [(&str, Story, (u64, f64)); 12] = [
        (
            "seen to come, seen to be allocated",
            |s| {
                s.claim(claim("a", 0));
                s.ticks = 3;
                s.claim(has("gpu-0", claim("a", 0)));
            },
            (1, 3.0),
        ),
        (
            "told again: it is the same allocation",
            |s| {
                s.claim(claim("a", 0));
                s.ticks = 3;
                s.claim(has("gpu-0", claim("a", 0)));
                s.ticks = 9;
                s.claim(reserved("p", has("gpu-0", claim("a", 0))));
                s.list_claims(vec![reserved("p", has("gpu-0", claim("a", 0)))]);
            },
            (1, 3.0),
        ),
        (
            "the wall's clock jumps an hour ahead",
            |s| {
                s.claim(claim("a", 0));
                (s.ticks, s.jump) = (3, 3600);
                s.claim(has("gpu-0", claim("a", 0)));
            },
            (1, 3.0),
        ),
        (
            "the wall's clock jumps an hour back",
            |s| {
                s.claim(claim("a", 0));
                (s.ticks, s.jump) = (3, -3600);
                s.claim(has("gpu-0", claim("a", 0)));
            },
            (1, 3.0),
        ),
        (
            "its time of creation is in the future: clocks differ",
            |s| {
                s.claim(claim("a", 600));
                s.ticks = 2;
                s.claim(has("gpu-0", claim("a", 600)));
            },
            (1, 2.0),
        ),
        (
            "it came with its allocation: nobody saw how long that took",
            |s| {
                s.claim(has("gpu-0", claim("a", 0)));
            },
            (0, 0.0),
        ),
        (
            "allocated while the watch was broken: the scheduler's own time counts",
            |s| {
                s.claim(claim("a", 0));
                s.ticks = 300;
                s.list_claims(vec![at(4, has("gpu-0", claim("a", 0)))]);
            },
            (1, 4.0),
        ),
        (
            "allocated while the watch was broken, and nobody says when",
            |s| {
                s.claim(claim("a", 0));
                s.ticks = 300;
                s.list_claims(vec![has("gpu-0", claim("a", 0))]);
            },
            (0, 0.0),
        ),
        (
            "made and allocated while the watch was broken",
            |s| {
                s.ticks = 300;
                s.list_claims(vec![at(106, has("gpu-0", claim("a", 100)))]);
            },
            (1, 6.0),
        ),
        (
            "another claim of the same name",
            |s| {
                s.claim(claim("a", 0));
                s.ticks = 50;
                s.claim_gone(claim("a", 0));
                let mut other = claim("a", 50);
                other["metadata"]["uid"] = json!("another");
                s.claim(other.clone());
                s.ticks = 52;
                s.claim(has("gpu-0", other));
            },
            (1, 2.0),
        ),
        (
            "it lost its devices and got others",
            |s| {
                s.claim(claim("a", 0));
                s.ticks = 1;
                s.claim(has("gpu-0", claim("a", 0)));
                s.ticks = 60;
                s.claim(claim("a", 0));
                s.ticks = 65;
                s.claim(has("gpu-1", claim("a", 0)));
            },
            (2, 6.0),
        ),
        (
            "a follower does not count",
            |s| {
                s.index.lead(false);
                s.claim(claim("a", 0));
                s.ticks = 3;
                s.claim(has("gpu-0", claim("a", 0)));
                s.index.lead(true);
            },
            (0, 0.0),
        ),
    ];
    for (case, story, wanted) in cases {
        let mut scene = Scene::read(vec![], vec![]);
        story(&mut scene);
        assert_eq!(scene.times(ALLOCATION), wanted, "{case}");
    }
}

#[test]
fn a_restart_does_not_time_old_claims_again() {
    let old = reserved("p", at(-90, has("gpu-0", claim("old", -100))));
    let mut scene = Scene::read(vec![old.clone(), claim("waits", -40)], vec![pod("q", "waits", -40)]);
    scene.claim(old.clone());
    scene.list_claims(vec![old, claim("waits", -40)]);
    assert_eq!(scene.oldest(), 40, "it is as old as its time of creation says");
    scene.ticks = 5;
    scene.claim(has("gpu-1", claim("waits", -40)));
    // Only the one that was still waiting, with the time that it waited for the process before.
    assert_eq!(scene.times(ALLOCATION), (1, 45.0));
}

#[test]
fn a_pod_is_timed_with_the_last_of_its_claims() {
    let mut both = pod("p", "a", 0);
    both["spec"]["resourceClaims"] =
        json!([{"name": "one", "resourceClaimName": "a"}, {"name": "two", "resourceClaimName": "b"}]);
    let mut scene = Scene::read(vec![], vec![]);
    scene.pod(both);
    scene.ticks = 2;
    scene.claim(claim("a", 2));
    scene.claim(claim("b", 2));
    scene.ticks = 5;
    scene.claim(has("gpu-0", claim("a", 2)));
    scene.ticks = 7;
    scene.claim(has("gpu-1", claim("b", 2)));
    assert_eq!(scene.times(POD), (1, 7.0));
}

#[test]
fn claims_are_pending_when_pods_wait_for_devices_of_the_driver() {
    let cases: [(&str, Story, &[&str]); 9] = [
        (
            "a pod waits",
            |s| {
                s.claim(claim("a", 0));
                s.pod(pod("p", "a", 0));
            },
            &["a"],
        ),
        (
            "the pod comes before its claim",
            |s| {
                s.pod(pod("p", "a", 0));
                s.claim(claim("a", 0));
            },
            &["a"],
        ),
        ("nobody waits", |s| s.claim(claim("a", 0)), &[]),
        (
            "the pod has a node",
            |s| {
                let mut running = pod("p", "a", 0);
                running["spec"]["nodeName"] = json!("node-a");
                s.claim(claim("a", 0));
                s.pod(running);
            },
            &[],
        ),
        (
            "it is being deleted",
            |s| {
                let mut going = claim("a", 0);
                going["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
                s.claim(going);
                s.pod(pod("p", "a", 0));
            },
            &[],
        ),
        (
            "it is allocated",
            |s| {
                s.claim(claim("a", 0));
                s.pod(pod("p", "a", 0));
                s.claim(has("gpu-0", claim("a", 0)));
            },
            &[],
        ),
        (
            "its class is missing",
            |s| {
                s.claim(claim_of("a", 0, "no-such"));
                s.pod(pod("p", "a", 0));
            },
            &["a"],
        ),
        (
            "its class is another driver's",
            |s| {
                let selects = json!([{"cel": {"expression": "device.driver == 'net.example.com'"}}]);
                s.list_classes(vec![
                    scene::class(),
                    json!({"metadata": {"name": "net"}, "spec": {"selectors": selects}}),
                ]);
                s.claim(claim_of("a", 0, "net"));
                s.pod(pod("p", "a", 0));
            },
            &[],
        ),
        (
            "it vanished while the watch was broken",
            |s| {
                s.claim(claim("a", 0));
                s.claim(claim("b", 0));
                s.pod(pod("p", "a", 0));
                s.pod(pod("q", "b", 0));
                s.list_claims(vec![claim("b", 0)]);
            },
            &["b"],
        ),
    ];
    for (case, story, wanted) in cases {
        let mut scene = Scene::read(vec![], vec![]);
        story(&mut scene);
        assert_eq!(scene.pending(), wanted, "{case}");
    }
}

#[test]
fn an_error_is_counted_once_for_each_reason_that_a_claim_comes_into() {
    let mut scene = Scene::read(vec![], vec![]);
    scene.claim(claim("a", 0));
    scene.pod(pod("p", "a", 0));
    let mut second = 10;
    // Another claim gets and loses a device, so that all is looked at again.
    for (blocker, in_use, taints) in
        [(Blocker::InUse, 1, 0), (Blocker::InUse, 1, 0), (Blocker::DeviceTaint, 1, 1), (Blocker::InUse, 2, 1)]
    {
        second += 100;
        scene.ticks = second;
        let other = claim("other", 0);
        scene.claim(if second % 200 == 10 { has("gpu-0", other) } else { other });
        scene.explained("p", blocker);
        let counted = (scene.errors(Blocker::InUse), scene.errors(Blocker::DeviceTaint));
        assert_eq!(counted, (in_use, taints), "at {second} s");
    }
}

#[test]
fn what_the_process_before_counted_is_not_counted_again() {
    let mut scene = Scene::read(vec![claim("a", -100)], vec![pod("p", "a", -100)]);
    scene.ticks = 1;
    scene.explained("p", Blocker::InUse);
    assert_eq!(scene.errors(Blocker::InUse), 0);
    scene.ticks = 100;
    scene.claim(has("gpu-0", claim("other", 0)));
    scene.explained("p", Blocker::DeviceTaint);
    assert_eq!(scene.errors(Blocker::DeviceTaint), 1);
}

#[test]
fn pods_are_explained_after_the_grace_and_when_the_cluster_changed() {
    let mut scene = Scene::read(vec![], vec![]);
    scene.claim(claim("a", 0));
    scene.pod(pod("p", "a", 0));
    scene.ticks = 9;
    assert_eq!(scene.due(), [""; 0], "within the grace");
    scene.ticks = 10;
    let said = scene.explained("p", Blocker::InUse);
    let kinds: Vec<_> = said.iter().map(|said| (said.about.kind, said.about.name.clone())).collect();
    assert_eq!(kinds, [(SubjectKind::Claim, name("a")), (SubjectKind::Pod, name("p"))]);
    scene.ticks = 30;
    assert_eq!(scene.due(), [""; 0], "nothing has changed");
    scene.claim(has("gpu-0", claim("other", 0)));
    let said = scene.explained("p", Blocker::InUse);
    assert!(said.is_empty(), "the same is not said again: {said:?}");
    scene.claim(has("gpu-1", claim("third", 0)));
    assert_eq!(scene.due(), [""; 0], "not at once: nothing new was found the last time");
    scene.ticks = 32;
    assert_eq!(scene.due(), ["team/p"]);
}

#[test]
fn a_slow_explanation_holds_up_no_other_pod() {
    let mut scene = Scene::read(vec![], vec![]);
    for (pod_name, claim_name) in [("p", "a"), ("q", "b")] {
        scene.claim(claim(claim_name, 0));
        scene.pod(pod(pod_name, claim_name, 0));
    }
    scene.ticks = 10;
    let now = scene.now();
    let slow = scene.index.due(now, 1);
    assert_eq!(slow[0].pod, name("p"));
    scene.explained("q", Blocker::InUse);
    scene.ticks = 20;
    scene.claim(has("gpu-0", claim("other", 0)));
    assert_eq!(scene.due(), ["team/q"], "the slow one is not begun twice");
    assert_eq!(scene.finished(&slow[0], Blocker::InUse).len(), 2);
}

#[test]
fn followers_and_those_who_have_not_read_all_explain_nothing() {
    let mut scene = Scene::unread();
    scene.claim(claim("a", 0));
    scene.pod(pod("p", "a", 0));
    scene.ticks = 60;
    assert_eq!(scene.due(), [""; 0], "not all was read");
    let mut scene = Scene::read(vec![claim("a", 0)], vec![pod("p", "a", 0)]);
    scene.index.lead(false);
    scene.ticks = 60;
    assert_eq!(scene.due(), [""; 0], "another replica leads");
}

#[test]
fn a_new_leader_says_again_what_may_have_been_said_otherwise() {
    let mut scene = Scene::read(vec![claim("a", 0)], vec![pod("p", "a", 0)]);
    scene.ticks = 10;
    assert_eq!(scene.explained("p", Blocker::InUse).len(), 2);
    scene.index.lead(false);
    scene.index.lead(true);
    scene.ticks = 60;
    scene.claim(has("gpu-0", claim("other", 0)));
    assert_eq!(scene.explained("p", Blocker::InUse).len(), 2);
}

#[test]
fn the_scrape_shows_what_is_there_and_nothing_that_is_gone() {
    let story = |scene: &mut Scene| {
        scene.claim(reserved("runs", has("gpu-0", claim("a", 0))));
        scene.claim(claim("b", 0));
        scene.pod(pod("p", "b", 0));
    };
    let mut scene = Scene::read(vec![], vec![]);
    story(&mut scene);
    let text = scene.scrape();
    let pool = r#"driver="gpu.example.com",node="node-a",pool="node-a/gpu""#;
    for line in [
        r#"dra_pending_claims{driver="gpu.example.com",reason="unexplained",device_class="gpu"} 1.0"#
            .to_owned(),
        r#"dra_pending_claims_total{driver="gpu.example.com"} 1.0"#.to_owned(),
        r#"dra_oldest_pending_claim_seconds{driver="gpu.example.com"} 100.0"#.to_owned(),
        r#"dra_unreserved_claims{driver="gpu.example.com"} 0.0"#.to_owned(),
        format!(r#"dra_resource_utilization_ratio{{{pool},device_class="gpu"}} 0.5"#),
        format!(r#"dra_allocatable_devices{{{pool},device_class="gpu"}} 2.0"#),
        format!(r#"dra_allocated_devices{{{pool},device_class="gpu"}} 1.0"#),
        format!("dra_allocatable_memory_bytes{{{pool}}} 171798691840.0"),
        format!("dra_allocated_memory_bytes{{{pool}}} 85899345920.0"),
        format!(
            r#"dra_claim_allocation_info{{{pool},device="gpu-0",dra_claim_namespace="team",dra_claim_name="a",owner_namespace="team",owner_pod="runs"}} 1.0"#
        ),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }

    let mut scene = Scene::read(vec![], vec![]);
    story(&mut scene);
    scene.list_claims(vec![]);
    scene.list_pods(vec![]);
    scene.list_slices(vec![]);
    let text = scene.scrape();
    for gone in ["node-a", "gpu-0", "reason=\"unexplained\""] {
        assert!(!text.contains(gone), "{gone} is still in:\n{text}");
    }
}

#[test]
fn which_claim_has_which_device_is_told_within_a_limit() {
    let both = || vec![has("gpu-0", claim("a", 0)), has("gpu-1", claim("b", 0))];
    for (limit, shown, left_out) in [(2, 2, 0), (1, 1, 1), (0, 0, 2)] {
        let text = Scene::read(both(), vec![]).scrape_of(limit);
        let lines = text.lines().filter(|line| line.starts_with("dra_claim_allocation_info{")).count();
        assert_eq!(lines, shown, "with a limit of {limit}");
        let line = format!("dra_claim_allocation_info_left_out{{driver=\"gpu.example.com\"}} {left_out}.0");
        assert!(text.contains(&line), "{line} is not in:\n{text}");
    }
}
