//! An API server with one Lease, as it is said to behave: a write needs the version that is there. It can be slow,
//! silent and unwilling. What was sent comes to be even if the one who sent it has given up.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub(super) const NAMESPACE: &str = "dra";
pub(super) const NAME: &str = "controller";

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It never arrives.
    Lost,
    /// It is done, and the answer never arrives.
    AnswerLost,
    /// It is turned away.
    Refused(u16),
    /// It arrives late, and so does the answer.
    Slow(Duration, Duration),
    /// Any of these.
    Any,
}

#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    faults: HashMap<&'static str, Fault>,
    /// Faults of the next writes alone.
    once: Vec<(&'static str, Fault)>,
    random: Option<fastrand::Rng>,
    writes: Vec<(Instant, Lease)>,
    verbs: Vec<&'static str>,
}

impl Server {
    /// A client of which it is known whose it is.
    pub(super) fn client(&self, whose: &'static str) -> Client {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            let answer = tokio::spawn(async move { server.answer(whose, request).await });
            async move { Ok::<_, Infallible>(answer.await.unwrap()) }
        };
        Client::new(tower::service_fn(answer), NAMESPACE)
    }

    /// What becomes of all requests of one client from now on.
    pub(super) fn fault(&self, whose: &'static str, fault: Fault) {
        self.0.lock().unwrap().faults.insert(whose, fault);
    }

    /// What becomes of the next write of one client.
    pub(super) fn fault_once(&self, whose: &'static str, fault: Fault) {
        self.0.lock().unwrap().once.push((whose, fault));
    }

    /// From what [`Fault::Any`] is drawn.
    pub(super) fn seed(&self, seed: u64) {
        self.0.lock().unwrap().random = Some(fastrand::Rng::with_seed(seed));
    }

    /// Writes the Lease as a person does, or another program.
    pub(super) fn put(&self, spec: Value) {
        let mut state = self.0.lock().unwrap();
        let labels = json!({"app": "kept"});
        let metadata = json!({"name": NAME, "namespace": NAMESPACE, "labels": labels});
        state.write(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}));
    }

    /// Deletes the Lease.
    pub(super) fn delete(&self) {
        self.0.lock().unwrap().lease = None;
    }

    /// The Lease's `spec`.
    pub(super) fn spec(&self) -> Value {
        self.lease()["spec"].clone()
    }

    pub(super) fn lease(&self) -> Value {
        self.0.lock().unwrap().lease.clone().unwrap()
    }

    /// All writes, with their times.
    pub(super) fn writes(&self) -> Vec<(Instant, Lease)> {
        self.0.lock().unwrap().writes.clone()
    }

    /// What was asked for, each once.
    pub(super) fn verbs(&self) -> Vec<&'static str> {
        let mut verbs = self.0.lock().unwrap().verbs.clone();
        verbs.sort_unstable();
        verbs.dedup();
        verbs
    }

    async fn answer(&self, whose: &'static str, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let fault = self.0.lock().unwrap().fault_of(whose, &head.method);
        let of_server = || self.0.lock().unwrap().done(&head.method, head.uri.path(), &body);
        match fault {
            Fault::None | Fault::Any => of_server(),
            Fault::Lost => std::future::pending().await,
            Fault::AnswerLost => {
                of_server();
                std::future::pending().await
            }
            Fault::Refused(code) => status(code, "Refused"),
            Fault::Slow(before, after) => {
                sleep(before).await;
                let answer = of_server();
                sleep(after).await;
                answer
            }
        }
    }
}

impl State {
    fn fault_of(&mut self, whose: &'static str, method: &Method) -> Fault {
        let next = self.once.iter().position(|(of, _)| *of == whose && method != Method::GET);
        let fault = match next {
            Some(at) => self.once.remove(at).1,
            None => self.faults.get(whose).copied().unwrap_or(Fault::None),
        };
        match (fault, &mut self.random) {
            (Fault::Any, Some(random)) => match random.u32(0..10) {
                0 => Fault::Lost,
                1 => Fault::AnswerLost,
                2 => Fault::Refused(409),
                3 => Fault::Refused(500),
                // Longer than is waited for: it comes to be long after it was given up.
                4..6 => Fault::Slow(
                    Duration::from_millis(random.u64(0..20_000)),
                    Duration::from_millis(random.u64(0..5_000)),
                ),
                _ => Fault::None,
            },
            (fault, _) => fault,
        }
    }

    fn done(&mut self, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
        let all = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
        let one = format!("{all}/{NAME}");
        let sent = || serde_json::from_slice::<Value>(body).unwrap();
        if method == Method::GET && path == one {
            self.verbs.push("get");
            match &self.lease {
                Some(lease) => found(200, lease),
                None => status(404, "NotFound"),
            }
        } else if method == Method::POST && path == all {
            self.verbs.push("create");
            match &self.lease {
                Some(_) => status(409, "AlreadyExists"),
                None => found(201, &self.write(sent())),
            }
        } else if method == Method::PUT && path == one {
            self.verbs.push("update");
            let sent = sent();
            match &self.lease {
                None => status(404, "NotFound"),
                Some(lease)
                    if lease["metadata"]["resourceVersion"] != sent["metadata"]["resourceVersion"] =>
                {
                    status(409, "Conflict")
                }
                Some(_) => found(200, &self.write(sent)),
            }
        } else {
            self.verbs.push("something else");
            status(403, "Forbidden")
        }
    }

    fn write(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        self.writes.push((Instant::now(), serde_json::from_value(lease.clone()).unwrap()));
        lease
    }
}

fn found(code: u16, lease: &Value) -> Response<Body> {
    response(code, lease)
}

fn status(code: u16, reason: &str) -> Response<Body> {
    let reason = if code == 409 && reason == "Refused" { "Conflict" } else { reason };
    response(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason,
            "reason": reason, "code": code}),
    )
}

fn response(code: u16, body: &Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap()
}
