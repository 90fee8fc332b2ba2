//! Names: what a DRA driver may be called, so that it can be a CDI vendor as well.

use thiserror::Error;

/// The longest name that Kubernetes allows a DRA driver.
const LONGEST: usize = 63;

/// Why a name cannot be a driver's. Each text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the driver name {name:?} cannot be used: {reason}; set --driver-name (DRIVER_NAME) to a name such as \"gpu.example.com\""
)]
pub struct NameError {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Checks that a name can be both a DRA driver's (a DNS subdomain of at most 63 characters) and a CDI vendor's
/// (which begins with a letter). CDI libraries up to 1.1.0 crash on a vendor of one letter, so two are needed.
///
/// # Errors
/// What is wrong with the name.
pub fn check_driver_name(name: &str) -> Result<(), NameError> {
    let reason = if name.len() < 2 {
        Some(
            "it needs two characters at least, because some container runtimes crash on a shorter CDI vendor"
                .to_owned(),
        )
    } else if name.len() > LONGEST {
        Some(format!("it has {} characters, Kubernetes allows {LONGEST}", name.len()))
    } else if let Some(other) =
        name.chars().find(|letter| !matches!(letter, 'a'..='z' | '0'..='9' | '-' | '.'))
    {
        Some(format!("it contains {other:?}; allowed are lower-case letters, digits, '-' and '.'"))
    } else if name.split('.').any(|part| part.is_empty() || part.starts_with('-') || part.ends_with('-')) {
        Some("each part between dots has to begin and end with a letter or digit".to_owned())
    } else if !name.starts_with(|letter: char| letter.is_ascii_lowercase()) {
        Some("it has to begin with a letter, because it is the vendor of the CDI devices too".to_owned())
    } else {
        None
    };
    reason.map_or(Ok(()), |reason| Err(NameError { name: name.to_owned(), reason }))
}
