//! Spoils texts that have brackets, words and numbers in them.

use std::ops::Range;

use fastrand::Rng;

/// How long a text may become, in bytes. (The API server takes expressions of 10 KiB.)
const LONGEST: usize = 12 << 10;

/// What a text may be put into.
type Around = (&'static str, &'static str);

/// What texts of a kind are made of.
pub(crate) struct Words {
    /// Whole texts.
    pub(crate) texts: Vec<String>,
    /// Words and signs.
    pub(crate) words: &'static [&'static str],
    /// What may stand around a part, often inside itself.
    pub(crate) around: &'static [Around],
    /// What numbers may become.
    pub(crate) numbers: &'static [&'static str],
}

impl Words {
    /// Another text, made from one.
    pub(crate) fn mutate(&self, text: &str, rng: &mut Rng) -> String {
        let mut text = text.to_owned();
        for _ in 0..rng.u32(1..4) {
            self.spoil(&mut text, rng);
            shorten(&mut text);
        }
        text
    }

    fn spoil(&self, text: &mut String, rng: &mut Rng) {
        let part = part(text, rng);
        match rng.u32(0..10) {
            0 => {
                let other = &self.texts[rng.usize(0..self.texts.len())];
                let from = self::part(other, rng);
                text.replace_range(part, &other[from]);
            }
            1 => {
                if let Some(number) = number(text, rng) {
                    text.replace_range(number, pick(rng, self.numbers));
                }
            }
            2 => {
                let (before, behind) = pick(rng, self.around);
                let inner = &text[part.clone()];
                let room = (LONGEST / 2).saturating_sub(text.len()) / (before.len() + behind.len()).max(1);
                let times = pick(rng, &[1, 2, 5, 40, 280, 2_000]).min(room);
                let nested = format!("{}{inner}{}", before.repeat(times), behind.repeat(times));
                text.replace_range(part, &nested);
            }
            3 => {
                let joint = pick(rng, &[" + ", " && ", " || ", ", ", "", ".", " == ", " ? 1 : "]);
                let again = format!("{joint}{}", &text[part.clone()]);
                let room = LONGEST.saturating_sub(text.len()) / again.len().max(1);
                let times = pick(rng, &[1, 3, 50, 1_000]).min(room);
                text.insert_str(part.end, &again.repeat(times));
            }
            4 | 5 => text.insert_str(part.start, pick(rng, self.words)),
            6 => text.replace_range(part, pick(rng, self.words)),
            7 => text.replace_range(part, ""),
            8 => {
                let letter = rng.char(..);
                text.insert(part.start, letter);
            }
            _ => {
                let other = &self.texts[rng.usize(0..self.texts.len())];
                *text = format!("{text}{}{other}", pick(rng, &["", " && ", " || ", " == "]));
            }
        }
    }
}

fn shorten(text: &mut String) {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())]
}

/// A part of a text: something in brackets with them, a word, a place, or all of it.
fn part(text: &str, rng: &mut Rng) -> Range<usize> {
    let mut at = rng.usize(0..=text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    match rng.u32(0..5) {
        0 => 0..text.len(),
        1 => at..at,
        2 => {
            let start = text[..at].trim_end_matches(is_word).len();
            let end = text.len() - text[at..].trim_start_matches(is_word).len();
            start..end
        }
        _ => bracketed(text, at).unwrap_or(at..at),
    }
}

/// The first pair of brackets behind a place, and what stands between them.
fn bracketed(text: &str, at: usize) -> Option<Range<usize>> {
    let start = at + text[at..].find(['(', '[', '{'])?;
    let mut depth = 0_usize;
    for (index, letter) in text[start..].char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(start..start + index + 1);
        }
    }
    None
}

/// One of the numbers in a text.
fn number(text: &str, rng: &mut Rng) -> Option<Range<usize>> {
    let digits: Vec<usize> =
        text.match_indices(|letter: char| letter.is_ascii_digit()).map(|at| at.0).collect();
    let at = *digits.get(rng.usize(0..digits.len().max(1)))?;
    let is_digit = |letter: char| letter.is_ascii_digit();
    let start = text[..at].trim_end_matches(is_digit).len();
    Some(start..text.len() - text[at..].trim_start_matches(is_digit).len())
}
