//! The API server and the link fail; the slices come right all the same.

use e2e::api::GUARD;
use http::StatusCode;
use support::transport::{Action, Answer, Cut, Ending, Matching, Verb};
use tokio::time::timeout;

use crate::stage::{Stage, view};

const ONE: &str = "gpu-0000-01-00-0";
const TWO: &str = "gpu-0000-02-00-0";

fn slices(verb: Verb) -> Matching {
    Matching::verb(verb).resource("resourceslices")
}

#[tokio::test]
async fn whatever_a_request_meets_at_first_the_slices_come_right() {
    let create = || slices(Verb::Create).first(1);
    let update = || slices(Verb::Update).first(1);
    let cases = [
        ("the create's answer is lost", create(), Action::LoseAnswer, "+1 ~1 -0"),
        ("the create is dropped", create(), Action::Drop, "+2 ~1 -0"),
        ("the create fails", create(), Action::Answer(Answer::internal_error()), "+2 ~1 -0"),
        ("the create is never answered", create(), Action::BlackHole, "+2 ~1 -0"),
        ("the update meets a conflict", update(), Action::Answer(Answer::conflict()), "+1 ~2 -0"),
        ("the update's answer is lost", update(), Action::LoseAnswer, "+1 ~1 -0"),
        ("the update is dropped", update(), Action::Drop, "+1 ~2 -0"),
        ("too many requests", update(), Action::Answer(Answer::too_many_requests(1)), "+1 ~2 -0"),
        ("no list", slices(Verb::List).first(2), Action::Answer(Answer::internal_error()), "+1 ~1 -0"),
        ("no watch", slices(Verb::Watch).first(2), Action::Answer(Answer::internal_error()), "+1 ~1 -0"),
        ("no Node", Matching::verb(Verb::Get).resource("nodes").first(2), Action::Drop, "+1 ~1 -0"),
    ];
    let mut running = Vec::new();
    for (number, (name, matching, action, writes)) in cases.into_iter().enumerate() {
        running.push(tokio::spawn(async move {
            let mut stage = Stage::new(&format!("fault-{number}"), view(&[1])).await;
            let rule = stage.script.on(matching, action);
            stage.publish().await;
            stage.until_devices(&[ONE]).await;
            stage.see(view(&[1, 2]));
            stage.until_devices(&[ONE, TWO]).await;
            rule.reached(1, GUARD).await.unwrap_or_else(|late| panic!("{name}: {late}"));
            // What is written once more after a lost answer would be written by now, before this.
            stage.see(view(&[2]));
            stage.until_devices(&[TWO]).await;
            let seen = stage.writes();
            stage.remove().await;
            (name, seen, writes)
        }));
    }
    for case in running {
        let (name, seen, writes) = timeout(GUARD, case).await.unwrap().unwrap();
        let wanted = one_more_update(writes);
        assert_eq!(seen, wanted, "{name}");
    }
}

/// The writes of a case, with the update that ends it.
fn one_more_update(writes: &str) -> String {
    let (creates, rest) = writes.split_once(" ~").unwrap();
    let (updates, deletes) = rest.split_once(' ').unwrap();
    let updates: u32 = updates.parse().unwrap();
    format!("{creates} ~{} {deletes}", updates + 1)
}

#[tokio::test]
async fn a_deletion_is_seen_whatever_becomes_of_the_watch() {
    let watch = |nth| slices(Verb::Watch).nth(nth);
    let cases: [(&str, Vec<(Matching, Action)>); 4] = [
        ("the watch breaks", vec![(watch(1), Action::Cut(Cut::Lines(0), Ending::Broken))]),
        ("the watch ends", vec![(watch(1), Action::Cut(Cut::Lines(0), Ending::Clean))]),
        ("the watch has expired", vec![(watch(1), Action::Answer(Answer::expired_event()))]),
        (
            "the next watch is refused as expired",
            vec![
                (watch(1), Action::Cut(Cut::Lines(0), Ending::Broken)),
                (watch(2), Action::Answer(Answer::expired())),
            ],
        ),
    ];
    let mut running = Vec::new();
    for (number, (name, rules)) in cases.into_iter().enumerate() {
        running.push(tokio::spawn(async move {
            let mut stage = Stage::new(&format!("watch-{number}"), view(&[1])).await;
            for (matching, action) in rules {
                stage.script.on(matching, action);
            }
            stage.publish().await;
            let slice = stage.until_devices(&[ONE]).await;
            stage.delete(&slice).await;
            let healed = stage.until(
                name,
                |slices| matches!(slices, [healed] if healed.metadata.uid != slice.metadata.uid),
            );
            healed.await;
            stage.remove().await;
        }));
    }
    for case in running {
        timeout(GUARD, case).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_refusal_is_told_once_and_tried_again() {
    let mut stage = Stage::new("refused", view(&[1])).await;
    let refusal = Answer::status(StatusCode::FORBIDDEN, "Forbidden", "may not create resourceslices");
    let rule = stage.script.on(slices(Verb::Create).first(3), Action::Answer(refusal));
    stage.publish().await;
    stage.until_devices(&[ONE]).await;
    assert_eq!(rule.count(), 3);
    let event = timeout(GUARD, stage.events.recv()).await.unwrap().unwrap();
    assert_eq!((event.reason, event.warning), ("SlicesNotPublished", true));
    assert!(event.note.contains("may not create resourceslices"), "{}", event.note);
    assert!(stage.events.is_empty(), "it is said once");
    stage.remove().await;
}

#[tokio::test]
async fn a_name_that_belongs_to_another_is_left_to_it() {
    let mut stage = Stage::new("taken", view(&[1])).await;
    let rule = stage.script.on(slices(Verb::Create).first(1), Action::Answer(Answer::already_exists()));
    stage.publish().await;
    let slice = stage.until_devices(&[ONE]).await;
    let refused = stage.script.requests_to(&slices(Verb::Create)).swap_remove(0);
    assert_eq!(rule.count(), 1);
    let refused: k8s_openapi::api::resource::v1::ResourceSlice =
        serde_json::from_slice(&refused.body).unwrap();
    assert_ne!(refused.metadata.name, slice.metadata.name);
    stage.remove().await;
}
