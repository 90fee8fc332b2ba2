//! The cluster's objects as they come, change and go: a list, then a watch, again and again, of five resources.
//!
//! Objects are decoded from the API server's text straight into the slim types of [`crate::model`]. Each watch lasts
//! less than a minute and goes on where the last one ended, so a connection that died without a word is noticed soon.

mod decode;
mod follow;
mod resource;

use kube::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::object::{Claim, Class, Node, Slice};
use crate::model::pod::Pod;

use follow::Follower;

/// News of one resource, in order.
#[derive(Debug)]
pub enum News<T> {
    /// A list begins.
    ListBegan,
    /// Something is there.
    Listed(T),
    /// The list has ended: what it did not name is gone.
    ListEnded,
    /// Something came or changed.
    Changed(T),
    /// Something is gone.
    Deleted(T),
    /// The resource cannot be followed; it is being tried again. Or one object of it cannot be read.
    Failed(WatchError),
}

/// News of any resource.
#[derive(Debug)]
pub enum Change {
    /// Of ResourceSlices.
    Slice(News<Slice>),
    /// Of DeviceClasses.
    Class(News<Class>),
    /// Of Nodes.
    Node(News<Node>),
    /// Of ResourceClaims.
    Claim(News<Claim>),
    /// Of Pods with claims.
    Pod(News<Pod>),
}

/// Why a resource cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No answer came in time.
    #[error("cannot {attempt} {resource}: no answer from the API server; check the link to it")]
    NoAnswer {
        /// What was attempted.
        attempt: &'static str,
        /// The resource.
        resource: &'static str,
    },
    /// The API server refused, or the link failed.
    #[error("cannot {attempt} {resource}: {source}")]
    Failed {
        /// What was attempted.
        attempt: &'static str,
        /// The resource.
        resource: &'static str,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The watch's connection broke.
    #[error("the watch of {resource} broke: {source}; check the link to the API server")]
    Broken {
        /// The resource.
        resource: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// What was sent cannot be read.
    #[error("cannot read {what} of {resource}: {source}; it is left out")]
    Unreadable {
        /// The object, as far as its name can be read, or what else.
        what: String,
        /// The resource.
        resource: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

/// Follows all five resources until `cancel`, or until nobody takes the news any more. News that are not taken hold up
/// the watches, and none is lost.
pub fn follow(client: Client, changes: mpsc::Sender<Change>, cancel: CancellationToken) {
    spawn::<Slice>(&client, &changes, &cancel);
    spawn::<Class>(&client, &changes, &cancel);
    spawn::<Node>(&client, &changes, &cancel);
    spawn::<Claim>(&client, &changes, &cancel);
    spawn::<Pod>(&client, &changes, &cancel);
}

fn spawn<T: resource::Followed>(client: &Client, changes: &mpsc::Sender<Change>, cancel: &CancellationToken) {
    let (follower, cancel) = (Follower::<T>::new(client.clone(), changes.clone()), cancel.clone());
    tokio::spawn(async move { cancel.run_until_cancelled(follower.follow()).await });
}

#[cfg(test)]
mod tests;
