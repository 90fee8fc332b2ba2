//! Points among a program's requests to the API server: a proxy records them, and kills at one of them.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::header::{AUTHORIZATION, HOST};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Whether the API server gets the request at which the program dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It does not.
    Before,
    /// It does, and the program does not get the answer.
    After,
}

/// What a request is: its method and what it is about, without names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The HTTP method.
    pub method: String,
    /// The resource, and whether it is watched.
    pub resource: String,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.resource)
    }
}

/// A proxy before the API server, with the administrator's rights. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<Kind>>,
    /// At the first request of this kind, and whom.
    kill: Mutex<Option<(Kind, Moment, Pid)>>,
}

impl Proxy {
    /// Starts a proxy for the server of `client`.
    pub async fn start(client: Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen on this machine");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared::default());
        let server = tokio::spawn(serve(listener, client, Arc::clone(&shared)));
        Self { address, shared, server }
    }

    /// A kubeconfig that leads here.
    #[must_use]
    pub fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        })
    }

    /// The kinds of requests until now, each once, in the order in which they came first.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds = Vec::new();
        for kind in self.shared.seen.lock().unwrap().iter() {
            if !kinds.contains(kind) {
                kinds.push(kind.clone());
            }
        }
        kinds
    }

    /// Kills a process at the first request of a kind from now on.
    pub fn kill_at(&self, kind: Kind, moment: Moment, pid: Pid) {
        *self.shared.kill.lock().unwrap() = Some((kind, moment, pid));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    /// Whom to kill at this request, and when. Each order is carried out once.
    fn receive(&self, kind: Kind) -> Option<(Moment, Pid)> {
        let mut kill = self.kill.lock().unwrap();
        let due = kill.take_if(|(at, ..)| *at == kind).map(|(_, moment, pid)| (moment, pid));
        self.seen.lock().unwrap().push(kind);
        due
    }
}

async fn serve(listener: TcpListener, client: Client, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (client, shared) = (client.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let forward = service_fn(move |request| forward(client.clone(), Arc::clone(&shared), request));
            // A program that dies in the middle is what this is for.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), forward).await;
        });
    }
}

async fn forward(
    client: Client,
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let due = shared.receive(kind(parts.method.as_str(), &parts.uri.to_string()));
    let failed = |code: u16, text: String| {
        let response = Response::builder().status(code).body(Body::from(text.into_bytes()));
        Ok(response.expect("a status and a text make a response"))
    };
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return failed(400, error.to_string()),
    };
    if let Some((Moment::Before, pid)) = due {
        kill(pid);
        return failed(502, "the program that asked is dead".to_owned());
    }
    parts.headers.remove(HOST);
    parts.headers.remove(AUTHORIZATION);
    let answer = client.send(Request::from_parts(parts, Body::from(body.to_vec()))).await;
    if let Some((Moment::After, pid)) = due {
        kill(pid);
    }
    answer.or_else(|error| failed(502, error.to_string()))
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).expect("kill the program that made the request");
}

/// `/apis/GROUP/VERSION/[namespaces/NAME/]RESOURCE[/NAME[/SUBRESOURCE]][?…]`
fn kind(method: &str, uri: &str) -> Kind {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let start = if parts.first() == Some(&"apis") { 3 } else { 2 };
    parts.drain(..start.min(parts.len()));
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        parts.drain(..2);
    }
    let mut resource = match parts.as_slice() {
        [] => path.to_owned(),
        [resource] => format!("{resource} (all)"),
        [resource, _name] => (*resource).to_owned(),
        [resource, _name, rest @ ..] => format!("{resource}/{}", rest.join("/")),
    };
    for flag in ["watch=true", "dryRun=All"] {
        if query.split('&').any(|part| part == flag) {
            resource = format!("{resource} {flag}");
        }
    }
    Kind { method: method.to_owned(), resource }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requests_kind_has_no_names() {
        let cases = [
            ("GET", "/apis/resource.k8s.io/v1/namespaces/n/resourceclaims/c", "GET resourceclaims"),
            ("POST", "/apis/resource.k8s.io/v1/resourceslices?", "POST resourceslices (all)"),
            (
                "POST",
                "/apis/resource.k8s.io/v1/resourceslices?fieldManager=x&dryRun=All",
                "POST resourceslices (all) dryRun=All",
            ),
            (
                "GET",
                "/apis/resource.k8s.io/v1/resourceslices?watch=true",
                "GET resourceslices (all) watch=true",
            ),
            ("PUT", "/apis/resource.k8s.io/v1/resourceslices/s", "PUT resourceslices"),
            ("GET", "/api/v1/nodes/node1", "GET nodes"),
            ("GET", "/api/v1/namespaces/n", "GET namespaces"),
            ("PATCH", "/api/v1/namespaces/n/pods/p/status", "PATCH pods/status"),
            ("GET", "/version", "GET /version"),
        ];
        for (method, uri, wanted) in cases {
            assert_eq!(kind(method, uri).to_string(), wanted, "{uri}");
        }
    }
}
