//! What an evaluation costs, counted as Kubernetes counts it, and what it may do at most.

use std::collections::HashMap;

use super::library::format;
use super::library::pattern::Pattern;
use super::value::{Fatal, Fault, Value};

/// What Kubernetes allows an expression to cost. (`CELSelectorExpressionMaxCost`)
pub const LIMIT: u64 = 1_000_000;
/// What we do at most beside that: elements copied, pairs compared, bytes searched. Kubernetes counts some of it as
/// little or as nothing; no sensible expression comes near.
const WORK_LIMIT: u64 = 4_000_000;

/// What making a list costs, and a map.
pub(super) const LIST: u64 = 10;
pub(super) const MAP: u64 = 30;

/// What has been spent.
#[derive(Debug, Default)]
pub(super) struct Budget {
    cost: u64,
    work: u64,
    /// The regular expressions that were met.
    patterns: HashMap<Box<str>, Pattern>,
}

impl Budget {
    pub(super) fn spent(&self) -> u64 {
        self.cost
    }

    /// Counts a cost, or ends the evaluation.
    pub(super) fn charge(&mut self, cost: u64) -> Result<(), Fault> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > LIMIT { Err(Fault::Fatal(Fatal::Exceeded)) } else { Ok(()) }
    }

    /// Counts work that has no cost, or ends the evaluation.
    pub(super) fn work(&mut self, amount: u64) -> Result<(), Fault> {
        self.work = self.work.saturating_add(amount);
        if self.work > WORK_LIMIT { Err(Fault::Fatal(Fatal::Exceeded)) } else { Ok(()) }
    }

    /// A regular expression; its work is counted when it is first met.
    pub(super) fn pattern(&mut self, text: &str) -> Result<Pattern, Fault> {
        if let Some(met) = self.patterns.get(text) {
            return Ok(met.clone());
        }
        let pattern = Pattern::compiled(text, self)?;
        self.patterns.insert(text.into(), pattern.clone());
        Ok(pattern)
    }

    /// Counts the work of comparing two values.
    pub(super) fn equal(&mut self, one: &Value<'_>, other: &Value<'_>) -> Result<bool, Fault> {
        one.equals(other, &mut |amount| self.work(amount))
    }
}

/// How the cost of a call is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// So much whatever the arguments.
    Fixed(u64),
    /// The tenth of the first argument's size, so many times.
    Traverse(u32),
    /// The tenth of the result's size, twice.
    TraverseResult,
    /// The second argument's size.
    SizeOfSecond,
    /// The tenth of the smaller argument's size.
    Smaller,
    /// The tenth of both arguments' size.
    Both,
    /// A regular expression (the second argument) over a text.
    Regex,
    /// The product of two tenths.
    Contains,
    /// One for every element, and the tenth of every text.
    Tree,
    /// A call that makes a list as long as the result.
    MadeList,
    Flatten,
    /// The square of the size of the argument of this number, twice.
    Square(usize),
    /// The product of the sizes, so many times.
    Product(u64),
    ContainsIp {
        text: bool,
    },
    ContainsCidr {
        text: bool,
    },
    Format,
}

/// How the cost of a call of this function is counted; `overload` where only one fits the types.
pub(super) fn of_call(function: &str, overload: Option<&str>) -> Cost {
    let by_overload = match overload.unwrap_or_default() {
        "list_slice" | "lists_range" | "list_reverse" => Some(Cost::MadeList),
        "list_flatten" | "list_flatten_int" => Some(Cost::Flatten),
        "list_distinct" => Some(Cost::Square(0)),
        id if id.ends_with("_sortByAssociatedKeys") => Some(Cost::Square(1)),
        id if id.starts_with("list_") && id.ends_with("_sort") => Some(Cost::Square(0)),
        "list_sets_contains_list" | "list_sets_intersects_list" => Some(Cost::Product(1)),
        "list_sets_equivalent_list" => Some(Cost::Product(2)),
        _ => None,
    };
    if let Some(cost) = by_overload {
        return cost;
    }
    match function {
        "check" => return Cost::Fixed(350_000),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => return Cost::Tree,
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "cidr" | "isIP" | "isCIDR"
        | "quantity" | "isQuantity" | "semver" | "isSemver" => return Cost::Traverse(1),
        "replace" | "split" | "ip.isCanonical" => return Cost::Traverse(2),
        "join" => return Cost::TraverseResult,
        "find" | "findAll" => return Cost::Regex,
        "ip" if overload != Some("cidr_ip") => return Cost::Traverse(1),
        "containsIP" => return Cost::ContainsIp { text: overload == Some("cidr_contains_ip_string") },
        "containsCIDR" => return Cost::ContainsCidr { text: overload == Some("cidr_contains_cidr_string") },
        "validate" => return Cost::Format,
        _ => {}
    }
    match overload.unwrap_or_default() {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
        | "strings_quote" | "string_format" => Cost::Traverse(1),
        "in_list" => Cost::SizeOfSecond,
        "less_string" | "less_bytes" => Cost::Smaller,
        "add_string" | "add_bytes" => Cost::Both,
        "matches_string" => Cost::Regex,
        "contains_string" => Cost::Contains,
        _ => Cost::Fixed(1),
    }
}

/// The tenth of a size, rounded up.
fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

impl Cost {
    /// Whether the cost cannot be counted because the list that it depends on is none.
    pub(super) fn needs_list(self, arguments: &[Value<'_>]) -> bool {
        matches!(self, Self::Square(index) if !matches!(arguments.get(index), Some(Value::List(_))))
    }

    /// The cost of a call with these arguments and this result, which is absent where the call failed.
    pub(super) fn of(self, arguments: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
        let size = |index: usize| arguments.get(index).map_or(1, Value::weight);
        match self {
            Self::Fixed(cost) => cost,
            Self::Traverse(times) => tenth(size(0) * u64::from(times)),
            Self::TraverseResult => tenth(result.map_or(1, Value::weight) * 2),
            Self::SizeOfSecond => size(1),
            Self::Smaller => tenth(size(0).min(size(1))),
            Self::Both => tenth(size(0) + size(1)),
            Self::Regex => tenth(1 + size(0)) * size(1).div_ceil(4),
            Self::Contains => tenth(size(0)) * tenth(size(1)),
            Self::Tree => arguments.first().map_or(0, tree),
            Self::MadeList => result.map_or(1, Value::weight) + 1 + LIST,
            Self::Flatten => {
                let depth = match arguments.get(1) {
                    Some(Value::Int(depth)) => u64::try_from(*depth).unwrap_or_default(),
                    _ => 1,
                };
                size(0).saturating_mul(depth) + 1 + LIST
            }
            Self::Square(index) => square(arguments.get(index)) + 1 + LIST,
            Self::Product(times) => size(0).saturating_mul(size(1)).saturating_mul(times) + 1,
            Self::ContainsIp { text } => tenth(size(0) * 2) + if text { tenth(size(1)) } else { 0 },
            Self::ContainsCidr { text } => {
                tenth(size(0) * 2) + tenth(size(0)) + 1 + if text { tenth(size(1)) } else { 0 }
            }
            Self::Format => match arguments.first() {
                Some(Value::Format(with)) => tenth(1 + size(1)) * format::pattern_size(*with).div_ceil(4),
                _ => 1,
            },
        }
    }
}

fn square(list: Option<&Value<'_>>) -> u64 {
    let Some(Value::List(elements)) = list else { return 0 };
    let size = elements.len() as u64;
    let squared = size.saturating_mul(size);
    match elements.first() {
        Some(Value::String(_) | Value::Bytes(_)) => squared.saturating_mul(21) / 10,
        _ => squared.saturating_mul(2),
    }
}

/// The cost of going through a value: one for each that is no collection, the tenth of each text.
fn tree(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => text.len() as u64 / 10,
        Value::Bytes(bytes) => bytes.len() as u64 / 10,
        Value::List(elements) => elements.iter().map(tree).sum(),
        map if map.is_map() => map.entries().iter().map(|(key, value)| tree(key) + tree(value)).sum(),
        _ => 1,
    }
}
