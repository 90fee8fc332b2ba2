//! The names of vendors, classes and devices.

use thiserror::Error;

/// A name that the CDI specification does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The name is missing.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// The name starts with a character that is not allowed there.
    #[error("the {what} {name:?} has to start with {wanted}")]
    Start {
        /// Which name.
        what: &'static str,
        /// The name itself.
        name: String,
        /// What it may start with.
        wanted: &'static str,
    },
    /// The name ends with a character that is not allowed there.
    #[error("the {what} {name:?} has to end with an ASCII letter or digit")]
    End {
        /// Which name.
        what: &'static str,
        /// The name itself.
        name: String,
    },
    /// The name contains a character that is not allowed.
    #[error("the {what} {name:?} contains {character:?}; allowed are ASCII letters, digits and {allowed:?}")]
    Character {
        /// Which name.
        what: &'static str,
        /// The name itself.
        name: String,
        /// The first character that is not allowed.
        character: char,
        /// The punctuation that is allowed.
        allowed: &'static str,
    },
}

/// Checks the vendor of a kind.
pub(super) fn vendor(name: &str) -> Result<(), NameError> {
    check("vendor", name, "an ASCII letter", |c| c.is_ascii_alphabetic(), "_-.")
}

/// Checks the class of a kind.
pub(super) fn class(name: &str) -> Result<(), NameError> {
    check("class", name, "an ASCII letter", |c| c.is_ascii_alphabetic(), "_-.")
}

/// Checks the name of a device.
pub(super) fn device(name: &str) -> Result<(), NameError> {
    check("device name", name, "an ASCII letter or digit", |c| c.is_ascii_alphanumeric(), "_-.:")
}

/// Splits a kind into vendor and class. A kind without both is all class, so that the vendor is what is missing.
pub(super) fn split_kind(kind: &str) -> (&str, &str) {
    match kind.split_once('/') {
        Some((vendor, class)) if !vendor.is_empty() && !class.is_empty() => (vendor, class),
        _ => ("", kind),
    }
}

fn check(
    what: &'static str,
    name: &str,
    wanted: &'static str,
    may_start: fn(char) -> bool,
    allowed: &'static str,
) -> Result<(), NameError> {
    let (Some(first), Some(last)) = (name.chars().next(), name.chars().next_back()) else {
        return Err(NameError::Empty(what));
    };
    let name = || name.to_owned();
    if !may_start(first) {
        return Err(NameError::Start { what, name: name(), wanted });
    }
    if let Some(character) = name().chars().find(|&c| !c.is_ascii_alphanumeric() && !allowed.contains(c)) {
        return Err(NameError::Character { what, name: name(), character, allowed });
    }
    if !last.is_ascii_alphanumeric() {
        return Err(NameError::End { what, name: name() });
    }
    Ok(())
}
