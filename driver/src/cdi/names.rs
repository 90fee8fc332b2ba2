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

#[cfg(test)]
mod tests {
    use super::*;

    /// By Kubernetes' rule for driver names (a DNS subdomain of at most 63 characters) and CDI's for vendors (a
    /// letter first).
    #[test]
    fn names() {
        let longest = "a".repeat(63);
        let too_long = "a".repeat(64);
        let cases = [
            ("eks-hybrid-dra", None),
            ("gpu.nvidia.com", None),
            ("a1", None),
            ("a.b", None),
            ("x--y.z9", None),
            (longest.as_str(), None),
            (&too_long, Some("64 characters")),
            ("", Some("two characters")),
            ("a", Some("two characters")),
            ("GPU.example.com", Some("'G'")),
            ("gpu_example", Some("'_'")),
            ("gpu/example", Some("'/'")),
            ("gpu example", Some("' '")),
            ("gpü", Some("'ü'")),
            ("../gpu", Some("'/'")),
            ("gpu..com", Some("between dots")),
            (".gpu", Some("between dots")),
            ("gpu.", Some("between dots")),
            ("-gpu", Some("between dots")),
            ("gpu-", Some("between dots")),
            ("gpu-.com", Some("between dots")),
            ("1gpu.example.com", Some("begin with a letter")),
        ];
        for (name, wanted) in cases {
            match (check_driver_name(name), wanted) {
                (Ok(()), None) => {}
                (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{name:?}: {error}"),
                (got, _) => panic!("{name:?}: {got:?}"),
            }
        }
    }
}
