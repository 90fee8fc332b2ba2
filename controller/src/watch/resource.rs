//! The resources that are followed.

use serde::de::DeserializeOwned;

use super::{Change, News};
use crate::model::object::{Claim, Class, Node, Slice};
use crate::model::pod::Pod;

/// A resource that is followed.
pub(super) trait Followed: DeserializeOwned + Send + 'static {
    /// Its name, as in metrics and rights.
    const NAME: &'static str;
    /// Where the API has it.
    const PATH: &'static str;
    /// Which objects of it are asked for.
    const FIELDS: Option<&'static str> = None;

    /// Its news, among all.
    fn change(news: News<Self>) -> Change;

    /// Whether an object has anything to do with devices.
    fn is_wanted(&self) -> bool {
        true
    }
}

impl Followed for Slice {
    const NAME: &'static str = "resourceslices";
    const PATH: &'static str = "/apis/resource.k8s.io/v1/resourceslices";

    fn change(news: News<Self>) -> Change {
        Change::Slice(news)
    }
}

impl Followed for Class {
    const NAME: &'static str = "deviceclasses";
    const PATH: &'static str = "/apis/resource.k8s.io/v1/deviceclasses";

    fn change(news: News<Self>) -> Change {
        Change::Class(news)
    }
}

impl Followed for Node {
    const NAME: &'static str = "nodes";
    const PATH: &'static str = "/api/v1/nodes";

    fn change(news: News<Self>) -> Change {
        Change::Node(news)
    }
}

impl Followed for Claim {
    const NAME: &'static str = "resourceclaims";
    const PATH: &'static str = "/apis/resource.k8s.io/v1/resourceclaims";

    fn change(news: News<Self>) -> Change {
        Change::Claim(news)
    }
}

impl Followed for Pod {
    const NAME: &'static str = "pods";
    const PATH: &'static str = "/api/v1/pods";
    // Jobs leave many ended pods behind.
    const FIELDS: Option<&'static str> = Some("status.phase!=Succeeded,status.phase!=Failed");

    fn change(news: News<Self>) -> Change {
        Change::Pod(news)
    }

    /// A pod's claims do not change, but those of extended resources, which come with its node.
    fn is_wanted(&self) -> bool {
        self.has_claims()
    }
}
