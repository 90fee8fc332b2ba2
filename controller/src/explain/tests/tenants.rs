//! What a namespace is told names nothing of another one.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Words that no text has by chance.
const SECRETS: [&str; 3] = ["zzcompetitor", "zzmerger", "zzsecret"];

fn others(held: &[usize]) -> Vec<Value> {
    let claims = held.iter().enumerate().map(|(number, device)| {
        let secret = SECRETS[number % SECRETS.len()];
        holder(&format!("{secret}:{secret}-claim-{number}"), &[&format!("node-a/gpu/gpu-{device}")])
    });
    claims.collect()
}

fn assert_hidden(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is named: {text}");
    }
}

#[test]
fn claims_of_others_are_counted_and_not_named() {
    let mut scene = Scene::nodes(1).pool("node-a", gpus(3)).holder("ours", &["node-a/gpu/gpu-2"]);
    scene.claims.extend(others(&[0, 1]));
    let scene = scene.wants(wanted(&json!({"count": 2})));
    let explained = scene.explained();
    assert_eq!(
        explained.text(&Audience::Namespace("team")),
        "0/1 node: 3 devices on node-a are in use (3 claims, among them ours). It would fit on node-a if claim ours \
         and 1 claim of another namespace gave back their devices."
    );
    assert_eq!(
        explained.text(&Audience::Everything),
        "0/1 node: 3 devices on node-a are in use (3 claims: team/ours, zzcompetitor/zzcompetitor-claim-0, \
         zzmerger/zzmerger-claim-1). It would fit on node-a if claims team/ours, zzcompetitor/zzcompetitor-claim-0 gave \
         back their devices."
    );
    let seen = explained.seen_by(&Audience::Namespace("team"));
    assert_hidden(&serde_json::to_string(&seen).unwrap());
}

#[test]
fn whoever_may_not_see_the_claim_is_told_the_bare_reason() {
    let scene = Scene::nodes(1).pool("node-a", gpus(1)).wants(wanted(&json!({"deviceClassName": "none"})));
    assert_eq!(
        scene.explained().text(&Audience::Namespace("another")),
        "A request names a DeviceClass that does not exist."
    );
}

proptest! {
    #[test]
    fn no_foreign_name_is_ever_told(
        held in proptest::collection::vec(0_usize..6, 0..6),
        count in 1_u8..8,
        least in prop_oneof![Just("10Gi"), Just("80Gi"), Just("100Gi")],
        ours in proptest::option::of(0_usize..6),
        is_shared in any::<bool>(),
    ) {
        let share = json!({"allowMultipleAllocations": is_shared});
        let devices = (0..6).map(|number| gpu(&format!("gpu-{number}"), &share)).collect();
        let mut scene = Scene::nodes(2).pool("node-a", devices);
        scene.claims.extend(others(&held));
        if let Some(ours) = ours {
            scene = scene.holder("ours", &[&format!("node-a/gpu/gpu-{ours}")]);
        }
        let text = format!("device.capacity['gpu.example.com'].memory.compareTo(quantity('{least}')) >= 0");
        let mut over = selecting(&[&text]);
        over["count"] = json!(count);
        let explained = scene.wants(wanted(&over)).explained();
        let audience = Audience::Namespace("team");
        assert_hidden(&explained.text(&audience));
        assert_hidden(&explained.note(&audience));
        assert_hidden(&serde_json::to_string(&explained.seen_by(&audience)).unwrap());
        prop_assert!(explained.note(&audience).len() <= 1000);
    }
}
