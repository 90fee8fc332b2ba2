//! Stories of replicas, told with a clock of their own.

mod server;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use server::{Fault, NAME, NAMESPACE, Server};

use super::*;

const DURATION: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

struct Replica {
    leadership: Leadership,
    task: JoinHandle<()>,
    cancel: CancellationToken,
}

fn replica(server: &Server, identity: &'static str) -> Replica {
    let settings = LeaseSettings {
        lease: ObjectName { namespace: NAMESPACE.to_owned(), name: NAME.to_owned() },
        identity: identity.to_owned(),
        duration: DURATION,
        renew: RENEW,
    };
    let cancel = CancellationToken::new();
    let (leadership, task) = start(server.client(identity), settings, cancel.clone());
    Replica { leadership, task, cancel }
}

impl Replica {
    fn acts(&self) -> bool {
        self.leadership.is_held()
    }

    /// When it acts; it has to within the time.
    async fn begins(&mut self, within: Duration) -> Instant {
        self.becomes(true, within).await
    }

    async fn ends(&mut self, within: Duration) -> Instant {
        self.becomes(false, within).await
    }

    async fn becomes(&mut self, wanted: bool, within: Duration) -> Instant {
        let change = async {
            while self.acts() != wanted {
                self.leadership.changed().await;
            }
            Instant::now()
        };
        timeout(within, change).await.unwrap()
    }
}

/// The first of two, which acts, and the second.
async fn two(server: &Server) -> (Replica, Replica) {
    let mut first = replica(server, "a");
    first.begins(SECOND).await;
    let second = replica(server, "b");
    sleep(SECOND).await;
    assert!(first.acts() && !second.acts());
    (first, second)
}

fn last_write_of(server: &Server, identity: &str) -> Instant {
    let of_identity = |spec: LeaseSpec| spec.holder_identity.as_deref() == Some(identity);
    let writes = server.writes().into_iter().filter(|(_, lease)| lease.spec.clone().is_some_and(of_identity));
    writes.map(|(at, _)| at).max().unwrap()
}

fn is_micro_time(text: &Value) -> bool {
    let text = text.as_str().unwrap_or_default();
    let fraction = text.strip_suffix('Z').and_then(|text| text.split_once('.')).map(|(_, fraction)| fraction);
    fraction.is_some_and(|fraction| fraction.len() == 6 && fraction.bytes().all(|byte| byte.is_ascii_digit()))
}

#[tokio::test(start_paused = true)]
async fn one_of_two_holds_the_lease_and_goes_on_holding_it() {
    let server = Server::default();
    let (first, second) = two(&server).await;
    let acquired = server.spec()["acquireTime"].clone();
    for _ in 0..1200 {
        sleep(SECOND / 2).await;
        assert!(first.acts() && !second.acts());
    }
    let spec = server.spec();
    assert_eq!(spec["holderIdentity"], "a");
    assert_eq!(spec["leaseDurationSeconds"], 15);
    assert_eq!(spec["leaseTransitions"], 0);
    assert_eq!(spec["acquireTime"], acquired);
    assert!(is_micro_time(&spec["acquireTime"]) && is_micro_time(&spec["renewTime"]), "{spec}");
    let renewals = server.writes().len();
    assert!((110..=125).contains(&renewals), "{renewals} writes in ten minutes");
    assert_eq!(server.verbs(), ["create", "get", "update"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_holder_dies_the_other_waits_for_the_end_of_its_time() {
    let server = Server::default();
    let (first, mut second) = two(&server).await;
    sleep(Duration::from_secs(12)).await;
    first.task.abort();
    let died = last_write_of(&server, "a");
    let began = second.begins(Duration::from_secs(30)).await;
    let after = began - died;
    assert!(after >= DURATION && after <= DURATION + RENEW, "{after:?}");
    let spec = server.spec();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("b"), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn what_others_say_of_the_time_does_not_matter_but_for_how_long() {
    let old = "2001-01-01T00:00:00.000000Z";
    let future = "2101-01-01T00:00:00.000000Z";
    let cases = [
        (
            "renewed long ago",
            json!({"holderIdentity": "x", "leaseDurationSeconds": 40, "renewTime": old}),
            40,
        ),
        (
            "renewed in future",
            json!({"holderIdentity": "x", "leaseDurationSeconds": 40, "renewTime": future}),
            40,
        ),
        ("never renewed", json!({"holderIdentity": "x", "leaseDurationSeconds": 4}), 4),
        ("says no duration", json!({"holderIdentity": "x", "renewTime": old}), 15),
        ("says a wrong duration", json!({"holderIdentity": "x", "leaseDurationSeconds": -3}), 15),
        ("held by nobody", json!({"holderIdentity": "", "leaseDurationSeconds": 40, "renewTime": old}), 0),
        ("as the chart makes it", json!(null), 0),
        ("of ourselves, before a restart", json!({"holderIdentity": "a", "leaseDurationSeconds": 15}), 0),
    ];
    for (what, spec, wanted) in cases {
        let server = Server::default();
        server.put(spec);
        let begun = Instant::now();
        let mut replica = replica(&server, "a");
        let after = replica.begins(Duration::from_secs(90)).await - begun;
        let wanted = Duration::from_secs(wanted);
        assert!(after >= wanted && after < wanted + SECOND, "{what}: {after:?}");
        assert_eq!(server.lease()["metadata"]["labels"]["app"], "kept", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_changes_is_never_taken() {
    let server = Server::default();
    let record = json!({"holderIdentity": "x", "leaseDurationSeconds": 15});
    server.put(record.clone());
    let replica = replica(&server, "a");
    for _ in 0..40 {
        sleep(Duration::from_secs(14)).await;
        assert!(!replica.acts());
        server.put(record.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_the_other_begins() {
    let slow = Fault::Slow(Duration::from_secs(4), Duration::from_secs(4));
    let late = Fault::Slow(Duration::ZERO, Duration::from_secs(4));
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::Refused(500), Fault::Refused(409), slow, late] {
        let server = Server::default();
        let (mut first, mut second) = two(&server).await;
        sleep(Duration::from_secs(21)).await;
        let renewed = last_write_of(&server, "a");
        server.fault("a", fault);
        let ended = first.ends(Duration::from_secs(11)).await;
        assert!(ended - renewed <= DURATION - RENEW, "{fault:?}: ended after {:?}", ended - renewed);
        let began = second.begins(Duration::from_secs(40)).await;
        let gap = began - ended;
        assert!(gap >= RENEW, "{fault:?}: began only {gap:?} after the other had ended");
        assert!(began - last_write_of(&server, "a") >= DURATION, "{fault:?}");
        // The link is back: the former holder sees who acts now.
        server.fault("a", Fault::None);
        sleep(Duration::from_secs(60)).await;
        assert!(!first.acts() && second.acts(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_renewal_that_fails_changes_nothing() {
    let slow = Fault::Slow(Duration::from_millis(2500), Duration::ZERO);
    let late = Fault::Slow(Duration::from_millis(3300), Duration::ZERO);
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::Refused(500), Fault::Refused(409), slow, late] {
        let server = Server::default();
        let (first, second) = two(&server).await;
        server.fault_once("a", fault);
        for _ in 0..60 {
            sleep(SECOND / 2).await;
            assert!(first.acts() && !second.acts(), "{fault:?}");
        }
        assert_eq!(server.spec()["leaseTransitions"], 0, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_taken_at_once() {
    let slow = Fault::Slow(SECOND, Duration::ZERO);
    // What becomes of the renewal that is under way, and of the write that gives the Lease back.
    let cases = [
        (Fault::None, Fault::None),
        (slow, Fault::None),
        (Fault::AnswerLost, Fault::None),
        (Fault::None, Fault::AnswerLost),
        (Fault::None, Fault::Refused(409)),
        (Fault::None, Fault::Refused(500)),
    ];
    for case in cases {
        let (renewal, release) = case;
        let server = Server::default();
        let (mut first, mut second) = two(&server).await;
        server.fault_once("a", renewal);
        // Into the next renewal.
        sleep(last_write_of(&server, "a") + RENEW + SECOND / 4 - Instant::now()).await;
        server.fault_once("a", release);
        let cancelled = Instant::now();
        first.cancel.cancel();
        first.ends(SECOND / 100).await;
        let began = second.begins(DURATION - RENEW).await;
        assert!(began - cancelled < Duration::from_secs(7), "{case:?}: {:?}", began - cancelled);
        let before = server.writes().into_iter().rev().nth(1).unwrap().1.spec.unwrap();
        assert_eq!(before.holder_identity.as_deref(), Some(""), "{case:?}");
        assert_eq!(before.lease_duration_seconds, Some(1), "{case:?}");
        assert_eq!(server.spec()["leaseTransitions"], 1, "{case:?}");
        first.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_hold_the_lease_gives_nothing_back() {
    let server = Server::default();
    let (first, second) = two(&server).await;
    second.cancel.cancel();
    second.task.await.unwrap();
    assert!(first.acts());
    assert_eq!(server.spec()["holderIdentity"], "a");
}

#[tokio::test(start_paused = true)]
async fn giving_back_ends_soon_even_if_nobody_answers() {
    let server = Server::default();
    let (first, _second) = two(&server).await;
    server.fault("a", Fault::Lost);
    first.cancel.cancel();
    timeout(DURATION / 3 + SECOND / 10, first.task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_another_holder_stops_and_waits() {
    let server = Server::default();
    let mut replica = replica(&server, "a");
    replica.begins(SECOND).await;
    let begun = Instant::now();
    server.put(json!({"holderIdentity": "x", "leaseDurationSeconds": 15, "leaseTransitions": 6}));
    let ended = replica.ends(DURATION).await - begun;
    assert!(ended <= RENEW + SECOND / 4, "{ended:?}");
    let began = replica.begins(Duration::from_secs(60)).await - begun;
    assert!(began >= DURATION, "{began:?}");
    assert_eq!(server.spec()["leaseTransitions"], 7);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_deleted_is_made_again() {
    let server = Server::default();
    let mut replica = replica(&server, "a");
    replica.begins(SECOND).await;
    server.delete();
    sleep(RENEW + SECOND).await;
    assert!(replica.acts());
    assert_eq!(server.spec()["holderIdentity"], "a");
}

#[tokio::test(start_paused = true)]
async fn changes_between_two_questions_are_told() {
    let (sender, until) = watch::channel(None);
    let mut leadership = Leadership { until, told: None };
    let is_told = async |leadership: &mut Leadership| timeout(SECOND, leadership.changed()).await.is_ok();

    assert!(!leadership.is_held());
    // It begins before the wait does.
    sender.send_replace(Some(Instant::now() + 10 * SECOND));
    assert!(is_told(&mut leadership).await);
    assert!(leadership.is_held());
    assert!(!is_told(&mut leadership).await, "nothing has changed");
    // It ends before the wait begins, and nobody says so.
    sleep(10 * SECOND).await;
    assert!(is_told(&mut leadership).await);
    assert!(!leadership.is_held());
    assert!(!is_told(&mut leadership).await, "an end is told once");
    // It ends during the wait, and who would say so is gone.
    sender.send_replace(Some(Instant::now() + SECOND / 2));
    assert!(is_told(&mut leadership).await);
    drop(sender);
    assert!(leadership.is_held());
    assert!(is_told(&mut leadership).await);
    assert!(!leadership.is_held());
}

#[tokio::test(start_paused = true)]
async fn there_are_never_two_at_once_whatever_the_api_server_and_the_link_do() {
    let mut acted = BTreeSet::new();
    for seed in 0..10 {
        let server = Server::default();
        server.seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let names = ["a", "b", "c"];
        let mut replicas = names.map(|name| replica(&server, name));
        // Ten minutes, looked at each 40 ms.
        for tick in 0..15_000_u32 {
            if tick % 250 == 0 {
                let whose = names[random.usize(0..names.len())];
                server.fault(whose, if random.bool() { Fault::Any } else { Fault::None });
            }
            if tick % 1_500 == 1_499 {
                // One ends, and comes back under the same name once it has ended.
                let which = random.usize(0..names.len());
                let ended = &mut replicas[which];
                ended.cancel.cancel();
                (&mut ended.task).await.unwrap();
                replicas[which] = replica(&server, names[which]);
            }
            sleep(Duration::from_millis(40)).await;
            let acting: Vec<_> = names.iter().zip(&replicas).filter(|(_, one)| one.acts()).collect();
            assert!(acting.len() <= 1, "seed {seed}, tick {tick}: {}", acting.len());
            acted.extend(acting.iter().map(|(name, _)| **name));
        }
        names.iter().for_each(|name| server.fault(name, Fault::None));
        sleep(DURATION * 2).await;
        assert_eq!(replicas.iter().filter(|one| one.acts()).count(), 1, "seed {seed}");
        assert_eq!(server.verbs(), ["create", "get", "update"]);
        for one in replicas {
            one.task.abort();
        }
    }
    // Otherwise this has shown nothing.
    assert_eq!(acted.len(), 3);
}
