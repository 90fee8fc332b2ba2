//! Names of objects in namespaces, on the command line.

use std::fmt;
use std::str::FromStr;

/// The name of an object with its namespace, written "namespace/name".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name in it.
    pub name: String,
}

impl FromStr for ObjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("'{text}' is not of the form namespace/name")),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_and_a_name() {
        let read: ObjectName = "kube-system/dra-driver".parse().unwrap();
        assert_eq!((&*read.namespace, &*read.name), ("kube-system", "dra-driver"));
        assert_eq!(read.to_string(), "kube-system/dra-driver");
        for wrong in ["", "name", "/name", "namespace/", "a/b/c"] {
            assert!(wrong.parse::<ObjectName>().unwrap_err().contains("namespace/name"), "{wrong}");
        }
    }
}
