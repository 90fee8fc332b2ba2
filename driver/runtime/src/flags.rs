//! Values of flags that both programs have.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An object of a namespace, written `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl FromStr for ObjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("'{text}' is not NAMESPACE/NAME, such as kube-system/dra-driver")),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Whether a text could name an object: what else is wrong with it, the API server says.
fn is_name(text: &str) -> bool {
    let known =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    !text.is_empty() && text.chars().all(known)
}

/// Reads "10s", "500ms", "2m".
///
/// # Errors
/// What is wrong with the text, for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a positive whole number with ms, s or m, such as 10s");
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    // The longest time that any call is worth waiting for also keeps deadlines far from overflowing.
    const LONGEST: u64 = 24 * 3_600_000;
    milliseconds
        .filter(|milliseconds| (1..=LONGEST).contains(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects() {
        let cases = [
            ("kube-system/dra-driver", Some(("kube-system", "dra-driver"))),
            ("a/b.c-1", Some(("a", "b.c-1"))),
            ("dra-driver", None),
            ("/dra-driver", None),
            ("kube-system/", None),
            ("a/b/c", None),
            ("a/B", None),
            ("", None),
        ];
        for (text, wanted) in cases {
            let read = text.parse::<ObjectName>().ok();
            let read = read.as_ref().map(|read| (read.namespace.as_str(), read.name.as_str()));
            assert_eq!(read, wanted, "{text}");
        }
        let name: ObjectName = "kube-system/dra-driver".parse().unwrap();
        assert_eq!(name.to_string(), "kube-system/dra-driver");
    }

    #[test]
    fn durations() {
        let cases = [
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("24h", None),
            ("10", None),
            ("s", None),
            ("0s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1441m", None),
            ("99999999999999999999s", None),
            ("18446744073709551615m", None),
        ];
        for (text, wanted) in cases {
            let read = duration(text).ok();
            assert_eq!(read, wanted.map(Duration::from_millis), "{text}");
        }
    }
}
