//! An API server that answers as it is told to, one answer after the other.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a request meets.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Json(u16, Value),
    /// The events of a watch, and how it ends.
    Watch(Vec<Value>, End),
    /// Lines of a watch as they are written.
    Lines(&'static str, End),
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Clean,
    Broken,
    Silent,
}

/// A server, and what it was asked: the query, and when.
#[derive(Clone, Default)]
pub(super) struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Server {
    /// A server with these answers. Then it does not answer any more.
    pub(super) fn of(answers: impl IntoIterator<Item = Answer>) -> Self {
        let server = Self::default();
        server.answers.lock().unwrap().extend(answers);
        server
    }

    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |request: Request<kube::client::Body>| {
            server.asked.lock().unwrap().push((request.uri().to_string(), Instant::now()));
            let answer = server.answers.lock().unwrap().pop_front().unwrap_or(Answer::Never);
            async move { Ok::<_, Infallible>(answer.into_response().await) }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    pub(super) fn asked(&self) -> Vec<(String, Instant)> {
        self.asked.lock().unwrap().clone()
    }

    /// In short, what was asked: `list`, `list CONTINUE`, `watch VERSION`.
    pub(super) fn requests(&self) -> Vec<String> {
        let short = |(uri, _): &(String, Instant)| match (of(uri, "resourceVersion"), of(uri, "continue")) {
            (Some(version), _) if of(uri, "watch").is_some() => format!("watch {version}"),
            (_, Some(next)) => format!("list {next}"),
            _ => "list".to_owned(),
        };
        self.asked().iter().map(short).collect()
    }
}

/// The value of a parameter of a query.
pub(super) fn of(uri: &str, name: &str) -> Option<String> {
    let (_, query) = uri.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(of, value)| *of == name && !value.is_empty()).map(|(_, value)| value.to_owned())
}

impl Answer {
    /// A page of a list; with `next` it is not the last one.
    pub(super) fn page(version: &str, next: &str, items: &[Value]) -> Self {
        let metadata = json!({"resourceVersion": version, "continue": next});
        Self::Json(200, json!({"kind": "List", "metadata": metadata, "items": items}))
    }

    pub(super) fn refused(code: u16, reason: &str) -> Self {
        Self::Json(code, status(code, reason, 0))
    }

    pub(super) fn refused_for(code: u16, seconds: u32) -> Self {
        Self::Json(code, status(code, "TooManyRequests", seconds))
    }

    async fn into_response(self) -> Response<Body> {
        let (code, body) = match self {
            Self::Json(code, value) => (code, full(value.to_string())),
            Self::Watch(events, end) => {
                let lines = events.iter().map(|event| format!("{event}\n")).collect::<String>();
                (200, streamed(lines, end))
            }
            Self::Lines(lines, end) => (200, streamed(lines.to_owned(), end)),
            Self::Never => std::future::pending().await,
        };
        Response::builder().status(code).body(body).unwrap()
    }
}

fn status(code: u16, reason: &str, seconds: u32) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no",
        "reason": reason, "code": code, "details": {"retryAfterSeconds": seconds}})
}

/// An event of a watch that is an error.
pub(super) fn error(code: u16, reason: &str) -> Value {
    json!({"type": "ERROR", "object": status(code, reason, 0)})
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// The text in small pieces, each of which is waited for, as a network brings it.
fn streamed(text: String, end: End) -> Body {
    let pieces: Vec<_> =
        text.as_bytes().chunks(7).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let pieces = stream::iter(pieces).then(|piece| async {
        tokio::task::yield_now().await;
        piece
    });
    match end {
        End::Clean => StreamBody::new(pieces).boxed_unsync(),
        End::Broken => {
            let reset = stream::once(async { Err(io::Error::from(io::ErrorKind::ConnectionReset)) });
            StreamBody::new(pieces.chain(reset)).boxed_unsync()
        }
        End::Silent => StreamBody::new(pieces.chain(stream::pending())).boxed_unsync(),
    }
}
