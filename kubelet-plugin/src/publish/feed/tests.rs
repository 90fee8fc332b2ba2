use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use tokio::time::timeout;

use super::*;
use crate::publish::Settings;

/// An API server without slices whose watches never say anything, and never end.
fn silent(watches: &Arc<AtomicUsize>) -> Client {
    let watches = Arc::clone(watches);
    let answer = move |request: Request<Body>| {
        let body: BoxBody<Bytes, Infallible> =
            if request.uri().query().unwrap_or_default().contains("watch=true") {
                watches.fetch_add(1, Ordering::Relaxed);
                BodyExt::boxed(StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>()))
            } else {
                let list = r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSliceList",
                "metadata":{"resourceVersion":"7"},"items":[]}"#;
                Full::new(Bytes::from_static(list.as_bytes())).boxed()
            };
        async move { Ok::<_, Infallible>(Response::new(body)) }
    };
    Client::new(tower::service_fn(answer), "default")
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_died_without_a_word_is_noticed_within_a_minute() {
    let watches = Arc::new(AtomicUsize::new(0));
    let settings = Settings { driver: "gpu.example.com".into(), node: "worker-1".into() };
    let mut feed = Feed::start(Server::new(silent(&watches), &settings));
    assert!(matches!(feed.next().await, Some(News::Listed { request: 0, slices, .. }) if slices.is_empty()));
    assert!(matches!(feed.next().await, Some(News::Watching)));
    for watch in 2..5 {
        let minute = Duration::from_secs(60);
        let failed = timeout(minute, feed.next()).await.unwrap().unwrap();
        assert!(matches!(&failed, News::Failed(RequestError::NoAnswer { .. })), "{failed:?}");
        assert!(matches!(timeout(minute, feed.next()).await.unwrap(), Some(News::Watching)));
        assert_eq!(watches.load(Ordering::Relaxed), watch);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_list_comes_when_it_is_asked_for() {
    let settings = Settings { driver: "gpu.example.com".into(), node: "worker-1".into() };
    let mut feed = Feed::start(Server::new(silent(&Arc::default()), &settings));
    assert!(matches!(feed.next().await, Some(News::Listed { request: 0, .. })));
    assert!(matches!(feed.next().await, Some(News::Watching)));
    let asked = feed.list_again();
    let listed = timeout(Duration::from_secs(1), feed.next()).await.unwrap();
    assert!(matches!(listed, Some(News::Listed { request, .. }) if request == asked), "{listed:?}");
}
