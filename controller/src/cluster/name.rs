//! Names of objects in namespaces.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::model::object::Metadata;

/// What a claim or a pod is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name in it.
    pub name: Arc<str>,
}

impl Name {
    /// This name.
    #[must_use]
    pub fn new(namespace: &Arc<str>, name: &Arc<str>) -> Self {
        Self { namespace: Arc::clone(namespace), name: Arc::clone(name) }
    }

    /// What an object is called.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self::new(&metadata.namespace, &metadata.name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
