//! What a device says of itself: names and values of attributes.

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;

/// The name of an attribute or a capacity with the domain it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// The domain: the driver's name where the slice says none.
    pub domain: Arc<str>,
    /// The name in that domain.
    pub name: Arc<str>,
}

impl QualifiedName {
    /// A name as a slice has it, where the domain may be left out: then it is the driver's.
    #[must_use]
    pub fn resolve(written: &str, driver: &str) -> Self {
        let (domain, name) = written.split_once('/').unwrap_or((driver, written));
        Self { domain: domain.into(), name: name.into() }
    }
}

impl Display for QualifiedName {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.domain, self.name)
    }
}

/// A version as Kubernetes reads it: semantic versioning 2.0.0, whose numbers fit into 64 bits.
///
/// Versions that differ in build metadata alone are equal.
#[derive(Debug, Clone)]
pub struct Version(semver::Version);

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no version: {reason}")]
pub struct VersionError {
    text: String,
    reason: String,
}

impl Version {
    /// The first number.
    #[must_use]
    pub fn major(&self) -> u64 {
        self.0.major
    }

    /// The second number.
    #[must_use]
    pub fn minor(&self) -> u64 {
        self.0.minor
    }

    /// The third number.
    #[must_use]
    pub fn patch(&self) -> u64 {
        self.0.patch
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = |reason: String| VersionError { text: text.to_owned(), reason };
        let version = semver::Version::parse(text).map_err(|reason| error(reason.to_string()))?;
        let numbers = version
            .pre
            .split('.')
            .filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        for number in numbers {
            number.parse::<u64>().map_err(|_| error(format!("the number {number} is too large")))?;
        }
        Ok(Self(version))
    }
}

impl Display for Version {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }
}

/// The value of a device's attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// A text.
    String(Arc<str>),
    /// A version.
    Version(Version),
    /// Several numbers.
    Ints(Arc<[i64]>),
    /// Several times yes or no.
    Bools(Arc<[bool]>),
    /// Several texts.
    Strings(Arc<[Arc<str>]>),
    /// Several versions.
    Versions(Arc<[Version]>),
    /// What no expression can read, and why: a version that is none, or no value at all. Every selector that is asked
    /// about such a device fails, whatever it reads.
    Unreadable(Arc<str>),
}
