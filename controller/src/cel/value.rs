//! Values of expressions.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use dra_driver::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};

use super::Device;
use super::device::{Domain, Domains};
use super::library::format::NamedFormat;
use super::library::network::Cidr;
use super::library::url::Url;
use super::map::Map;
use crate::model::attribute::Version;

/// What an expression, or a part of one, comes to.
///
/// What is borrowed is borrowed from the device.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    Duration(SignedDuration),
    Timestamp(Timestamp),
    List(Arc<Vec<Value<'a>>>),
    Map(Arc<Map<'a>>),
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its name.
    Type(Arc<str>),
    Quantity(Quantity),
    /// As `Quantity`, as the result of `add` and `sub`: upstream keeps it apart, and so do comparisons with it.
    Sum(Quantity),
    Version(Arc<Version>),
    Url(Arc<Url>),
    Ip(IpAddr),
    Cidr(Cidr),
    Format(NamedFormat),
    /// The variable `device`.
    Device(&'a Device<'a>),
    /// Its attributes or capacity, by domain.
    Domains(Domains<'a>),
    /// The attributes or capacity of one domain.
    Domain(Domain<'a>),
}

/// Why an evaluation ended without a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// An error that `||`, `&&` and the quantifiers may absorb.
    Error(Cow<'static, str>),
    /// The budget is spent: that ends everything.
    Exceeded,
}

impl Fault {
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Error(message.into())
    }

    pub(super) fn no_such_overload() -> Self {
        Self::new("no such overload")
    }

    pub(super) fn no_such_key(key: &Value<'_>) -> Self {
        Self::new(format!("no such key: {}", key.shown()))
    }
}

/// The outcome of a part of an expression.
pub(super) type Outcome<'a> = Result<Value<'a>, Fault>;

impl<'a> Value<'a> {
    pub(super) fn string(text: &str) -> Self {
        Self::String(text.into())
    }

    pub(super) fn list(elements: Vec<Value<'a>>) -> Self {
        Self::List(Arc::new(elements))
    }

    pub(super) fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) | Self::Device(_) | Self::Domains(_) | Self::Domain(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Quantity(_) | Self::Sum(_) => "kubernetes.Quantity",
            Self::Version(_) => "kubernetes.Semver",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Format(_) => "kubernetes.NamedFormat",
        }
    }

    /// Whether it is of a type that Kubernetes adds to the language.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(
            self,
            Self::Quantity(_) | Self::Sum(_) | Self::Version(_) | Self::Url(_) | Self::Ip(_) | Self::Cidr(_)
        )
    }

    /// How many elements or characters it has, where it has any.
    pub(super) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(elements) => elements.len(),
            Self::Map(map) => map.len(),
            Self::Device(_) => 4,
            Self::Domains(domains) => domains.len(),
            Self::Domain(domain) => domain.len(),
            // Internet addresses have the size of their bytes.
            Self::Ip(address) => {
                if address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Cidr(cidr) => cidr.size(),
            _ => return None,
        })
    }

    /// The size by which costs are counted: one for what has none.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Self::Optional(Some(inner)) => inner.weight(),
            other => other.size().map_or(1, |size| size as u64),
        }
    }

    /// Whether it is a map of any kind.
    pub(super) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_) | Self::Device(_) | Self::Domains(_) | Self::Domain(_))
    }

    /// The value of a key; only for maps.
    pub(super) fn entry(&self, key: &Value<'_>) -> Option<Value<'a>> {
        match self {
            Self::Map(map) => map.get(key).cloned(),
            Self::Device(device) => device.field(key),
            Self::Domains(domains) => domains.present(key),
            Self::Domain(domain) => domain.get(key),
            _ => None,
        }
    }

    /// The keys and values; only for maps.
    pub(super) fn entries(&self) -> Vec<(Value<'a>, Value<'a>)> {
        match self {
            Self::Map(map) => map.entries().to_vec(),
            Self::Device(device) => device.fields(),
            Self::Domains(domains) => domains.entries(),
            Self::Domain(domain) => domain.entries(),
            _ => Vec::new(),
        }
    }

    /// What an error says of it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Double(value) => value.to_string(),
            Self::String(text) => text.chars().take(100).collect(),
            other => other.type_name().to_owned(),
        }
    }

    /// Whether two values are equal; an error where they cannot be compared.
    ///
    /// `work` is told of each pair that is looked at.
    pub(super) fn equals(
        &self,
        other: &Value<'_>,
        work: &mut dyn FnMut(u64) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        work(1)?;
        Ok(match (self, other) {
            (Self::Null, other) => matches!(other, Value::Null),
            (_, Value::Null) => false,
            (Self::Bool(mine), Value::Bool(theirs)) => mine == theirs,
            (
                Self::Int(_) | Self::Uint(_) | Self::Double(_),
                Value::Int(_) | Value::Uint(_) | Value::Double(_),
            ) => self.compare(other) == Some(Ordering::Equal),
            (Self::String(mine), Value::String(theirs)) => {
                work(mine.len() as u64 / 64)?;
                mine == theirs
            }
            (Self::Bytes(mine), Value::Bytes(theirs)) => mine == theirs,
            (Self::Duration(mine), Value::Duration(theirs)) => mine == theirs,
            (Self::Timestamp(mine), Value::Timestamp(theirs)) => mine == theirs,
            (Self::Type(mine), Value::Type(theirs)) => mine == theirs,
            (Self::List(mine), Value::List(theirs)) => {
                if mine.len() != theirs.len() {
                    return Ok(false);
                }
                for (mine, theirs) in mine.iter().zip(theirs.iter()) {
                    match mine.equals(theirs, work) {
                        Ok(true) => {}
                        Err(Fault::Exceeded) => return Err(Fault::Exceeded),
                        Ok(false) | Err(Fault::Error(_)) => return Ok(false),
                    }
                }
                true
            }
            (mine, theirs) if mine.is_map() && theirs.is_map() => {
                if mine.size() != theirs.size() {
                    return Ok(false);
                }
                for (key, value) in mine.entries() {
                    work(1)?;
                    let Some(theirs) = theirs.entry(&key) else { return Ok(false) };
                    match value.equals(&theirs, work) {
                        Ok(true) => {}
                        Err(Fault::Exceeded) => return Err(Fault::Exceeded),
                        Ok(false) | Err(Fault::Error(_)) => return Ok(false),
                    }
                }
                true
            }
            (Self::Optional(mine), Value::Optional(theirs)) => match (mine, theirs) {
                (None, None) => true,
                (Some(mine), Some(theirs)) => mine.equals(theirs, work)?,
                _ => false,
            },
            (Self::Quantity(mine) | Self::Sum(mine), Value::Quantity(theirs)) => mine == theirs,
            (Self::Version(mine), Value::Version(theirs)) => mine == theirs,
            (Self::Url(mine), Value::Url(theirs)) => mine == theirs,
            (Self::Ip(mine), Value::Ip(theirs)) => mine == theirs,
            (Self::Cidr(mine), Value::Cidr(theirs)) => mine == theirs,
            (Self::Format(mine), Value::Format(theirs)) => mine == theirs,
            (
                Self::Quantity(_)
                | Self::Sum(_)
                | Self::Version(_)
                | Self::Url(_)
                | Self::Ip(_)
                | Self::Cidr(_)
                | Self::Format(_),
                _,
            ) => return Err(Fault::no_such_overload()),
            _ => false,
        })
    }

    /// The order of two values, where they have one.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(mine), Value::Bool(theirs)) => Some(mine.cmp(theirs)),
            (Self::Int(mine), Value::Int(theirs)) => Some(mine.cmp(theirs)),
            (Self::Uint(mine), Value::Uint(theirs)) => Some(mine.cmp(theirs)),
            (Self::Int(mine), Value::Uint(theirs)) => Some(i128::from(*mine).cmp(&i128::from(*theirs))),
            (Self::Uint(mine), Value::Int(theirs)) => Some(i128::from(*mine).cmp(&i128::from(*theirs))),
            (Self::Double(mine), Value::Double(theirs)) => mine.partial_cmp(theirs),
            (Self::Double(mine), Value::Int(theirs)) => compare_double(*mine, i128::from(*theirs)),
            (Self::Double(mine), Value::Uint(theirs)) => compare_double(*mine, i128::from(*theirs)),
            (Self::Int(mine), Value::Double(theirs)) => {
                compare_double(*theirs, i128::from(*mine)).map(Ordering::reverse)
            }
            (Self::Uint(mine), Value::Double(theirs)) => {
                compare_double(*theirs, i128::from(*mine)).map(Ordering::reverse)
            }
            (Self::String(mine), Value::String(theirs)) => Some(mine.cmp(theirs)),
            (Self::Bytes(mine), Value::Bytes(theirs)) => Some(mine.cmp(theirs)),
            (Self::Duration(mine), Value::Duration(theirs)) => Some(mine.cmp(theirs)),
            (Self::Timestamp(mine), Value::Timestamp(theirs)) => Some(mine.cmp(theirs)),
            _ => None,
        }
    }
}

/// Compares a floating point number with an integer, as doubles where the integer's range holds the double.
#[allow(clippy::cast_precision_loss, reason = "upstream compares as doubles")]
fn compare_double(double: f64, integer: i128) -> Option<Ordering> {
    double.partial_cmp(&(integer as f64))
}
