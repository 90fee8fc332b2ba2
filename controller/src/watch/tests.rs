//! What is told of a resource, whatever the API server and the link do.

mod server;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use server::{Answer, End, Server, error, of};

const MINUTE: Duration = Duration::from_secs(60);

fn pod(name: &str, version: &str) -> Value {
    let metadata = json!({"namespace": "team", "name": name, "resourceVersion": version});
    json!({"metadata": metadata, "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": name}]}})
}

fn plain_pod(name: &str, version: &str) -> Value {
    json!({"metadata": {"namespace": "team", "name": name, "resourceVersion": version}, "spec": {}})
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

fn bookmark(version: &str) -> Value {
    event("BOOKMARK", json!({"kind": "Pod", "metadata": {"resourceVersion": version}}))
}

fn empty(version: &str) -> Answer {
    Answer::page(version, "", &[])
}

fn silent(events: &[Value]) -> Answer {
    Answer::Watch(events.to_vec(), End::Silent)
}

/// News of pods, in words.
struct Told {
    news: mpsc::Receiver<Change>,
    cancel: CancellationToken,
}

fn pods(server: &Server) -> Told {
    pods_with(server, 64)
}

fn pods_with(server: &Server, queue: usize) -> Told {
    let (changes, news) = mpsc::channel(queue);
    let cancel = CancellationToken::new();
    spawn::<Pod>(&server.client(), &changes, &cancel);
    Told { news, cancel }
}

impl Told {
    async fn next(&mut self) -> String {
        match timeout(2 * MINUTE, self.news.recv()).await.unwrap().unwrap() {
            Change::Pod(News::ListBegan) => "[".to_owned(),
            Change::Pod(News::ListEnded) => "]".to_owned(),
            Change::Pod(News::Listed(pod)) => format!("={}", pod.metadata.name),
            Change::Pod(News::Changed(pod)) => format!("+{}", pod.metadata.name),
            Change::Pod(News::Deleted(pod)) => format!("-{}", pod.metadata.name),
            Change::Pod(News::Failed(error)) => format!("failed: {error}"),
            other => panic!("{other:?}"),
        }
    }

    /// The next ones, of which nothing has failed.
    async fn tells(&mut self, wanted: &str) {
        for wanted in wanted.split(' ') {
            assert_eq!(self.next().await, wanted);
        }
    }

    /// The next one, a failure.
    async fn fails(&mut self, wanted: &[&str]) {
        let told = self.next().await;
        assert!(told.starts_with("failed: ") && wanted.iter().all(|text| told.contains(text)), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_page_by_page_and_then_what_changes_in_order() {
    let first = [pod("a", "1"), plain_pod("nothing", "2"), pod("b", "3")];
    let changes = [
        event("ADDED", pod("d", "8")),
        event("MODIFIED", pod("a", "9")),
        event("ADDED", plain_pod("e", "10")),
        event("DELETED", pod("b", "11")),
        event("SOMETHING", json!({"metadata": {}})),
        bookmark("20"),
    ];
    let server = Server::of([
        Answer::page("7", "more", &first),
        Answer::page("7", "", &[pod("c", "4")]),
        Answer::Watch(changes.to_vec(), End::Clean),
        silent(&[event("ADDED", pod("f", "21"))]),
    ]);
    let mut told = pods(&server);
    told.tells("[ =a =b =c ] +d +a -b +f").await;
    assert_eq!(server.requests(), ["list", "list more", "watch 7", "watch 20"]);
    for (uri, _) in server.asked() {
        assert!(uri.starts_with("/api/v1/pods?"), "{uri}");
        let fields = of(&uri, "fieldSelector").unwrap_or_default();
        assert!(fields.contains("Succeeded") && fields.contains("Failed"), "{uri}");
        if of(&uri, "watch").is_some() {
            assert_eq!(of(&uri, "allowWatchBookmarks").as_deref(), Some("true"), "{uri}");
            let seconds: u32 = of(&uri, "timeoutSeconds").unwrap().parse().unwrap();
            assert!((40..50).contains(&seconds), "{uri}");
        } else {
            assert_eq!(of(&uri, "limit").as_deref(), Some("250"), "{uri}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    let server = Server::of([
        empty("7"),
        Answer::Watch(vec![event("ADDED", pod("a", "8"))], End::Broken),
        // Within a line.
        Answer::Lines(r#"{"type":"ADDED","object":{"metadata":{"name":"b","resourceVers"#, End::Clean),
        silent(&[event("ADDED", pod("b", "9"))]),
    ]);
    let mut told = pods(&server);
    told.tells("[ ] +a").await;
    told.fails(&["the watch of pods broke", "link"]).await;
    told.tells("+b").await;
    assert_eq!(server.requests(), ["list", "watch 7", "watch 8", "watch 8"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_has_forgotten_is_listed_again_and_is_no_failure() {
    let gone = || Answer::refused(410, "Expired");
    let after = || [Answer::page("70", "", &[pod("a", "1")]), silent(&[event("ADDED", pod("b", "71"))])];
    let cases = [
        ("the watch is refused", vec![empty("7"), gone()], "[ ] [ =a ] +b"),
        (
            "the watch says so",
            vec![empty("7"), Answer::Watch(vec![bookmark("9"), error(410, "Gone")], End::Clean)],
            "[ ] [ =a ] +b",
        ),
        ("a page", vec![Answer::page("7", "more", &[pod("z", "1")]), gone()], "[ =z [ =a ] +b"),
    ];
    for (what, answers, wanted) in cases {
        let server = Server::of(answers.into_iter().chain(after()));
        let mut told = pods(&server);
        told.tells(wanted).await;
        let requests = server.requests();
        assert!(requests.ends_with(&["list".to_owned(), "watch 70".to_owned()]), "{what}: {requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_said_and_tried_again_less_and_less_often() {
    let refused = vec![Answer::refused(403, "Forbidden"); 40];
    let server =
        Server::of(refused.into_iter().chain([empty("7"), silent(&[event("ADDED", pod("a", "8"))])]));
    let mut told = pods(&server);
    for _ in 0..40 {
        told.tells("[").await;
        told.fails(&["cannot list pods", "Forbidden"]).await;
    }
    told.tells("[ ] +a").await;
    let asked: Vec<Instant> = server.asked().into_iter().map(|(_, at)| at).collect();
    let waits: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).take(40).collect();
    assert!(waits[0] < Duration::from_millis(100), "{waits:?}");
    let late = &waits[20..];
    assert!(late.iter().all(|wait| (7..=15).contains(&wait.as_secs())), "{late:?}");
    assert!(late.iter().any(|wait| *wait != late[0]), "no jitter");
}

#[tokio::test(start_paused = true)]
async fn where_watches_fail_lists_do_not_follow_each_other_at_once() {
    for answer in [Answer::refused(410, "Expired"), Answer::refused(500, "InternalError")] {
        let server = Server::of([empty("7"), answer].into_iter().cycle().take(200));
        let mut told = pods(&server);
        let listening = async {
            loop {
                told.next().await;
            }
        };
        assert!(timeout(MINUTE, listening).await.is_err());
        let lists = server.requests().into_iter().filter(|request| request == "list").count();
        assert!((8..=20).contains(&lists), "{lists} lists in a minute");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_time_keeps_its_watch_and_is_left_alone() {
    let server = Server::of([
        empty("7"),
        Answer::refused_for(429, 40),
        Answer::Watch(vec![error(503, "ServiceUnavailable")], End::Clean),
        silent(&[event("ADDED", pod("a", "8"))]),
    ]);
    let mut told = pods(&server);
    told.tells("[ ]").await;
    let began = Instant::now();
    told.fails(&["cannot watch pods", "TooManyRequests"]).await;
    told.fails(&["cannot watch pods", "ServiceUnavailable"]).await;
    assert!(began.elapsed() >= Duration::from_secs(40), "{:?}", began.elapsed());
    told.tells("+a").await;
    assert_eq!(server.requests(), ["list", "watch 7", "watch 7", "watch 7"]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_within_a_minute() {
    let server = Server::of([
        Answer::Never,
        empty("7"),
        silent(&[bookmark("9")]),
        Answer::Never,
        silent(&[event("ADDED", pod("a", "10"))]),
    ]);
    let mut told = pods(&server);
    let mut began = Instant::now();
    told.tells("[").await;
    for (before, failure) in
        [("", "cannot list pods"), ("[ ]", "silent for too long"), ("", "cannot watch pods")]
    {
        if !before.is_empty() {
            told.tells(before).await;
        }
        told.fails(&[failure, "no answer"]).await;
        assert!(began.elapsed() <= MINUTE, "{failure}: {:?}", began.elapsed());
        began = Instant::now();
    }
    told.tells("+a").await;
    assert_eq!(server.requests(), ["list", "list", "watch 7", "watch 9", "watch 9"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_fails_alone() {
    let wrong = |name: &str, version: &str| {
        let mut pod = pod(name, version);
        pod["spec"]["resourceClaims"] = json!("no list");
        pod
    };
    let nameless = json!({"metadata": 3});
    let server = Server::of([
        Answer::page("7", "", &[pod("a", "1"), wrong("b", "2"), pod("c", "3"), nameless, Value::Null]),
        Answer::Watch(
            vec![
                event("ADDED", wrong("d", "8")),
                event("ADDED", pod("e", "9")),
                event("MODIFIED", wrong("e", "10")),
            ],
            End::Clean,
        ),
        silent(&[event("DELETED", pod("a", "11"))]),
    ]);
    let mut told = pods(&server);
    told.tells("[ =a").await;
    told.fails(&["cannot read team/b of pods", "left out"]).await;
    told.tells("=c").await;
    told.fails(&["cannot read an object of pods"]).await;
    told.fails(&["cannot read an object of pods"]).await;
    told.tells("]").await;
    told.fails(&["team/d"]).await;
    told.tells("+e").await;
    told.fails(&["team/e"]).await;
    told.tells("-a").await;
    assert_eq!(server.requests(), ["list", "watch 7", "watch 10"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_list_and_no_event_is_said_and_listed_again() {
    let server = Server::of([
        Answer::Json(200, json!({"items": 3})),
        empty("7"),
        Answer::Lines("<html>\n", End::Silent),
        empty("8"),
        silent(&[event("ADDED", pod("a", "9"))]),
    ]);
    let mut told = pods(&server);
    told.tells("[").await;
    told.fails(&["cannot read a list of pods"]).await;
    told.tells("[ ]").await;
    told.fails(&["cannot read a watch of pods"]).await;
    told.tells("[ ] +a").await;
}

#[tokio::test(start_paused = true)]
async fn news_that_are_not_taken_wait_and_none_is_lost() {
    let names: Vec<String> = (0..50).map(|number| format!("pod-{number}")).collect();
    let events: Vec<Value> = names
        .iter()
        .zip(10..)
        .map(|(name, version)| event("ADDED", pod(name, &version.to_string())))
        .collect();
    let server = Server::of([empty("7"), Answer::Watch(events, End::Clean), silent(&[])]);
    let mut told = pods_with(&server, 1);
    told.tells("[ ]").await;
    for name in &names {
        sleep(Duration::from_secs(7)).await;
        assert_eq!(told.next().await, format!("+{name}"));
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.requests(), ["list", "watch 7", "watch 59"]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_it_is_cancelled_or_nobody_listens() {
    let endless = || Server::of(vec![Answer::refused(403, "Forbidden"); 1000]);
    let server = endless();
    let mut told = pods(&server);
    told.tells("[").await;
    told.cancel.cancel();
    let rest = async { while told.news.recv().await.is_some() {} };
    timeout(Duration::from_secs(1), rest).await.unwrap();

    let server = endless();
    drop(pods(&server).news);
    sleep(Duration::from_secs(30)).await;
    let before = server.asked().len();
    sleep(5 * MINUTE).await;
    assert_eq!(server.asked().len(), before);
}

#[tokio::test(start_paused = true)]
async fn all_five_resources_are_followed() {
    let server = Server::of(vec![empty("7"); 5]);
    let (changes, mut news) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    follow(server.client(), changes, cancel.clone());
    let mut ended = BTreeSet::new();
    while ended.len() < 5 {
        let change = timeout(MINUTE, news.recv()).await.unwrap().unwrap();
        let resource = match change {
            Change::Slice(News::ListEnded) => "resource.k8s.io/v1/resourceslices",
            Change::Class(News::ListEnded) => "resource.k8s.io/v1/deviceclasses",
            Change::Claim(News::ListEnded) => "resource.k8s.io/v1/resourceclaims",
            Change::Node(News::ListEnded) => "v1/nodes",
            Change::Pod(News::ListEnded) => "v1/pods",
            _ => continue,
        };
        ended.insert(resource);
    }
    sleep(Duration::from_secs(1)).await;
    for resource in ended {
        let asked = server.asked();
        let of_resource: Vec<_> =
            asked.iter().filter(|(uri, _)| uri.contains(&format!("/{resource}?"))).collect();
        let [(list, _), (watch, _)] = of_resource.as_slice() else { panic!("{resource}: {asked:?}") };
        assert!(of(list, "watch").is_none() && of(watch, "watch").is_some(), "{resource}");
    }
    cancel.cancel();
}
