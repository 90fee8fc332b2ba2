//! The scripted transport, in front of a small HTTP server on the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests end tests")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use support::transport::{Action, Answer, Cut, Ending, Fate, Lost, Matching, Script, Verb, client};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longer than anything here takes: tests that hang end.
const GUARD: Duration = Duration::from_secs(20);

const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";

/// What the server answers to every request: three events of a watch.
const LINES: &str = "one\ntwo\nthree\n";

/// A server that notes the requests, and a client whose transport goes through a script.
struct Bench {
    script: Script,
    client: Client,
    served: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Bench {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn(serve(listener, Arc::clone(&served)));
        let script = Script::new();
        let client = client(kube::Config::new(url), &script).unwrap();
        Self { script, client, served, server }
    }

    async fn send(&self, method: Method, path: &str) -> kube::Result<String> {
        let request = Request::builder().method(method).uri(path).body(b"sent".to_vec()).unwrap();
        tokio::time::timeout(GUARD, self.client.request_text(request)).await.expect("an answer in time")
    }

    /// Sends a request in the background.
    fn start(&self, method: Method, path: &str) -> JoinHandle<kube::Result<String>> {
        let client = self.client.clone();
        let request = Request::builder().method(method).uri(path).body(Vec::new()).unwrap();
        tokio::spawn(async move { client.request_text(request).await })
    }

    fn served(&self) -> Vec<String> {
        self.served.lock().unwrap().clone()
    }

    fn fates(&self) -> Vec<Fate> {
        self.script.requests().into_iter().map(|seen| seen.fate).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, served: Arc<Mutex<Vec<String>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let served = Arc::clone(&served);
        let answer = service_fn(move |request: Request<Incoming>| {
            let served = Arc::clone(&served);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let text = String::from_utf8_lossy(&body).into_owned();
                served.lock().unwrap().push(format!("{} {} {text}", head.method, head.uri));
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(LINES.as_bytes()))))
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
        );
    }
}

fn lost(error: kube::Error) -> Lost {
    match error {
        kube::Error::Service(error) => *error.downcast::<Lost>().expect("the script's error"),
        error => panic!("not a connection error: {error}"),
    }
}

fn slices(verb: Verb) -> Matching {
    Matching::verb(verb).resource("resourceslices")
}

#[tokio::test]
async fn without_rules_everything_passes_and_is_logged() {
    let bench = Bench::new().await;
    assert_eq!(bench.send(Method::PUT, &format!("{SLICES}/a?dryRun=All")).await.unwrap(), LINES);
    let requests = bench.script.requests();
    let [seen] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((seen.verb, seen.resource.as_deref()), (Some(Verb::Update), Some("resourceslices")));
    assert_eq!(seen.uri, format!("{SLICES}/a?dryRun=All").as_str());
    assert_eq!((&seen.body[..], &seen.fate), (&b"sent"[..], &Fate::Answered(200)));
    assert_eq!(bench.served(), [format!("PUT {SLICES}/a?dryRun=All sent")]);
}

#[tokio::test]
async fn scripted_answers_never_reach_the_server() {
    let cases = [
        ("conflict", Answer::conflict(), 409, "Conflict"),
        ("already exists", Answer::already_exists(), 409, "AlreadyExists"),
        ("expired", Answer::expired(), 410, "Expired"),
        ("internal error", Answer::internal_error(), 500, "InternalError"),
        ("any other", Answer::status(StatusCode::FORBIDDEN, "Forbidden", "no"), 403, "Forbidden"),
    ];
    for (name, answer, code, reason) in cases {
        let bench = Bench::new().await;
        bench.script.on(Matching::any(), Action::Answer(answer));
        let error = bench.send(Method::GET, SLICES).await.unwrap_err();
        let kube::Error::Api(status) = error else { panic!("{name}: {error}") };
        assert_eq!((status.code, status.reason.as_str()), (code, reason), "{name}");
        assert!(bench.served().is_empty(), "{name}");
        assert_eq!(bench.fates(), [Fate::Scripted(code)], "{name}");
    }
}

#[tokio::test]
async fn an_expired_watch_says_so_in_an_event() {
    let bench = Bench::new().await;
    bench.script.on(slices(Verb::Watch), Action::Answer(Answer::expired_event()));
    let body = bench.send(Method::GET, &format!("{SLICES}?watch=true")).await.unwrap();
    let event: serde_json::Value = serde_json::from_str(body.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&"ERROR".into(), &410.into()));
}

#[tokio::test]
async fn the_client_retries_429_by_itself_and_each_try_is_logged() {
    let bench = Bench::new().await;
    bench.script.on(slices(Verb::Create).first(2), Action::Answer(Answer::too_many_requests(0)));
    assert_eq!(bench.send(Method::POST, SLICES).await.unwrap(), LINES);
    assert_eq!(bench.fates(), [Fate::Scripted(429), Fate::Scripted(429), Fate::Answered(200)]);
    assert_eq!(bench.served().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for() {
    let bench = Bench::new().await;
    bench.script.on(slices(Verb::Create).nth(1), Action::Answer(Answer::too_many_requests(7)));
    let start = tokio::time::Instant::now();
    bench.send(Method::POST, SLICES).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(7), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_dropped_request_is_a_connection_error() {
    let bench = Bench::new().await;
    bench.script.on(Matching::any().nth(1), Action::Drop);
    assert_eq!(lost(bench.send(Method::POST, SLICES).await.unwrap_err()), Lost::Request);
    assert!(bench.served().is_empty());
    assert_eq!(bench.send(Method::POST, SLICES).await.unwrap(), LINES);
    assert_eq!(bench.fates(), [Fate::Dropped, Fate::Answered(200)]);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_write_on_the_server() {
    let bench = Bench::new().await;
    bench.script.on(slices(Verb::Create), Action::LoseAnswer);
    assert_eq!(lost(bench.send(Method::POST, SLICES).await.unwrap_err()), Lost::Answer);
    assert_eq!(bench.served(), [format!("POST {SLICES} sent")]);
    assert_eq!(bench.fates(), [Fate::AnswerLost(200)]);
}

#[tokio::test]
async fn a_held_request_waits_for_its_release_and_others_pass() {
    let bench = Bench::new().await;
    let hold = bench.script.on(slices(Verb::List), Action::Hold);
    let held = bench.start(Method::GET, SLICES);
    hold.reached(1, GUARD).await.unwrap();
    assert_eq!(bench.send(Method::POST, SLICES).await.unwrap(), LINES);
    assert_eq!(bench.fates(), [Fate::Pending, Fate::Answered(200)]);
    assert_eq!(bench.served(), [format!("POST {SLICES} sent")]);

    hold.release();
    assert_eq!(tokio::time::timeout(GUARD, held).await.unwrap().unwrap().unwrap(), LINES);
    assert_eq!(bench.send(Method::GET, SLICES).await.unwrap(), LINES, "and later ones are not held");
}

#[tokio::test]
async fn a_held_request_that_is_given_up_never_arrives() {
    let bench = Bench::new().await;
    let hold = bench.script.on(slices(Verb::List), Action::Hold);
    let held = bench.start(Method::GET, SLICES);
    hold.reached(1, GUARD).await.unwrap();
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
    hold.release();
    bench.send(Method::POST, SLICES).await.unwrap();
    assert_eq!(bench.served(), [format!("POST {SLICES} sent")]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_request_passes_later() {
    let bench = Bench::new().await;
    bench.script.on(Matching::any(), Action::Delay(Duration::from_secs(5)));
    let start = tokio::time::Instant::now();
    assert_eq!(bench.send(Method::GET, SLICES).await.unwrap(), LINES);
    assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_never_answers() {
    let bench = Bench::new().await;
    bench.script.on(Matching::any(), Action::BlackHole);
    let request = bench.start(Method::GET, SLICES);
    assert!(tokio::time::timeout(Duration::from_secs(86_400), request).await.is_err(), "a day passes");
    assert!(bench.served().is_empty());
    assert_eq!(bench.fates(), [Fate::Dropped]);
}

#[tokio::test]
async fn the_body_of_a_watch_is_cut() {
    let cases = [
        ("before the first byte", Cut::Bytes(0), ""),
        ("within a line", Cut::Bytes(6), "one\ntw"),
        ("no line", Cut::Lines(0), ""),
        ("one line", Cut::Lines(1), "one\n"),
        ("two lines", Cut::Lines(2), "one\ntwo\n"),
    ];
    for (name, cut, want) in cases {
        let bench = Bench::new().await;
        let rule = bench.script.on(slices(Verb::Watch), Action::Cut(cut, Ending::Clean));
        let watch = format!("{SLICES}?watch=true");
        assert_eq!(bench.send(Method::GET, &watch).await.unwrap(), want, "{name}, clean");
        rule.end();

        bench.script.on(slices(Verb::Watch), Action::Cut(cut, Ending::Broken));
        let request = Request::get(&watch).body(kube::client::Body::empty()).unwrap();
        let mut body = bench.client.send(request).await.unwrap().into_body();
        let (mut got, mut broken) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => got.extend(frame.into_data().unwrap()),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        assert_eq!((got.as_slice(), broken), (want.as_bytes(), true), "{name}, broken");
    }
}

#[tokio::test]
async fn a_cut_beyond_the_end_changes_nothing() {
    for cut in [Cut::Bytes(15), Cut::Lines(4)] {
        let bench = Bench::new().await;
        bench.script.on(Matching::any(), Action::Cut(cut, Ending::Broken));
        assert_eq!(bench.send(Method::GET, SLICES).await.unwrap(), LINES, "{cut:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_apart_from_the_script() {
    let bench = Bench::new().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = kube::Config::new(format!("http://{gone}").parse().unwrap());
    let client = client(config, &bench.script).unwrap();
    let request = Request::get(SLICES).body(Vec::new()).unwrap();
    client.request_text(request).await.unwrap_err();
    assert!(matches!(bench.fates().as_slice(), [Fate::Failed(_)]), "{:?}", bench.fates());
}

#[tokio::test]
async fn rules_take_turns() {
    let bench = Bench::new().await;
    let conflict = bench.script.on(slices(Verb::Update).nth(2), Action::Answer(Answer::conflict()));
    let broken = bench.script.on(slices(Verb::Update).first(2), Action::Answer(Answer::internal_error()));
    for path in [format!("{SLICES}/a"), format!("{SLICES}/b"), format!("{SLICES}/c")] {
        let _ = bench.send(Method::PUT, &path).await;
        let _ = bench.send(Method::GET, &path).await;
    }
    let fates: Vec<Fate> =
        bench.script.requests_to(&slices(Verb::Update)).into_iter().map(|seen| seen.fate).collect();
    assert_eq!(fates, [Fate::Scripted(500), Fate::Scripted(409), Fate::Answered(200)]);
    assert_eq!((conflict.count(), broken.count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_what_came() {
    let bench = Bench::new().await;
    bench.send(Method::GET, SLICES).await.unwrap();
    bench.script.saw(&slices(Verb::List), 1, GUARD).await.unwrap();
    let error = bench.script.saw(&slices(Verb::Create), 1, GUARD).await.unwrap_err().to_string();
    assert!(error.contains(&format!("GET {SLICES} Answered(200)")), "{error}");
}

#[tokio::test]
async fn verbs_and_resources_as_the_api_server_reads_them() {
    let claims = "/apis/resource.k8s.io/v1/namespaces/n/resourceclaims";
    let cases = [
        (Method::GET, "/api/v1/pods".to_owned(), Verb::List, Some("pods")),
        (Method::GET, "/api/v1/pods?watch=1".to_owned(), Verb::Watch, Some("pods")),
        (Method::GET, "/api/v1/pods?watch=false".to_owned(), Verb::List, Some("pods")),
        (Method::GET, "/api/v1/namespaces/n/pods/p".to_owned(), Verb::Get, Some("pods")),
        (Method::GET, "/api/v1/namespaces/n/pods/p/log".to_owned(), Verb::Get, Some("pods/log")),
        (Method::GET, "/api/v1/namespaces".to_owned(), Verb::List, Some("namespaces")),
        (Method::GET, "/api/v1/namespaces/n".to_owned(), Verb::Get, Some("namespaces")),
        (Method::PUT, "/api/v1/namespaces/n/finalize".to_owned(), Verb::Update, Some("namespaces/finalize")),
        (Method::GET, "/version".to_owned(), Verb::Get, None),
        (Method::POST, claims.to_owned(), Verb::Create, Some("resourceclaims")),
        (Method::PUT, format!("{claims}/c/status"), Verb::Update, Some("resourceclaims/status")),
        (Method::PATCH, format!("{claims}/c/status"), Verb::Patch, Some("resourceclaims/status")),
        (Method::DELETE, format!("{claims}/c"), Verb::Delete, Some("resourceclaims")),
        (Method::DELETE, claims.to_owned(), Verb::DeleteCollection, Some("resourceclaims")),
    ];
    let bench = Bench::new().await;
    for (method, path, verb, resource) in cases {
        bench.send(method.clone(), &path).await.unwrap();
        let seen = bench.script.requests().pop().unwrap();
        assert_eq!((seen.verb, seen.resource.as_deref()), (Some(verb), resource), "{method} {path}");
    }
}

#[tokio::test]
async fn paths_match_with_stars() {
    let bench = Bench::new().await;
    bench.send(Method::GET, &format!("{SLICES}/node-1-abc?pretty=1")).await.unwrap();
    let cases = [
        (format!("{SLICES}/node-1-abc"), true),
        (format!("{SLICES}/node-1-*"), true),
        ("*/resourceslices/*-abc".to_owned(), true),
        ("*".to_owned(), true),
        (SLICES.to_owned(), false),
        (format!("{SLICES}/node-2-*"), false),
        ("*/resourceslices".to_owned(), false),
    ];
    for (pattern, want) in cases {
        let matched = bench.script.requests_to(&Matching::any().path(&pattern)).len();
        assert_eq!(matched == 1, want, "{pattern}");
    }
}
