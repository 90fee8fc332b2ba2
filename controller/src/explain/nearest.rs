//! Names that are alike.

use std::sync::Arc;

/// How long names may be that are compared letter by letter.
const LONGEST: usize = 253;

/// How many letters have to be put in, taken out or changed to make one name of another.
pub(super) fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(LONGEST).collect();
    let other: Vec<char> = other.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, theirs) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != theirs);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// The name that is meant, of those that there are: no more than a third of it may differ, less the end that is the
/// same, which is often a long domain.
pub(super) fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n Arc<str>>) -> Option<&'n Arc<str>> {
    let (far, name) = names.map(|name| (distance(name, wanted), name)).min()?;
    let pairs = wanted.chars().rev().zip(name.chars().rev());
    let end = pairs.take_while(|(mine, theirs)| mine == theirs).count();
    (far <= (wanted.chars().count() - end).div_ceil(3).max(1)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_name_is_not() {
        let names = ["gpu.example.com", "mig.example.com", "gpu"].map(Arc::from);
        for (wanted, meant) in [
            ("gpus", Some("gpu")),
            ("gpuu.example.com", Some("gpu.example.com")),
            ("gpu.example.con", Some("gpu.example.com")),
            ("mig.exmaple.com", Some("mig.example.com")),
            ("infiniband.example.com", None),
            ("nic.example.com", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, names.iter()).map(|name| &**name), meant, "{wanted}");
        }
    }
}
