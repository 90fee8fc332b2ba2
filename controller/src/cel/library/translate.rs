//! Regular expressions as Go writes them, in the words of the library that runs them: what the two write in other ways
//! is translated, and what Go has not is refused.

use std::fmt::Write;

use super::super::value::Fault;

/// How often a part may be repeated, with the repetitions around it.
const MOST_REPETITIONS: u64 = 1000;

/// The expression in the library's words.
pub(super) fn translated(pattern: &str) -> Result<String, Fault> {
    let mut translator = Translator {
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        names_end: pattern.rfind(":]").map_or(0, |at| pattern.len() - at),
        ..Translator::default()
    };
    while let Some(letter) = translator.next() {
        translator.part(letter)?;
    }
    Ok(translator.out)
}

fn wrong(what: &str) -> Fault {
    Fault::new(format!("error parsing regexp: {what}"))
}

#[derive(Default)]
struct Translator<'t> {
    rest: &'t str,
    out: String,
    /// Whether what was read last is a repetition: a second one may not follow.
    repeated: bool,
    /// How often what was read last repeats its parts, the most of the group that is open, and of those around.
    last: u64,
    group: u64,
    around: Vec<(u64, bool)>,
    /// Whether repetitions take as little as they can, unless a question mark follows.
    ungreedy: bool,
    /// Flags that were read. In Go they do not come between a part and its repetition.
    flags: String,
    /// Where the last end of a named class is, counted from the end: none is looked for behind it.
    names_end: usize,
}

impl Translator<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    fn next_is(&mut self, wanted: &str) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn part(&mut self, letter: char) -> Result<(), Fault> {
        let repeated = std::mem::take(&mut self.repeated);
        match letter {
            '*' | '+' | '?' => return self.repetition(&letter.to_string(), 1, repeated),
            '{' => {
                if let Some((text, least, most)) = counts(self.rest) {
                    self.rest = &self.rest[text.len() + 1..];
                    if least > MOST_REPETITIONS
                        || most.is_some_and(|most| most > MOST_REPETITIONS || most < least)
                    {
                        return Err(wrong("invalid repeat count"));
                    }
                    let times = most.unwrap_or(least);
                    let counted = least >= 2 || times >= 2;
                    if counted && self.last.max(1).saturating_mul(times) > MOST_REPETITIONS {
                        return Err(wrong("invalid repeat count"));
                    }
                    return self.repetition(&format!("{{{text}}}"), times, repeated);
                }
                self.new_part();
                self.literal('{');
            }
            '(' if self.next_is("?") => return self.extended_group(),
            '(' => self.open("("),
            ')' => {
                self.new_part();
                self.out.push(')');
                self.last = self.group;
                (self.group, self.ungreedy) = self.around.pop().unwrap_or((1, false));
                return Ok(());
            }
            _ => {
                self.new_part();
                match letter {
                    '[' => self.class()?,
                    '\\' => self.escape()?,
                    '^' | '$' | '|' | '.' => self.out.push(letter),
                    other => self.literal(other),
                }
            }
        }
        self.last = 1;
        Ok(())
    }

    /// What was read last is not repeated any more.
    fn new_part(&mut self) {
        self.group = self.group.max(self.last);
        let flags = std::mem::take(&mut self.flags);
        self.out.push_str(&flags);
    }

    fn open(&mut self, written: &str) {
        self.new_part();
        self.out.push_str(written);
        self.around.push((std::mem::replace(&mut self.group, 1), self.ungreedy));
    }

    fn repetition(&mut self, written: &str, times: u64, repeated: bool) -> Result<(), Fault> {
        if repeated {
            return Err(wrong("invalid nested repetition operator"));
        }
        self.out.push_str(written);
        if self.next_is("?") != self.ungreedy {
            self.out.push('?');
        }
        self.repeated = true;
        self.last = self.last.max(1).saturating_mul(times);
        Ok(())
    }

    fn literal(&mut self, letter: char) {
        // Nothing that is no letter or digit of ASCII means anything but itself then.
        if letter.is_ascii_alphanumeric() || !letter.is_ascii() {
            self.out.push(letter);
        } else {
            self.number(u32::from(letter));
        }
    }

    fn number(&mut self, number: u32) {
        // Writing to a text cannot fail.
        let _ = write!(self.out, "\\x{{{number:x}}}");
    }

    /// What follows an opening bracket and a question mark. Groups lose their names, which have no use and may come
    /// twice in Go.
    fn extended_group(&mut self) -> Result<(), Fault> {
        if self.next_is("P<") || self.next_is("<") {
            let end = self.rest.find('>').ok_or_else(|| wrong("invalid named capture"))?;
            let name = &self.rest[..end];
            if name.is_empty() || !name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
            {
                return Err(wrong("invalid named capture"));
            }
            self.rest = &self.rest[end + 1..];
            self.open("(");
            self.last = 1;
            return Ok(());
        }
        let unsupported = || wrong("invalid or unsupported Perl syntax");
        let (mut on, mut off, mut negative, mut some) = (String::new(), String::new(), false, true);
        let mut ungreedy = self.ungreedy;
        loop {
            let letter = self.next().ok_or_else(unsupported)?;
            match letter {
                'U' => (ungreedy, some) = (!negative, true),
                'i' | 'm' | 's' => {
                    some = true;
                    let flags = if negative { &mut off } else { &mut on };
                    if !flags.contains(letter) {
                        flags.push(letter);
                    }
                }
                '-' if !negative => (negative, some) = (true, false),
                ':' | ')' if some => {
                    on.retain(|flag| !off.contains(flag));
                    let minus = if off.is_empty() { "" } else { "-" };
                    if letter == ':' {
                        self.open(&format!("(?{on}{minus}{off}:"));
                        self.last = 1;
                    } else if !on.is_empty() || !off.is_empty() {
                        self.flags.push_str(&format!("(?{on}{minus}{off})"));
                    }
                    self.ungreedy = ungreedy;
                    return Ok(());
                }
                _ => return Err(unsupported()),
            }
        }
    }

    /// What follows a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), Fault> {
        for (letter, meaning) in [("b", "(?-u:\\b)"), ("B", "(?-u:\\B)"), ("A", "\\A"), ("z", "\\z")] {
            if self.next_is(letter) {
                self.out.push_str(meaning);
                return Ok(());
            }
        }
        if self.next_is("Q") {
            let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            literal.chars().for_each(|letter| self.literal(letter));
            return Ok(());
        }
        if self.perl_class() || self.unicode_class()? {
            return Ok(());
        }
        match char::from_u32(self.escaped()?) {
            Some(letter) => self.number(u32::from(letter)),
            // Half of a pair, which no text has.
            None => self.out.push_str(NOTHING),
        }
        Ok(())
    }

    /// `\d` and its like, which are of ASCII in Go.
    fn perl_class(&mut self) -> bool {
        const CLASSES: [(&str, &str); 6] = [
            ("d", "[0-9]"),
            ("D", "[^0-9]"),
            ("s", "[\\t\\n\\f\\r\\x20]"),
            ("S", "[^\\t\\n\\f\\r\\x20]"),
            ("w", "[0-9A-Za-z_]"),
            ("W", "[^0-9A-Za-z_]"),
        ];
        let found = CLASSES.iter().find(|(letter, _)| self.next_is(letter));
        if let Some((_, class)) = found {
            self.out.push_str(class);
        }
        found.is_some()
    }

    /// `\p` and `\P`: a category or a script, and nothing else.
    fn unicode_class(&mut self) -> Result<bool, Fault> {
        let mut negative = self.rest.starts_with('P');
        if !self.next_is("p") && !self.next_is("P") {
            return Ok(false);
        }
        let invalid = || wrong("invalid character class range");
        let name = match self.next().ok_or_else(invalid)? {
            '{' => {
                let (name, rest) = self.rest.split_once('}').ok_or_else(invalid)?;
                self.rest = rest;
                name.to_owned()
            }
            letter => letter.to_string(),
        };
        let positive = name.strip_prefix('^');
        negative ^= positive.is_some();
        let name = positive.unwrap_or(&name);
        if !name.bytes().all(|letter| letter.is_ascii_alphanumeric() || b" _-".contains(&letter)) {
            return Err(invalid());
        }
        let letter = if negative { 'P' } else { 'p' };
        let plain: String = name.chars().filter(|letter| !" _-".contains(*letter)).collect();
        let key = match plain.to_ascii_lowercase().as_str() {
            "any" | "ascii" | "assigned" => "",
            // The library has none of these letters.
            "cs" | "surrogate" => {
                self.out.push_str(if negative { ANYTHING } else { NOTHING });
                return Ok(true);
            }
            plain if CATEGORIES.contains(&plain) => "gc=",
            // Scripts have names of four letters beside their own, which Go does not know.
            plain if plain.len() == 4 && !SHORT_SCRIPTS.contains(&plain) => return Err(invalid()),
            _ => "sc=",
        };
        let _ = write!(self.out, "\\{letter}{{{key}{plain}}}");
        Ok(true)
    }

    /// The character that stands behind a backslash in another way than by itself.
    fn escaped(&mut self) -> Result<u32, Fault> {
        let invalid = || wrong("invalid escape sequence");
        let letter = self.next().ok_or_else(|| wrong("trailing backslash at end of expression"))?;
        let octal = |letter: char| letter.to_digit(8);
        Ok(match letter {
            'a' => 7,
            'f' => 12,
            't' => 9,
            'n' => 10,
            'r' => 13,
            'v' => 11,
            // One digit alone would be a reference to a group, which Go has not.
            '1'..='7' if !self.rest.starts_with(|next| octal(next).is_some()) => return Err(invalid()),
            '0'..='7' => {
                let mut number = octal(letter).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(octal) else { break };
                    self.next();
                    number = number * 8 + digit;
                }
                number
            }
            'x' => {
                let (digits, rest) = match self.rest.strip_prefix('{') {
                    Some(rest) => rest.split_once('}').ok_or_else(invalid)?,
                    None => self.rest.split_at_checked(2).ok_or_else(invalid)?,
                };
                self.rest = rest;
                if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(invalid());
                }
                let digits = if digits.len() > 1 { digits.trim_start_matches('0') } else { digits };
                let number = if digits.is_empty() { Ok(0) } else { u32::from_str_radix(digits, 16) };
                number.ok().filter(|number| *number <= u32::from(char::MAX)).ok_or_else(invalid)?
            }
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => u32::from(other),
            _ => return Err(invalid()),
        })
    }

    /// A class in brackets, the first of which was read.
    fn class(&mut self) -> Result<(), Fault> {
        let negative = self.next_is("^");
        let start = self.out.len();
        let mut first = true;
        loop {
            if self.rest.is_empty() {
                return Err(wrong("missing closing ]"));
            }
            if !first && self.next_is("]") {
                break;
            }
            first = false;
            if self.rest.starts_with("[:")
                && self.rest.len() >= self.names_end + 2
                && let Some(end) = self.rest[2..].find(":]")
            {
                let (name, rest) = self.rest.split_at(end + 4);
                if !NAMED.contains(&name[2..name.len() - 2].trim_start_matches('^')) || name.contains("^^") {
                    return Err(wrong("invalid character class range"));
                }
                self.out.push_str(name);
                self.rest = rest;
                continue;
            }
            if let Some(escaped) = self.rest.strip_prefix('\\') {
                let whole = std::mem::replace(&mut self.rest, escaped);
                if self.perl_class() || self.unicode_class()? {
                    continue;
                }
                self.rest = whole;
            }
            let from = self.member()?;
            let mut to = from;
            if self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]") {
                self.next();
                to = self.member()?;
            }
            if to < from {
                return Err(wrong("invalid character class range"));
            }
            self.range(from, to);
        }
        // The brackets are known last: a class of nothing has none.
        let members = self.out.split_off(start);
        match (members.is_empty(), negative) {
            (true, true) => self.out.push_str(ANYTHING),
            (true, false) => self.out.push_str(NOTHING),
            (false, _) => {
                let _ = write!(self.out, "[{}{members}]", if negative { "^" } else { "" });
            }
        }
        Ok(())
    }

    /// One character of a class.
    fn member(&mut self) -> Result<u32, Fault> {
        match self.next() {
            None => Err(wrong("missing closing ]")),
            Some('\\') => self.escaped(),
            Some(letter) => Ok(u32::from(letter)),
        }
    }

    /// The characters from one to another. Halves of pairs are none.
    fn range(&mut self, from: u32, to: u32) {
        let is_half = |number: &u32| (0xd800..0xe000).contains(number);
        let from = if is_half(&from) { 0xe000 } else { from };
        let to = if is_half(&to) { 0xd7ff } else { to };
        if from <= to {
            self.number(from);
            self.out.push('-');
            self.number(to);
        }
    }
}

/// A class that has no character, and one that has all.
const NOTHING: &str = "[^\\x{0}-\\x{10ffff}]";
const ANYTHING: &str = "[\\x{0}-\\x{10ffff}]";

/// The classes that are named in classes.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// The general categories of Unicode, by their short and their long names, in lower case and without what is between
/// words.
const CATEGORIES: [&str; 78] = [
    "c",
    "cc",
    "cf",
    "cn",
    "co",
    "l",
    "lc",
    "ll",
    "lm",
    "lo",
    "lt",
    "lu",
    "m",
    "mc",
    "me",
    "mn",
    "n",
    "nd",
    "nl",
    "no",
    "p",
    "pc",
    "pd",
    "pe",
    "pf",
    "pi",
    "po",
    "ps",
    "s",
    "sc",
    "sk",
    "sm",
    "so",
    "z",
    "zl",
    "zp",
    "zs",
    "casedletter",
    "closepunctuation",
    "cntrl",
    "combiningmark",
    "connectorpunctuation",
    "control",
    "currencysymbol",
    "dashpunctuation",
    "decimalnumber",
    "digit",
    "enclosingmark",
    "finalpunctuation",
    "format",
    "initialpunctuation",
    "letter",
    "letternumber",
    "lineseparator",
    "lowercaseletter",
    "mark",
    "mathsymbol",
    "modifierletter",
    "modifiersymbol",
    "nonspacingmark",
    "number",
    "openpunctuation",
    "other",
    "otherletter",
    "othernumber",
    "otherpunctuation",
    "othersymbol",
    "paragraphseparator",
    "privateuse",
    "punct",
    "punctuation",
    "separator",
    "spaceseparator",
    "spacingmark",
    "symbol",
    "titlecaseletter",
    "unassigned",
    "uppercaseletter",
];

/// The scripts whose own names have four letters.
const SHORT_SCRIPTS: [&str; 8] = ["ahom", "cham", "kawi", "lisu", "miao", "modi", "thai", "toto"];

/// The inside of "{2,3}" behind its first brace, and its bounds; `None` where the brace is only a brace.
fn counts(rest: &str) -> Option<(&str, u64, Option<u64>)> {
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit() && byte != b',')?;
    let text = rest[end..].starts_with('}').then_some(&rest[..end])?;
    let number = |digits: &str| {
        let valid = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        // As many as are refused where they do not fit.
        valid.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    match text.split_once(',') {
        None => number(text).map(|times| (text, times, Some(times))),
        Some((least, "")) => number(least).map(|least| (text, least, None)),
        Some((least, most)) => Some((text, number(least)?, Some(number(most)?))),
    }
}
