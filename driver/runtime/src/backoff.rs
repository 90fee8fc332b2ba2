//! Growing, random waits between attempts, so that the nodes of a cluster do not come back all at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);

/// The waits after failures that follow each other.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: twice the last, at most `longest`, of which a random part up to a half is
    /// left out.
    pub fn next(&mut self, longest: Duration) -> Duration {
        let wait = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(longest);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// It went well.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_differ() {
        let longest = Duration::from_secs(4);
        let mut backoff = Backoff::default();
        for full in [50, 100, 200, 400, 800, 1600, 3200, 4000, 4000].map(Duration::from_millis) {
            let wait = backoff.next(longest);
            assert!(wait > full / 2 - Duration::from_nanos(1) && wait <= full, "{wait:?} of {full:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next(longest) <= longest);
        }
        backoff.reset();
        assert!(backoff.next(longest) <= FIRST);
        let waits: std::collections::BTreeSet<Duration> =
            (0..20).map(|_| Backoff { failures: 10 }.next(longest)).collect();
        assert!(waits.len() > 1, "{waits:?}");
    }
}
