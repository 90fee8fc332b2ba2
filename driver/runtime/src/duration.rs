//! Durations on the command line.

use std::time::Duration;

/// Reads "10s", "500ms", "2m", "12h", "90d".
///
/// # Errors
/// What is wrong with the text, for people.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a positive whole number with ms, s, m, h or d, such as 10s");
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(24 * 3_600_000),
        _ => None,
    };
    // Keeps deadlines far from overflowing.
    const LONGEST: u64 = 3650 * 24 * 3_600_000;
    milliseconds
        .filter(|milliseconds| (1..=LONGEST).contains(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit() {
        let cases = [
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("24h", Some(86_400_000)),
            ("90d", Some(7_776_000_000)),
            ("3650d", Some(315_360_000_000)),
            ("3651d", None),
            ("1w", None),
            ("10", None),
            ("s", None),
            ("0s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1441m", Some(86_460_000)),
            ("99999999999999999999s", None),
            ("18446744073709551615m", None),
        ];
        for (text, wanted) in cases {
            let read = parse(text).ok();
            assert_eq!(read, wanted.map(Duration::from_millis), "{text}");
        }
    }
}
