//! What a comparison found, as a table.

use std::fmt::Write as _;

use crate::compare::{Comparison, Difference};

/// Longer values are cut: the recording has them in full.
const WIDEST: usize = 60;

/// The table and the counts. `real` and `fake` say what was compared.
pub(crate) fn render(comparison: &Comparison, real: &str, fake: &str) -> String {
    let mut text = format!("Compared: {real}\nwith the fake: {fake}\n\n");
    if !comparison.differences.is_empty() {
        let mut rows = vec![["CALL", "GPU", "REAL", "FAKE"].map(str::to_owned)];
        rows.extend(comparison.differences.iter().map(row));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for [call, gpu, real, fake] in &rows {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{call:<a$}  {gpu:<b$}  {real:<c$}  {fake}",
                a = widths[0],
                b = widths[1],
                c = widths[2]
            );
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "Facts that differ: {}{}. Answers with equal facts: {}.\n\
         Not listed: {} values of the machine and {} changing values differ; {} answers are in one recording only.",
        comparison.differences.len(),
        if comparison.differences.is_empty() { "" } else { " (listed above)" },
        comparison.equal,
        comparison.identity,
        comparison.volatile,
        comparison.only_one,
    );
    text
}

fn row(difference: &Difference) -> [String; 4] {
    [difference.what.clone(), ranges(&difference.gpus), cut(&difference.real), cut(&difference.fake)]
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(WIDEST - 1).collect();
    format!("{start}…")
}

/// "0-3,5".
fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts = ranges.iter().map(
        |(first, last)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        },
    );
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_listed_as_ranges() {
        for (numbers, wanted) in
            [(&[][..], ""), (&[3][..], "3"), (&[0, 1, 2, 3, 5][..], "0-3,5"), (&[0, 2, 4][..], "0,2,4")]
        {
            assert_eq!(ranges(numbers), wanted);
        }
    }
}
