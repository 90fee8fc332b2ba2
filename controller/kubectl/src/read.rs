//! What the caller may read of a cluster.

use std::time::Duration;

use dra_controller::allocator::Features;
use dra_controller::cluster::{Cluster, Lists};
use dra_controller::model::object::{Claim, Class, Node, Slice};
use dra_controller::model::pod::Pod;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::core::Request;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::timeout;

use crate::connect::Connection;

/// How many objects are asked for at once.
const PAGE: u32 = 500;
/// How often a list is begun.
const BEGINNINGS: usize = 3;
/// How long the API server may take for an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// The Events' reason when the controller says why something waits.
const REASON: &str = "CannotAllocate";

/// Why a cluster cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The API server refused, or the link failed.
    #[error("cannot list {resource}: {source}; check the address and the user of the kubeconfig")]
    Failed {
        /// The resource.
        resource: &'static str,
        /// Why.
        source: Box<kube::Error>,
    },
    /// No answer came in time.
    #[error("cannot list {resource}: no answer from the API server within {} s", ANSWER.as_secs())]
    NoAnswer {
        /// The resource.
        resource: &'static str,
    },
}

/// What was read.
#[derive(Debug)]
pub struct Read {
    /// All that could be read.
    pub cluster: Cluster,
    /// What could not.
    pub hidden: Vec<Hidden>,
}

/// Something that the caller may not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hidden {
    /// The resource.
    pub resource: &'static str,
    /// Its group: empty for the core.
    pub group: &'static str,
    /// Whether those of the own namespace could be read.
    pub own_namespace_only: bool,
}

impl std::fmt::Display for Hidden {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resource, group, own_namespace_only } = self;
        let of = if group.is_empty() { String::new() } else { format!(".{group}") };
        if *own_namespace_only {
            write!(formatter, "{resource} of other namespaces (to list {resource}{of} of all namespaces)")
        } else {
            write!(formatter, "{resource} (to list {resource}{of})")
        }
    }
}

impl Read {
    /// Whether a resource could be read as a whole.
    #[must_use]
    pub fn has_all(&self, resource: &str) -> bool {
        !self.hidden.iter().any(|hidden| hidden.resource == resource)
    }
}

pub(crate) const DEVICES: &str = "resource.k8s.io";

/// Reads all that has to do with devices, as far as the caller may.
///
/// # Errors
/// [`ReadError`], where something else than a right is missing.
pub async fn read(connection: &Connection) -> Result<Read, ReadError> {
    let Connection { client, namespace } = connection;
    let mut hidden = Vec::new();
    let slices = whole::<Slice>(client, "resourceslices", DEVICES, &mut hidden).await?;
    let classes = whole::<Class>(client, "deviceclasses", DEVICES, &mut hidden).await?;
    let nodes = whole::<Node>(client, "nodes", "", &mut hidden).await?;
    let claims = namespaced::<Claim>(client, "resourceclaims", DEVICES, namespace, &mut hidden).await?;
    let pods = namespaced::<Pod>(client, "pods", "", namespace, &mut hidden).await?;
    let version = version(client).await;
    let features = version.map_or_else(Features::default, |(major, minor)| Features::of_server(major, minor));
    let cluster = Cluster::of(features, Lists { slices, classes, nodes, claims, pods });
    Ok(Read { cluster, hidden })
}

/// The API server's version, where it says one: who may list nothing may ask for it all the same.
pub(crate) async fn version(client: &Client) -> Option<(u32, u32)> {
    let version = timeout(ANSWER, client.apiserver_version()).await.ok()?.ok()?;
    Some((number(&version.major), number(&version.minor)))
}

/// What the controller says about an object, as far as the caller may read Events.
///
/// # Errors
/// [`ReadError`], where something else than a right is missing.
pub async fn events(connection: &Connection, kind: &str, name: &str) -> Result<Vec<String>, ReadError> {
    let api: Api<Event> = Api::namespaced(connection.client.clone(), &connection.namespace);
    let fields = format!("involvedObject.kind={kind},involvedObject.name={name},reason={REASON}");
    match answer("events", api.list(&ListParams::default().fields(&fields))).await {
        Ok(events) => Ok(events.items.into_iter().filter_map(|event| event.message).collect()),
        Err(error) if is_forbidden(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// All objects of a resource: none where the caller may not list them.
pub(crate) async fn whole<T: DeserializeOwned>(
    client: &Client,
    resource: &'static str,
    group: &'static str,
    hidden: &mut Vec<Hidden>,
) -> Result<Vec<T>, ReadError> {
    match list(client, resource, &path(group, None, resource)).await {
        Err(error) if is_forbidden(&error) => {
            hidden.push(Hidden { resource, group, own_namespace_only: false });
            Ok(Vec::new())
        }
        listed => listed,
    }
}

/// All objects of a resource, or those of a namespace where the caller may not list all.
pub(crate) async fn namespaced<T: DeserializeOwned>(
    client: &Client,
    resource: &'static str,
    group: &'static str,
    namespace: &str,
    hidden: &mut Vec<Hidden>,
) -> Result<Vec<T>, ReadError> {
    match list(client, resource, &path(group, None, resource)).await {
        Err(error) if is_forbidden(&error) => {}
        listed => return listed,
    }
    let own = list(client, resource, &path(group, Some(namespace), resource)).await;
    hidden.push(Hidden { resource, group, own_namespace_only: own.is_ok() });
    match own {
        Err(error) if is_forbidden(&error) => Ok(Vec::new()),
        listed => listed,
    }
}

pub(crate) fn path(group: &str, namespace: Option<&str>, resource: &str) -> String {
    let root = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
    let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    format!("{root}{namespace}/{resource}")
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

async fn list<T: DeserializeOwned>(
    client: &Client,
    resource: &'static str,
    path: &str,
) -> Result<Vec<T>, ReadError> {
    list_some(client, resource, path, ListParams::default()).await
}

/// The objects of a resource that have these labels or fields. A list that takes so long that the API server forgets where
/// it was is begun again.
pub(crate) async fn list_some<T: DeserializeOwned>(
    client: &Client,
    resource: &'static str,
    path: &str,
    which: ListParams,
) -> Result<Vec<T>, ReadError> {
    let mut begun = 1;
    loop {
        match list_once(client, resource, path, which.clone()).await {
            Err(error) if is_expired(&error) && begun < BEGINNINGS => begun += 1,
            listed => return listed,
        }
    }
}

async fn list_once<T: DeserializeOwned>(
    client: &Client,
    resource: &'static str,
    path: &str,
    which: ListParams,
) -> Result<Vec<T>, ReadError> {
    let mut all = Vec::new();
    let mut params = ListParams { limit: Some(PAGE), ..which };
    loop {
        let request = Request::new(path).list(&params).map_err(kube::Error::BuildRequest);
        let request = request.map_err(|source| ReadError::Failed { resource, source: Box::new(source) })?;
        let page: Page<T> = answer(resource, client.request(request)).await?;
        all.extend(page.items.into_iter().flatten());
        match page.metadata.next.filter(|next| !next.is_empty()) {
            Some(next) => params.continue_token = Some(next),
            None => return Ok(all),
        }
    }
}

pub(crate) async fn answer<T>(
    resource: &'static str,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T, ReadError> {
    let answer = timeout(ANSWER, asked).await.map_err(|_| ReadError::NoAnswer { resource })?;
    answer.map_err(|source| ReadError::Failed { resource, source: Box::new(source) })
}

pub(crate) fn is_forbidden(error: &ReadError) -> bool {
    matches!(error, ReadError::Failed { source, .. }
        if matches!(&**source, kube::Error::Api(status) if status.is_forbidden()))
}

/// Whether the API server has forgotten the version that a list is of.
fn is_expired(error: &ReadError) -> bool {
    matches!(error, ReadError::Failed { source, .. }
        if matches!(&**source, kube::Error::Api(status) if status.code == 410))
}

/// The digits that a text begins with: some clusters' versions end in `+`.
fn number(text: &str) -> u32 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that answers with these, one after the other, and what it was asked for.
    fn server(answers: Vec<(u16, Value)>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answers) = (Arc::clone(&asked), Arc::new(Mutex::new(answers.into_iter())));
        let service = tower::service_fn(move |request: Request<Body>| {
            log.lock().unwrap().push(request.uri().query().unwrap_or_default().to_owned());
            let (status, body) = answers.lock().unwrap().next().expect("nothing more is asked for");
            let response = Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
            std::future::ready(Ok::<_, Infallible>(response.unwrap()))
        });
        (Client::new(service, "default"), asked)
    }

    fn page(names: &[&str], next: &str) -> (u16, Value) {
        (200, json!({"metadata": {"continue": next}, "items": names}))
    }

    fn expired() -> (u16, Value) {
        let message = "The provided continue parameter is too old to display a consistent list result.";
        (
            410,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
            "reason": "Expired", "message": message}),
        )
    }

    #[tokio::test]
    async fn a_list_that_took_too_long_is_begun_again() {
        let answers = vec![page(&["a"], "1"), expired(), page(&["a", "b"], "2"), page(&["c"], "")];
        let (client, asked) = server(answers);
        let all: Vec<String> = list(&client, "pods", "/api/v1/pods").await.unwrap();
        assert_eq!(all, ["a", "b", "c"], "nothing twice");
        let asked = asked.lock().unwrap();
        let from: Vec<Option<&str>> =
            asked.iter().map(|query| Some(query.split_once("continue=")?.1)).collect();
        assert_eq!(from, [None, Some("1"), None, Some("2")]);
    }

    #[tokio::test]
    async fn a_list_that_never_ends_is_given_up() {
        let answers = (0..BEGINNINGS).flat_map(|_| [page(&["a"], "1"), expired()]).collect();
        let (client, _) = server(answers);
        let error = list::<String>(&client, "pods", "/api/v1/pods").await.unwrap_err();
        assert!(is_expired(&error), "{error}");
    }
}
