//! Samples, and the table of them.

use std::time::Duration;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    ours: String,
    theirs: String,
    aim: String,
}

impl Row {
    /// Times.
    pub(crate) fn of(what: &str, samples: &[Duration], theirs: &str, aim: &str) -> Self {
        let [p50, p99] = [50, 99].map(|percent| milliseconds(percentile(samples, percent)));
        let ours = format!("{p50:>8} {p99:>8}  n={}", samples.len());
        Self { what: what.to_owned(), ours, theirs: theirs.to_owned(), aim: aim.to_owned() }
    }

    /// One number.
    pub(crate) fn one(what: &str, value: f64, unit: &str, theirs: &str, aim: &str) -> Self {
        let with_unit = |text: &str| if text.is_empty() { String::new() } else { format!("{text} {unit}") };
        let ours = format!("{value:>8.1} {unit}");
        Self { what: what.to_owned(), ours, theirs: with_unit(theirs), aim: with_unit(aim) }
    }
}

/// The sample that so many percent do not exceed: the nearest rank.
pub(crate) fn percentile(samples: &[Duration], percent: usize) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (samples.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// As a text, with two digits after the point.
pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

/// Bytes as megabytes of 10⁶.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    let kilobytes = u32::try_from(bytes / 1000).unwrap_or(u32::MAX);
    f64::from(kilobytes) / 1000.0
}

/// The table.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = Row {
        what: "what".to_owned(),
        ours: "     p50      p99".to_owned(),
        theirs: "NVIDIA's".to_owned(),
        aim: "aim".to_owned(),
    };
    let lines = [&head].into_iter().chain(rows);
    let lines = lines.map(|row| {
        let line = format!("{:<52} {:<26} {:<26} {}", row.what, row.ours, row.theirs, row.aim);
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let ms = |number: u64| Duration::from_millis(number);
        let hundred: Vec<Duration> = (1..=100).rev().map(ms).collect();
        for (name, samples, percent, wanted) in [
            ("the middle of a hundred", &hundred[..], 50, ms(50)),
            ("the 99th of a hundred", &hundred[..], 99, ms(99)),
            ("one of one", &hundred[..1], 99, ms(100)),
            ("the larger of two", &hundred[..2], 99, ms(100)),
            ("the smaller of two", &hundred[..2], 50, ms(99)),
            ("none", &[], 50, ms(0)),
        ] {
            assert_eq!(percentile(samples, percent), wanted, "{name}");
        }
    }
}
