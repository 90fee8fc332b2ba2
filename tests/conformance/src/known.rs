//! Upstream's known bugs: where it is wrong, ours must differ. Each has named cases in `cases/known`, too.
//!
//! A difference counts as known only where the bug explains it: the case is of that kind, our answer keeps to the
//! constraint, and upstream's does not or comes later in the order of trying.

use std::cmp::Ordering;

use serde_json::Value;

use crate::answer::{Answer, ErrorKind};
use crate::case::Case;
use crate::look;

/// A bug of upstream's allocator, in the release that is pinned, that generated cases meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KnownBug {
    /// A distinctAttribute constraint remembers one value for each request, so devices of one request, beyond the last
    /// chosen, are not compared.
    DistinctOfOneRequest,
    /// A matchAttribute constraint over lists keeps what devices had in common that were taken back.
    ListsOfTakenBackDevices,
}

/// The bug that explains why two answers differ, if one does.
pub fn bug(case: &Case, ours: &Answer, upstream: &Answer) -> Option<KnownBug> {
    let we_keep_to = |kind| fits(ours).is_none_or(|allocations| keeps_to(case, allocations, kind));
    // A request for all devices ends with an error where a constraint bars one. The two sides come to such requests
    // with different devices in hand.
    let one_is_barred = match (ours, upstream) {
        (Answer::Error { kind: Some(ErrorKind::Constraint), .. }, Answer::Fits(_) | Answer::NoFit) => {
            has_all(case)
        }
        _ => false,
    };
    // Upstream went on to devices that nobody had to look at. (That pools are invalid is said where nothing is found.)
    let has_searched = !matches!(ours, Answer::Error { .. })
        || matches!(ours, Answer::Error { kind: Some(ErrorKind::Pool), .. });
    let fails_further_on = matches!(upstream, Answer::Error { .. }) && has_searched;
    if has_distinct_of_several(case) && we_keep_to(Kind::Distinct) {
        let is_wrong = fits(upstream).is_some_and(|allocations| !keeps_to(case, allocations, Kind::Distinct));
        if is_wrong || one_is_barred || fails_further_on {
            return Some(KnownBug::DistinctOfOneRequest);
        }
    }
    if has_match_of_lists(case) && we_keep_to(Kind::Match) {
        let is_missed = match (ours, upstream) {
            (Answer::Fits(ours), Answer::Fits(upstream)) => is_earlier(case, ours, upstream),
            (Answer::Fits(_), Answer::NoFit | Answer::Error { .. }) => true,
            // With devices in hand that upstream misses, ours goes on to one for which an expression has no answer.
            (Answer::Error { kind: Some(ErrorKind::Cel), .. }, Answer::Fits(_) | Answer::NoFit) => true,
            _ => one_is_barred,
        };
        if is_missed {
            return Some(KnownBug::ListsOfTakenBackDevices);
        }
    }
    None
}

fn fits(answer: &Answer) -> Option<&[Value]> {
    match answer {
        Answer::Fits(allocations) => Some(allocations),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Match,
    Distinct,
}

impl Kind {
    fn field(self) -> &'static str {
        match self {
            Self::Match => "matchAttribute",
            Self::Distinct => "distinctAttribute",
        }
    }
}

/// Whether allocations keep to all constraints of a kind.
fn keeps_to(case: &Case, allocations: &[Value], kind: Kind) -> bool {
    case.claims.iter().zip(allocations).all(|(claim, allocation)| {
        look::list(&look::devices_of(claim)["constraints"]).all(|constraint| {
            let Some(attribute) = constraint[kind.field()].as_str() else { return true };
            let results = look::list(&allocation["devices"]["results"]);
            let concerned = results
                .filter(|result| look::concerns(constraint, result["request"].as_str().unwrap_or_default()));
            let values: Option<Vec<Vec<String>>> =
                concerned.map(|result| look::values(case, result, attribute)).collect();
            values.is_some_and(|values| match kind {
                Kind::Match => values.first().is_none_or(|first| {
                    first.iter().any(|value| values.iter().all(|others| others.contains(value)))
                }),
                Kind::Distinct => values.iter().enumerate().all(|(at, one)| {
                    values[..at].iter().all(|other| one.iter().all(|value| !other.contains(value)))
                }),
            })
        })
    })
}

fn has_distinct_of_several(case: &Case) -> bool {
    let is_several = |wanted: &Value| {
        wanted["allocationMode"] == "All" || wanted["count"].as_u64().is_some_and(|count| count > 1)
    };
    case.claims.iter().map(look::devices_of).any(|devices| {
        look::list(&devices["constraints"])
            .filter(|constraint| constraint["distinctAttribute"].is_string())
            .any(|constraint| {
                look::list(&devices["requests"]).any(|request| {
                    let name = request["name"].as_str().unwrap_or_default();
                    let is_exact = look::concerns(constraint, name) && is_several(&request["exactly"]);
                    is_exact
                        || look::list(&request["firstAvailable"]).any(|alternative| {
                            let sub = alternative["name"].as_str().unwrap_or_default();
                            look::concerns(constraint, &format!("{name}/{sub}")) && is_several(alternative)
                        })
                })
            })
    })
}

/// Whether a request is for all devices.
fn has_all(case: &Case) -> bool {
    let mut requests = case.claims.iter().flat_map(|claim| look::list(&look::devices_of(claim)["requests"]));
    requests.any(|request| {
        let mut wanted = std::iter::once(&request["exactly"]).chain(look::list(&request["firstAvailable"]));
        wanted.any(|wanted| wanted["allocationMode"] == "All")
    })
}

fn has_match_of_lists(case: &Case) -> bool {
    let mut constraints =
        case.claims.iter().flat_map(|claim| look::list(&look::devices_of(claim)["constraints"]));
    let is_list = |attribute: &str| {
        let devices = case.slices.iter().flat_map(|slice| look::list(&slice["spec"]["devices"]));
        let id = attribute.rsplit('/').next().unwrap_or_default();
        let mut attributes = devices.filter_map(|device| device["attributes"].as_object()).flatten();
        attributes.any(|(name, value)| {
            name.rsplit('/').next() == Some(id)
                && value.as_object().is_some_and(|value| {
                    value.values().any(|value| value.as_array().is_some_and(|several| several.len() > 1))
                })
        })
    };
    case.features.iter().any(|name| name == "ListTypeAttributes")
        && constraints.any(|constraint| constraint["matchAttribute"].as_str().is_some_and(is_list))
}

/// Whether some allocations come before others in the order of trying.
fn is_earlier(case: &Case, ours: &[Value], others: &[Value]) -> bool {
    for ((claim, ours), others) in case.claims.iter().zip(ours).zip(others) {
        let pairs = look::list(&ours["devices"]["results"]).zip(look::list(&others["devices"]["results"]));
        for (ours, other) in pairs {
            match look::position(case, claim, ours).cmp(&look::position(case, claim, other)) {
                Ordering::Equal => {}
                order => return order == Ordering::Less,
            }
        }
    }
    false
}
