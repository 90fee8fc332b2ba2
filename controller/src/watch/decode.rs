//! What the API server sends: pages of lists, and lines of watches.

use kube::core::Status;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A page of a list. Its objects are decoded one by one, so that one that cannot be read keeps no other away.
#[derive(Debug, Deserialize)]
pub(super) struct Page<'a> {
    #[serde(default)]
    pub(super) metadata: PageMetadata,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub(super) items: Vec<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMetadata {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    #[serde(borrow)]
    pub(super) object: &'a RawValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Kind {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
    #[serde(other)]
    Other,
}

/// What is read of an object beside what it says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    metadata: NamedMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NamedMetadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
}

/// An object's version, if it says one.
pub(super) fn version(object: &RawValue) -> Option<String> {
    serde_json::from_str::<Named>(object.get()).ok()?.metadata.resource_version
}

/// What an object is called, as far as that can be read.
pub(super) fn name(object: &RawValue) -> String {
    let NamedMetadata { name, namespace, .. } =
        serde_json::from_str::<Named>(object.get()).unwrap_or_default().metadata;
    match (namespace, name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name,
        (_, None) => "an object".to_owned(),
    }
}

/// The error that a line of a watch tells.
pub(super) fn error(object: &RawValue) -> kube::Error {
    let status: Status = serde_json::from_str(object.get()).unwrap_or_default();
    kube::Error::Api(Box::new(status))
}

fn or_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
