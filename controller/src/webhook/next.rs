//! What has to be done next about the certificates. Pure: all that it knows comes in.

use std::time::Duration;

use jiff::Timestamp;

use super::certificates::Certificates;

/// What is there.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The time.
    pub now: Timestamp,
    /// The name that the certificate has to be for.
    pub name: &'a str,
    /// How long new certificates live.
    pub lifetime: Duration,
    /// What the Secret holds, if it is of use.
    pub kept: Option<&'a Certificates>,
    /// What clients are shown.
    pub shown: Option<&'a Certificates>,
    /// The authorities that the API server was told of, for each of the configuration's webhooks.
    pub told: &'a [Vec<u8>],
    /// Whether the same was so when it was looked at last: by then, the API server has heard of it.
    pub told_before: bool,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make new certificates, and keep them in the Secret.
    Make,
    /// Show the kept certificate to clients.
    Show,
    /// Tell the API server of the kept authorities.
    Tell,
    /// Nothing, for now.
    Rest,
}

/// What has to be done next.
#[must_use]
pub fn next(seen: &Seen<'_>) -> Next {
    let Some(kept) = seen.kept.filter(|kept| !is_due(kept, seen)) else { return Next::Make };
    let told = is_told(kept, seen.told);
    match seen.shown {
        None => Next::Show,
        Some(_) if !told => Next::Tell,
        // A certificate that the API server cannot check yet is not shown, as long as there is another one.
        Some(shown) if shown != kept && seen.told_before => Next::Show,
        Some(_) => Next::Rest,
    }
}

/// Whether the API server was told of all the authorities.
#[must_use]
pub fn is_told(kept: &Certificates, told: &[Vec<u8>]) -> bool {
    let bundle = kept.bundle();
    told.iter().all(|told| told == bundle.as_bytes())
}

/// A certificate is due when a third of its life is left, or when it is none that clients would take.
fn is_due(kept: &Certificates, seen: &Seen<'_>) -> bool {
    let left = Duration::try_from(kept.expires().duration_since(seen.now)).unwrap_or_default();
    left <= seen.lifetime / 3 || !kept.holds(seen.name, seen.now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "webhook.gpu.svc";
    const LIFETIME: Duration = Duration::from_secs(9000);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn what_is_there_says_what_comes_next() {
        let old = Certificates::make(NAME, LIFETIME, at(0), None).unwrap();
        let new = Certificates::make(NAME, LIFETIME, at(6000), Some(&old)).unwrap();
        let others = Certificates::make("other.gpu.svc", LIFETIME, at(0), None).unwrap();
        let told = |of: &Certificates| vec![of.bundle().into_bytes()];
        let half_told = vec![old.bundle().into_bytes(), Vec::new()];
        let nothing = vec![Vec::new()];
        // Name, second, kept, shown, told, told before.
        type Case<'a> =
            (&'a str, i64, Option<&'a Certificates>, Option<&'a Certificates>, Vec<Vec<u8>>, bool, Next);
        let cases: Vec<Case<'_>> = vec![
            ("the first pod of all", 0, None, None, nothing.clone(), false, Next::Make),
            ("another pod has made them", 0, Some(&old), None, nothing.clone(), false, Next::Show),
            ("the API server knows nothing", 0, Some(&old), Some(&old), nothing.clone(), true, Next::Tell),
            ("one webhook of two is not told", 0, Some(&old), Some(&old), half_told, true, Next::Tell),
            ("all is well", 0, Some(&old), Some(&old), told(&old), true, Next::Rest),
            ("a configuration without webhooks", 0, Some(&old), Some(&old), vec![], true, Next::Rest),
            ("before a third is left", 5999, Some(&old), Some(&old), told(&old), true, Next::Rest),
            ("a third is left", 6000, Some(&old), Some(&old), told(&old), true, Next::Make),
            ("long over", 99_999, Some(&old), Some(&old), told(&old), true, Next::Make),
            ("from a clock far ahead", -3601, Some(&old), None, nothing.clone(), false, Next::Make),
            ("from a clock a little ahead", -3599, Some(&old), None, nothing.clone(), false, Next::Show),
            ("a former Service's", 0, Some(&others), None, nothing, false, Next::Make),
            ("renewed, not told", 6001, Some(&new), Some(&old), told(&old), true, Next::Tell),
            ("renewed, just told", 6001, Some(&new), Some(&old), told(&new), false, Next::Rest),
            ("renewed and told", 6001, Some(&new), Some(&old), told(&new), true, Next::Show),
            ("a pod that starts after that", 6001, Some(&new), None, told(&old), true, Next::Show),
            ("the Secret was emptied", 6001, None, Some(&new), told(&new), true, Next::Make),
        ];
        for (name, second, kept, shown, told, told_before, wanted) in cases {
            let seen = Seen {
                now: at(second),
                name: NAME,
                lifetime: LIFETIME,
                kept,
                shown,
                told: &told,
                told_before,
            };
            assert_eq!(next(&seen), wanted, "{name}");
        }
    }
}
