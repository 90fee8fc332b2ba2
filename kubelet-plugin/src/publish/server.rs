//! Requests about this node's slices. Each ends within [`ANSWER`].

use std::time::Duration;

use dra_driver::device::slices::{Doomed, Write};
use futures_util::Stream;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, WatchEvent, WatchParams};
use kube::core::{ObjectList, Status};
use kube::{Api, Client};
use thiserror::Error;

use super::Settings;

/// How long the API server may take for an answer. Together with [`LONGEST_WAIT`] less than ten seconds: so long it
/// may take at most until slices are right after the link came back.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest wait before what the link or the server's load kept from happening is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// The longest wait before what the API server refused is tried again.
const LONGEST_WAIT_REFUSED: Duration = Duration::from_secs(60);

/// Why a request failed.
#[derive(Debug, Error)]
pub(super) enum RequestError {
    /// No answer came in time.
    #[error(
        "cannot {attempt}: no answer from the API server within {} s; check the link to it",
        ANSWER.as_secs()
    )]
    NoAnswer {
        /// What was attempted.
        attempt: String,
    },
    /// The API server said no.
    #[error("cannot {attempt}: the API server answers {code} {reason}: {message}", code = .status.code,
        reason = .status.reason, message = .status.message)]
    Refused {
        /// What was attempted.
        attempt: String,
        /// The answer.
        status: Box<Status>,
    },
    /// The link failed.
    #[error("cannot {attempt}: {source}; check the link to the API server")]
    Link {
        /// What was attempted.
        attempt: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The Node object is missing.
    #[error(
        "there is no Node {node} to own the ResourceSlices; check that --node-name is this node's name in the cluster"
    )]
    NoNode {
        /// The name that was given.
        node: String,
    },
    /// What came back is not what was sent.
    #[error(
        "the API server stored ResourceSlice {name} otherwise than it was sent; look for an admission webhook or \
         policy that changes ResourceSlices, and except this driver from it"
    )]
    StoredDifferently {
        /// The slice's name.
        name: String,
    },
}

impl RequestError {
    pub(super) fn of(attempt: String, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused { attempt, status },
            source => Self::Link { attempt, source: Box::new(source) },
        }
    }

    /// The HTTP status of a refusal.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(status.code),
            _ => None,
        }
    }

    /// Whether the version asked for is too old to go on from.
    pub(super) fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    /// Whether somebody else was faster: nothing is wrong, only known too late.
    pub(super) fn is_overtaken(&self) -> bool {
        matches!(self.code(), Some(404 | 409))
    }

    /// Whether the name of a new slice is taken.
    pub(super) fn is_name_taken(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_already_exists())
    }

    /// Whether a person has to do something.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::StoredDifferently { .. } => true,
            _ => {
                matches!(self.code(), Some(code) if code < 500 && ![404, 408, 409, 410, 429].contains(&code))
            }
        }
    }

    /// The longest wait before the next attempt.
    pub(super) fn longest_wait(&self) -> Duration {
        if self.is_refusal() { LONGEST_WAIT_REFUSED } else { LONGEST_WAIT }
    }

    /// How long the API server wants to be left alone.
    pub(super) fn retry_after(&self) -> Duration {
        let seconds = match self {
            Self::Refused { status, .. } => status.details.as_ref().map_or(0, |d| d.retry_after_seconds),
            _ => 0,
        };
        Duration::from_secs(seconds.into()).min(LONGEST_WAIT_REFUSED)
    }
}

/// The API server.
#[derive(Clone)]
pub(super) struct Server {
    client: Client,
    slices: Api<ResourceSlice>,
    node: String,
    /// Field selector of this driver's slices on this node.
    selector: String,
    /// Who writes, as `managedFields` tells it.
    manager: String,
}

impl Server {
    pub(super) fn new(client: Client, settings: &Settings) -> Self {
        let Settings { driver, node } = settings;
        Self {
            slices: Api::all(client.clone()),
            client,
            node: node.clone(),
            selector: format!("spec.driver={driver},spec.nodeName={node}"),
            manager: format!("{driver}-kubelet-plugin"),
        }
    }

    /// The UID of the Node object.
    pub(super) async fn node_uid(&self) -> Result<String, RequestError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let attempt = format!("read Node {}", self.node);
        let node = answered(attempt, nodes.get_opt(&self.node)).await?;
        let uid = node.and_then(|node| node.metadata.uid);
        uid.ok_or_else(|| RequestError::NoNode { node: self.node.clone() })
    }

    /// The API server's version, as it names it.
    pub(super) async fn version(&self) -> Result<String, RequestError> {
        let attempt = "read the API server's version".to_owned();
        Ok(answered(attempt, self.client.apiserver_version()).await?.git_version)
    }

    pub(super) async fn list(&self) -> Result<ObjectList<ResourceSlice>, RequestError> {
        let params = ListParams::default().fields(&self.selector);
        answered("list this node's ResourceSlices".to_owned(), self.slices.list(&params)).await
    }

    /// A watch from a version on, which the server ends after `seconds`.
    pub(super) async fn watch(
        &self,
        version: &str,
        seconds: u32,
    ) -> Result<impl Stream<Item = kube::Result<WatchEvent<ResourceSlice>>> + use<>, RequestError> {
        let params = WatchParams::default().fields(&self.selector).timeout(seconds);
        answered("watch this node's ResourceSlices".to_owned(), self.slices.watch(&params, version)).await
    }

    /// What the API server would store, were this slice created.
    pub(super) async fn try_create(&self, slice: &ResourceSlice) -> Result<ResourceSlice, RequestError> {
        let params = PostParams { dry_run: true, field_manager: Some(self.manager.clone()) };
        answered("try to create a ResourceSlice".to_owned(), self.slices.create(&params, slice)).await
    }

    /// Carries out a write and returns what is stored then; nothing after a deletion.
    pub(super) async fn write(&self, write: &Write) -> Result<Option<ResourceSlice>, RequestError> {
        let params = PostParams { dry_run: false, field_manager: Some(self.manager.clone()) };
        match write {
            Write::Create(slice) => {
                let attempt = format!("create ResourceSlice {}", name(slice));
                answered(attempt, self.slices.create(&params, slice)).await.map(Some)
            }
            Write::Update(slice) => {
                let attempt = format!("update ResourceSlice {}", name(slice));
                answered(attempt, self.slices.replace(name(slice), &params, slice)).await.map(Some)
            }
            Write::Delete(Doomed { name, uid, resource_version }) => {
                let attempt = format!("delete ResourceSlice {name}");
                let same = Preconditions { uid: uid.clone(), resource_version: resource_version.clone() };
                let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
                answered(attempt, self.slices.delete(name, &params)).await.map(|_| None)
            }
        }
    }
}

pub(super) fn name(slice: &ResourceSlice) -> &str {
    slice.metadata.name.as_deref().unwrap_or_default()
}

async fn answered<T>(
    attempt: String,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(ANSWER, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(RequestError::of(attempt, error)),
        Err(_) => Err(RequestError::NoAnswer { attempt }),
    }
}
