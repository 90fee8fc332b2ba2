//! What the controller needs of an API server, from memory: lists in pages, watches, Leases, Events. A real one would
//! need minutes and gigabytes for 10,000 nodes, and its own times would be measured along.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

type Body = BoxBody<Bytes, Infallible>;

/// The objects of one resource.
#[derive(Debug, Default)]
struct Resource {
    objects: BTreeMap<String, (u64, Bytes)>,
    /// All changes, with their versions: none is forgotten.
    changes: Vec<(u64, Bytes)>,
}

/// A server. Clones are the same server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    resources: HashMap<String, Resource>,
    /// Events about claims and pods that were written: what they are about and when they came.
    events: Vec<(String, Instant)>,
}

impl Server {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("take a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let server = Self { address, state: Arc::default(), version: watch::channel(0).0 };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = serving.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new();
                    // A client that goes away is none of the server's business.
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }

    /// A kubeconfig for it.
    pub(crate) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": self.url()}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "users": [{"name": "bench", "user": {}}],
        })
        .to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An object came, or changed.
    pub(crate) fn apply(&self, resource: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let key = key(&object["metadata"]);
        let of_resource = state.resources.entry(resource.to_owned()).or_default();
        let kind = if of_resource.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        let text = Bytes::from(object.to_string());
        of_resource.changes.push((version, line(kind, &text)));
        of_resource.objects.insert(key, (version, text));
        drop(state);
        self.version.send_replace(version);
    }

    /// An object is gone.
    pub(crate) fn delete(&self, resource: &str, key: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let of_resource = state.resources.entry(resource.to_owned()).or_default();
        let Some((_, text)) = of_resource.objects.remove(key) else { return };
        let mut object: Value = serde_json::from_slice(&text).expect("what is stored is JSON");
        object["metadata"]["resourceVersion"] = version.to_string().into();
        of_resource.changes.push((version, line("DELETED", object.to_string().as_bytes())));
        drop(state);
        self.version.send_replace(version);
    }

    /// Forgets the changes so far: the memory is the bench's own.
    pub(crate) fn forget(&self) {
        self.state().resources.values_mut().for_each(|resource| resource.changes = Vec::new());
    }

    /// When the first Event about an object came.
    pub(crate) fn event(&self, about: &str) -> Option<Instant> {
        self.state().events.iter().find(|(known, _)| known == about).map(|(_, at)| *at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let query: HashMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if path == "/version" {
            return reply(StatusCode::OK, json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0"}));
        }
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let segments = match segments.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => return missing(),
        };
        let (namespace, segments) = match segments {
            ["namespaces", namespace, rest @ ..] => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let [resource, name @ ..] = segments else { return missing() };
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        match (&parts.method, name) {
            (&Method::GET, []) if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") => {
                self.watch(resource, &query)
            }
            (&Method::GET, []) => self.list(resource, &query),
            (&Method::GET, [name]) => {
                let state = self.state();
                let found = state
                    .resources
                    .get(*resource)
                    .and_then(|resource| resource.objects.get(&format!("{}/{name}", namespace?)));
                match found {
                    Some((_, text)) => bytes(StatusCode::OK, text.clone()),
                    None => missing(),
                }
            }
            // The controller changes the Event that is there, or makes it: each is new here.
            (&Method::PATCH, _) => missing(),
            (&Method::DELETE, _) => reply(StatusCode::OK, json!({"kind": "Status", "status": "Success"})),
            _ => self.write(resource, &body),
        }
    }

    /// Stores what is written, as far as the controller reads it again.
    fn write(&self, resource: &str, body: &[u8]) -> Response<Body> {
        let object: Value = serde_json::from_slice(body).unwrap_or_default();
        if resource == "events" {
            let about = &object["involvedObject"];
            let text = |field: &str| about[field].as_str().unwrap_or_default().to_owned();
            let about = format!("{}/{}", text("kind"), text("name"));
            self.state().events.push((about, Instant::now()));
            return reply(StatusCode::CREATED, object);
        }
        self.apply(resource, object.clone());
        let key = key(&object["metadata"]);
        let state = self.state();
        match state.resources.get(resource).and_then(|resource| resource.objects.get(&key)) {
            Some((_, text)) => bytes(StatusCode::CREATED, text.clone()),
            None => missing(),
        }
    }

    fn list(&self, resource: &str, query: &HashMap<String, String>) -> Response<Body> {
        let state = self.state();
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
        let (skipped, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
        let mut body = br#"{"kind":"List","items":["#.to_vec();
        let mut rest = 0;
        if let Some(resource) = state.resources.get(resource) {
            let all = resource.objects.len();
            for (index, (_, text)) in resource.objects.values().skip(skipped).take(limit).enumerate() {
                if index > 0 {
                    body.push(b',');
                }
                body.extend_from_slice(text);
            }
            rest = all.saturating_sub(skipped.saturating_add(limit));
        }
        let more = if rest > 0 { (skipped + limit).to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": state.version.to_string(), "continue": more});
        body.extend_from_slice(format!(r#"],"metadata":{metadata}}}"#).as_bytes());
        bytes(StatusCode::OK, body.into())
    }

    fn watch(&self, resource: &str, query: &HashMap<String, String>) -> Response<Body> {
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
        let since = number("resourceVersion").unwrap_or_else(|| self.state().version);
        let end = tokio::time::Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(290));
        let (server, resource) = (self.clone(), resource.to_owned());
        let news =
            futures_util::stream::unfold((since, self.version.subscribe()), move |(seen, mut news)| {
                let (server, resource) = (server.clone(), resource.clone());
                async move {
                    loop {
                        let (chunk, last) = server.changes(&resource, seen);
                        if !chunk.is_empty() {
                            return Some((Ok::<_, Infallible>(Frame::data(chunk)), (last, news)));
                        }
                        let changed = tokio::time::timeout_at(end, news.changed()).await;
                        if !matches!(changed, Ok(Ok(()))) {
                            return None;
                        }
                    }
                }
            });
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(news)));
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        response
    }

    /// The changes of a resource after a version, and the version of the last one.
    fn changes(&self, resource: &str, seen: u64) -> (Bytes, u64) {
        let state = self.state();
        let Some(resource) = state.resources.get(resource) else { return (Bytes::new(), seen) };
        let first = resource.changes.partition_point(|(version, _)| *version <= seen);
        let new = &resource.changes[first..];
        let last = new.last().map_or(seen, |(version, _)| *version);
        (new.iter().flat_map(|(_, line)| line).copied().collect::<Vec<u8>>().into(), last)
    }
}

fn key(metadata: &Value) -> String {
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    match text("namespace") {
        "" => text("name").to_owned(),
        namespace => format!("{namespace}/{}", text("name")),
    }
}

/// An object as a watch sends it.
fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut line = format!(r#"{{"type":"{kind}","object":"#).into_bytes();
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.into()
}

fn reply(status: StatusCode, body: Value) -> Response<Body> {
    bytes(status, body.to_string().into())
}

fn bytes(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn missing() -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": "not found", "details": {},
    });
    reply(StatusCode::NOT_FOUND, status)
}
