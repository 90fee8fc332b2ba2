//! Regular expressions.

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::Function;
use super::strings::PART;

pub(super) const FUNCTIONS: &[(&str, Function)] =
    &[("matches", matches), ("find", find), ("findAll", find_all)];

/// The expression as this program's library writes it: what Go writes in another way is translated, and what Go has
/// not is refused.
pub(super) fn translated(pattern: &str) -> Result<String, Fault> {
    let wrong = |what: &str| Fault::new(format!("error parsing regexp: {what}"));
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut letters = pattern.chars().peekable();
    let mut in_class = false;
    // Where a class begins, a "]" is one of its characters.
    let mut class_begins = false;
    let mut repeats = false;
    while let Some(letter) = letters.next() {
        let begins = std::mem::take(&mut class_begins);
        let repeated = std::mem::take(&mut repeats);
        match letter {
            '\\' => escape(&mut letters, in_class, &mut out)?,
            '[' if in_class => match letters.peek() {
                Some(':') => {
                    out.push('[');
                    for letter in letters.by_ref() {
                        out.push(letter);
                        if letter == ']' {
                            break;
                        }
                    }
                }
                _ => out.push_str("\\["),
            },
            '[' => {
                out.push('[');
                in_class = true;
                class_begins = true;
                if letters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' if in_class && begins => out.push_str("\\]"),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            // Rust's operators on classes.
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(letter);
            }
            '*' | '+' | '?' if !in_class => {
                if repeated && letter != '?' {
                    return Err(wrong("invalid nested repetition operator"));
                }
                out.push(letter);
                if letter == '?' && repeated {
                    // "a*?" is one operator; nothing may follow it.
                    repeats = true;
                    continue;
                }
                repeats = true;
            }
            '{' if !in_class => match repetition(&letters) {
                Some((text, length)) => {
                    if text.split(',').any(|count| count.parse::<u32>().is_ok_and(|count| count > 1000)) {
                        return Err(wrong("invalid repeat count"));
                    }
                    if repeated {
                        return Err(wrong("invalid nested repetition operator"));
                    }
                    out.push('{');
                    out.push_str(&text);
                    out.push('}');
                    letters.by_ref().take(length).for_each(drop);
                    repeats = true;
                }
                None => out.push_str("\\{"),
            },
            '}' if !in_class => out.push_str("\\}"),
            '(' if !in_class => {
                out.push('(');
                if letters.next_if_eq(&'?').is_some() {
                    out.push('?');
                    // There are fewer flags than that, and none comes twice.
                    let flags: String = letters
                        .clone()
                        .take(16)
                        .take_while(|letter| !matches!(letter, ')' | ':' | '<'))
                        .collect();
                    if flags.contains(['x', 'u', 'R']) {
                        return Err(wrong("invalid or unsupported Perl syntax"));
                    }
                }
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// The inside of "{2,3}" behind its first brace, and how many characters it has with the last; `None` where the brace
/// is only a brace.
fn repetition(letters: &std::iter::Peekable<std::str::Chars<'_>>) -> Option<(String, usize)> {
    let mut inside = String::new();
    for letter in letters.clone() {
        match letter {
            '0'..='9' => inside.push(letter),
            ',' if !inside.is_empty() && !inside.contains(',') => inside.push(letter),
            '}' if !inside.is_empty() => {
                let length = inside.len() + 1;
                return Some((inside, length));
            }
            _ => return None,
        }
    }
    None
}

/// What a backslash and the next character stand for.
fn escape(
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    in_class: bool,
    out: &mut String,
) -> Result<(), Fault> {
    let wrong = || Fault::new("error parsing regexp: invalid escape sequence");
    let letter = letters
        .next()
        .ok_or_else(|| Fault::new("error parsing regexp: trailing backslash at end of expression"))?;
    match letter {
        // In Go these are of ASCII.
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        'A' | 'z' if !in_class => {
            out.push('\\');
            out.push(letter);
        }
        'a' | 'f' | 't' | 'n' | 'r' | 'v' => {
            out.push('\\');
            out.push(letter);
        }
        'x' => {
            out.push_str("\\x");
        }
        'p' | 'P' => {
            out.push('\\');
            out.push(letter);
            // The inside of the braces is no repetition.
            if letters.next_if_eq(&'{').is_some() {
                out.push('{');
                for letter in letters.by_ref() {
                    out.push(letter);
                    if letter == '}' {
                        break;
                    }
                }
            }
        }
        'Q' => {
            let mut literal = String::new();
            while let Some(next) = letters.next() {
                if next == '\\' && letters.next_if_eq(&'E').is_some() {
                    break;
                }
                literal.push(next);
            }
            out.push_str(&regex::escape(&literal));
        }
        '0' => octal(0, letters, out)?,
        '1'..='7' => {
            // One digit alone would be a reference to a group, which Go has not.
            if !letters.peek().is_some_and(|next| ('0'..='7').contains(next)) {
                return Err(wrong());
            }
            octal(letter.to_digit(8).unwrap_or_default(), letters, out)?;
        }
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => out.push_str(&literal(other)),
        _ => return Err(wrong()),
    }
    if letter == 'x' && letters.peek() == Some(&'{') {
        for letter in letters.by_ref() {
            out.push(letter);
            if letter == '}' {
                break;
            }
        }
    }
    Ok(())
}

/// Up to two more digits of an octal number.
fn octal(
    mut value: u32,
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    out: &mut String,
) -> Result<(), Fault> {
    for _ in 0..2 {
        let Some(digit) = letters.next_if(|next| ('0'..='7').contains(next)) else { break };
        value = value * 8 + digit.to_digit(8).unwrap_or_default();
    }
    out.push_str(&format!("\\x{{{value:x}}}"));
    Ok(())
}

/// A character that means itself, in a class and outside.
fn literal(letter: char) -> String {
    if letter.is_ascii_punctuation() { format!("\\x{:02x}", u32::from(letter)) } else { letter.to_string() }
}

fn matches<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text), Value::String(pattern)] => {
            let pattern = budget.pattern(pattern)?;
            Ok(Value::Bool(pattern.for_text(text, budget)?.is_match(text)))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

fn find<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text), Value::String(pattern)] => {
            let pattern = budget.pattern(pattern)?;
            let regex = pattern.for_text(text, budget)?;
            Ok(Value::string(regex.find(text).map_or("", |found| found.as_str())))
        }
        _ => Err(Fault::no_such_overload()),
    }
}

fn find_all<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (text, pattern, most) = match arguments {
        [Value::String(text), Value::String(pattern)] => (text, pattern, usize::MAX),
        [Value::String(text), Value::String(pattern), Value::Int(most)] => {
            (text, pattern, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return Err(Fault::no_such_overload()),
    };
    let pattern = budget.pattern(pattern)?;
    let regex = pattern.for_text(text, budget)?;
    let mut all = Vec::new();
    for found in regex.find_iter(text).take(most) {
        budget.work(PART)?;
        all.push(Value::string(found.as_str()));
    }
    Ok(Value::list(all))
}
