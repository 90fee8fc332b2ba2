//! The word that was probably meant.

/// How many letters may be wrong.
const MOST_WRONG: usize = 3;

/// The known word that is most like what was written, if one is like it.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain: Vec<char> = written.chars().take(64).flat_map(char::to_lowercase).map(plain).collect();
    let near = known.map(|word| (distance(&plain, &word.chars().collect::<Vec<_>>()), word));
    near.filter(|(distance, _)| *distance <= MOST_WRONG).min().map(|(_, word)| word)
}

fn plain(letter: char) -> char {
    if letter == '_' { '-' } else { letter }
}

/// How many letters have to be put in, taken out or changed (Levenshtein).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, one) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(one != other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
