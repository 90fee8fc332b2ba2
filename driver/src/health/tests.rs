//! Histories of one GPU, and what is wrong with it after each step.

use super::*;

const GPU: &str = "gpu-0000-1b-00-0";

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_790_000_000 + second, 987_654_321).unwrap()
}

fn answers(recovery_action: u32) -> News {
    News::Answers { recovery_action: Some(recovery_action) }
}

/// An answer from a driver that knows no recovery action.
const ANSWERS: News = News::Answers { recovery_action: None };

fn lost() -> News {
    News::Lost("the GPU is lost".into())
}

fn silent() -> News {
    News::Silent("no answer".into())
}

#[test]
fn faults_come_with_their_cause_and_go_with_it() {
    // What happens, and what is wrong afterwards.
    type Steps<'a> = Vec<(News, &'a [&'a str])>;
    let cases: Vec<(&str, Steps<'_>)> = vec![
        (
            "an application's XIDs are nothing",
            vec![(News::Xid(13), &[]), (News::Xid(31), &[]), (News::Xid(94), &[]), (News::Xid(999), &[])],
        ),
        (
            "an XID that asks for a reset stays, whatever the GPU answers",
            vec![
                (News::Xid(95), &["reset xid-95"]),
                (ANSWERS, &["reset xid-95"]),
                (answers(0), &["reset xid-95"]),
                (News::Xid(95), &["reset xid-95"]),
            ],
        ),
        (
            "an XID goes when the driver takes its recommendation back",
            vec![
                (News::Xid(119), &["reset xid-119"]),
                (answers(1), &["reset recovery-action", "reset xid-119"]),
                (answers(0), &[]),
            ],
        ),
        (
            "a recommendation alone",
            vec![
                (answers(0), &[]),
                (answers(2), &["reboot recovery-action"]),
                (answers(2), &["reboot recovery-action"]),
                (answers(4), &["reset recovery-action"]),
                (answers(0), &[]),
            ],
        ),
        (
            "a GPU off the bus that comes back is a new one",
            vec![
                (News::Xid(79), &["reboot xid-79"]),
                (lost(), &["lost lost", "reboot xid-79"]),
                (lost(), &["lost lost", "reboot xid-79"]),
                (answers(0), &[]),
            ],
        ),
        (
            "a GPU that was reset comes back through a loss",
            vec![
                (News::Xid(48), &["reset xid-48"]),
                (lost(), &["lost lost", "reset xid-48"]),
                (ANSWERS, &[]),
            ],
        ),
        (
            "a GPU that comes back with a recommendation has one",
            vec![(lost(), &["lost lost"]), (answers(1), &["reset recovery-action"])],
        ),
        (
            "a GPU that hung was not reset",
            vec![
                (News::Xid(62), &["reset xid-62"]),
                (silent(), &["lost silent", "reset xid-62"]),
                (ANSWERS, &["reset xid-62"]),
            ],
        ),
        (
            "silence that turns out to be a loss, and a loss is not silence",
            vec![
                (silent(), &["lost silent"]),
                (lost(), &["lost lost"]),
                (silent(), &["lost lost"]),
                (ANSWERS, &[]),
            ],
        ),
        (
            "a GPU that says that it needs a reset answers",
            vec![(silent(), &["lost silent"]), (News::NeedsReset, &["reset reset-required"]), (ANSWERS, &[])],
        ),
        (
            "the driver is reloaded, or another GPU put in",
            vec![
                (News::Xid(79), &["reboot xid-79"]),
                (answers(2), &["reboot recovery-action", "reboot xid-79"]),
                (News::Renewed, &[]),
            ],
        ),
    ];
    for (story, steps) in cases {
        let mut health = Health::default();
        for (step, (news, wanted)) in steps.into_iter().enumerate() {
            let before = health.faults().clone();
            let changed = health.apply(GPU, &news, at(0));
            let faults = health.faults().get(GPU).map_or(&[][..], Vec::as_slice);
            let shown: Vec<String> =
                faults.iter().map(|fault| format!("{} {}", fault.class.as_str(), fault.cause)).collect();
            assert_eq!(shown, wanted, "{story}, step {step}: {news:?}");
            assert_eq!(changed, before != *health.faults(), "{story}, step {step}");
        }
    }
}

#[test]
fn a_fault_keeps_the_second_in_which_it_was_seen_first() {
    let mut health = Health::default();
    assert!(health.apply(GPU, &News::Xid(95), at(0)));
    assert!(!health.apply(GPU, &News::Xid(95), at(60)), "nothing new");
    let [fault] = &health.faults()[GPU][..] else { panic!("{health:?}") };
    assert_eq!(fault.since, Timestamp::from_second(1_790_000_000).unwrap());
    assert_eq!(
        fault.message,
        "XID 95: uncontained memory error; drain the GPU and reset it (nvidia-smi --gpu-reset), or reboot the node"
    );
    assert!(health.apply(GPU, &answers(1), at(70)));
    assert!(health.apply(GPU, &answers(2), at(80)), "another class");
    let action = health.faults()[GPU].iter().find(|fault| fault.cause == "recovery-action").unwrap();
    assert_eq!((action.class, action.since), (Class::Reboot, Timestamp::from_second(1_790_000_080).unwrap()));
}

#[test]
fn every_recovery_action_of_nvml_has_a_class() {
    // nvml.h: none 0, GPU reset 1, node reboot 2, drain P2P 3, drain and reset 4, IMEX domain 5, bus reset 6,
    // system reboot 7.
    let wanted = [
        None,
        Some("reset"),
        Some("reboot"),
        Some("reset"),
        Some("reset"),
        Some("reset"),
        Some("reset"),
        Some("reboot"),
        Some("reset"),
    ];
    for (action, class) in (0..).zip(wanted) {
        let mut health = Health::default();
        health.apply(GPU, &answers(action), at(0));
        let found = health.faults().get(GPU).map(|faults| faults[0].class.as_str());
        assert_eq!(found, class, "recovery action {action}");
    }
}

#[test]
fn one_devices_faults_are_not_anothers() {
    let mut health = Health::default();
    health.apply("one", &News::Xid(79), at(0));
    health.apply("other", &lost(), at(0));
    health.apply("other", &ANSWERS, at(1));
    assert_eq!(health.faults().keys().collect::<Vec<_>>(), ["one"]);
    assert!(!health.is_away("one"));
    health.retain(|device| device != "one");
    assert!(health.faults().is_empty());
}
