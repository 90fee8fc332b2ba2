//! What the kubelet asks for, checked before anything is done with it: names become paths and CDI devices later.

use std::collections::BTreeMap;
use std::time::Duration;

use dra_driver::claim::ClaimRef;

/// The longest UID. The API server's have 36 characters.
const LONGEST_UID: usize = 64;
/// The longest name of a namespace, a DNS label.
const LONGEST_NAMESPACE: usize = 63;
/// The longest name of a claim, a DNS subdomain.
const LONGEST_NAME: usize = 253;
/// The most claims in one call. A pod's containers have far fewer.
const MOST_CLAIMS: usize = 1024;

/// How long a call may take that names no deadline: the kubelet's own limit.
const KUBELET_LIMIT: Duration = Duration::from_secs(45);
/// How long before the kubelet's deadline an answer is due, so that it gets there.
const MARGIN: Duration = Duration::from_secs(5);

/// The claims of a call: those to work on, and an error for each of the others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) claims: Vec<ClaimRef>,
    pub(super) refused: BTreeMap<String, String>,
}

/// Sorts the claims of a call. One that comes twice is worked on once.
pub(super) fn check(claims: impl IntoIterator<Item = ClaimRef>) -> Asked {
    let mut wanted: BTreeMap<String, ClaimRef> = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for claim in claims {
        let wrong = if wanted.len() >= MOST_CLAIMS && !wanted.contains_key(&claim.uid) {
            Some(format!("the call has more than {MOST_CLAIMS} claims"))
        } else {
            wrong(&claim).or_else(|| {
                let other = wanted.get(&claim.uid).filter(|other| **other != claim)?;
                Some(format!("the call names the UID also for claim {}/{}", other.namespace, other.name))
            })
        };
        match wrong {
            Some(wrong) => {
                wanted.remove(&claim.uid);
                refused.insert(claim.uid, wrong);
            }
            None if refused.contains_key(&claim.uid) => {}
            None => {
                wanted.insert(claim.uid.clone(), claim);
            }
        }
    }
    Asked { claims: wanted.into_values().collect(), refused }
}

/// What is wrong with a claim's names, if anything.
fn wrong(claim: &ClaimRef) -> Option<String> {
    let label = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let uid = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let name = |letter: char| label(letter) || letter == '.';
    [
        ("uid", &claim.uid, LONGEST_UID, &uid as &dyn Fn(char) -> bool),
        ("namespace", &claim.namespace, LONGEST_NAMESPACE, &label),
        ("name", &claim.name, LONGEST_NAME, &name),
    ]
    .into_iter()
    .find_map(|(field, value, longest, allowed)| {
        let wrong = if value.is_empty() {
            "is empty".to_owned()
        } else if value.len() > longest {
            format!("has {} bytes, {longest} are allowed", value.len())
        } else {
            let other = value.chars().find(|letter| !allowed(*letter))?;
            format!("contains {other:?}")
        };
        Some(format!("the claim's {field} in the kubelet's call {wrong}"))
    })
}

/// How long there is for an answer, by the header `grpc-timeout`: digits and a unit.
pub(super) fn time_for_answer(header: Option<&str>) -> Duration {
    let limit = header.and_then(timeout).unwrap_or(KUBELET_LIMIT);
    // Of a short limit, half is as good as can be.
    limit.saturating_sub(MARGIN).max(limit / 2)
}

fn timeout(header: &str) -> Option<Duration> {
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
    // A deadline that is no limit is none.
    .map(|limit| limit.min(KUBELET_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(namespace: &str, name: &str, uid: &str) -> ClaimRef {
        ClaimRef { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned() }
    }

    #[test]
    fn names_that_could_do_harm_are_refused_each_for_itself() {
        let long = "a".repeat(65);
        let cases = [
            ("good", claim("team-a", "train.0", "0b2c8b6e-53f1-4d57-9a53-0d3e1e2f4a5b"), None),
            ("empty UID", claim("n", "c", ""), Some("uid in the kubelet's call is empty")),
            (
                "path in the UID",
                claim("n", "c", "../../etc/x"),
                Some("uid in the kubelet's call contains '.'"),
            ),
            ("slash", claim("n", "c", "a/b"), Some("contains '/'")),
            ("zero byte", claim("n", "c", "a\0"), Some("contains '\\0'")),
            ("long UID", claim("n", "c", &long), Some("has 65 bytes, 64 are allowed")),
            ("empty namespace", claim("", "c", "u"), Some("namespace in the kubelet's call is empty")),
            ("long namespace", claim(&long, "c", "u"), Some("has 65 bytes, 63 are allowed")),
            ("path in the name", claim("n", "../c", "u"), Some("name in the kubelet's call contains '/'")),
            ("empty name", claim("n", "", "u"), Some("name in the kubelet's call is empty")),
        ];
        for (what, claim, wanted) in cases {
            let asked = check([claim.clone(), self::claim("n", "other", "other")]);
            match wanted {
                None => assert_eq!(asked.claims.len(), 2, "{what}"),
                Some(wanted) => {
                    assert_eq!(asked.claims.len(), 1, "{what}: the other claim goes on");
                    let said = &asked.refused[&claim.uid];
                    assert!(said.contains(wanted), "{what}: {said}");
                }
            }
        }
    }

    #[test]
    fn a_claim_that_comes_twice_is_worked_on_once() {
        let one = claim("n", "c", "u");
        assert_eq!(check([one.clone(), one.clone()]), Asked { claims: vec![one], refused: BTreeMap::new() });
    }

    #[test]
    fn one_uid_for_two_claims_is_worked_on_for_neither() {
        let asked = check([claim("n", "c", "u"), claim("n", "d", "u"), claim("n", "c", "u")]);
        assert_eq!(asked.claims, []);
        assert_eq!(asked.refused.len(), 1);
    }

    #[test]
    fn more_claims_than_any_pod_has_are_refused() {
        let asked = check((0..MOST_CLAIMS + 3).map(|number| claim("n", "c", &format!("u{number}"))));
        assert_eq!((asked.claims.len(), asked.refused.len()), (MOST_CLAIMS, 3));
    }

    /// Units by gRPC's specification ("PROTOCOL-HTTP2", Timeout).
    #[test]
    fn an_answer_is_due_five_seconds_before_the_kubelets_deadline() {
        let cases = [
            (None, 40_000),
            (Some("45S"), 40_000),
            (Some("44999876u"), 39_999),
            (Some("10000m"), 5000),
            (Some("4S"), 2000),
            (Some("1H"), 40_000),
            (Some("99999999H"), 40_000),
            (Some(""), 40_000),
            (Some("x"), 40_000),
            (Some("S"), 40_000),
            (Some("é"), 40_000),
            (Some("18446744073709551615H"), 40_000),
        ];
        for (header, wanted) in cases {
            assert_eq!(time_for_answer(header).as_millis(), wanted, "{header:?}");
        }
    }
}
