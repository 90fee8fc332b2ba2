//! Versions that are not semantic versions, made into such, because a ResourceSlice takes no others.

use serde::Serialize;

/// A version as its maker writes it, and as Kubernetes compares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// As its maker writes it: "570.170.01".
    pub raw: String,
    /// As a semantic version: 570.170.1.
    pub semantic: semver::Version,
}

impl Version {
    /// Reads numbers with dots between them. Leading zeros go (NVIDIA's "570.170.01" is 570.170.1, and newer
    /// than 570.170.0), what is missing is 0 ("12.4" is 12.4.0), and what follows the third number becomes
    /// build metadata, which no comparison sees ("12.550.163.01" is 12.550.163+01). None for anything else.
    pub fn of_text(raw: &str) -> Option<Self> {
        let mut parts = raw.splitn(4, '.');
        let major = number(parts.next()?)?;
        let minor = parts.next().map_or(Some(0), number)?;
        let patch = parts.next().map_or(Some(0), number)?;
        let mut semantic = semver::Version::new(major, minor, patch);
        if let Some(rest) = parts.next() {
            if !rest.split('.').all(|part| number(part).is_some()) {
                return None;
            }
            semantic.build = semver::BuildMetadata::new(rest).ok()?;
        }
        Some(Self { raw: raw.to_owned(), semantic })
    }

    /// CUDA's version as NVML gives it: 1000 × major + 10 × minor. None if it is not positive.
    pub fn of_cuda(number: i32) -> Option<Self> {
        let number = u64::try_from(number).ok().filter(|number| *number > 0)?;
        Some(Self::of_two(number / 1000, number % 1000 / 10))
    }

    /// A version of two numbers.
    pub fn of_two(major: u64, minor: u64) -> Self {
        Self { raw: format!("{major}.{minor}"), semantic: semver::Version::new(major, minor, 0) }
    }
}

/// Only digits: `parse` alone would take "+1" as well.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_versions_become_semantic_ones() {
        let cases = [
            ("570.170.01", Some("570.170.1")),
            ("550.163.01", Some("550.163.1")),
            ("535.261.03", Some("535.261.3")),
            ("580.82.07", Some("580.82.7")),
            ("550.54", Some("550.54.0")),
            ("12.550.163.01", Some("12.550.163+01")),
            ("580.126.20", Some("580.126.20")),
            ("580", Some("580.0.0")),
            ("", None),
            ("570.170.x", None),
            ("570..01", None),
            ("570.170.01-grid", None),
            ("+570.170.01", None),
            ("12.550.163.01.", None),
            ("99999999999999999999.1.1", None),
        ];
        for (raw, wanted) in cases {
            let version = Version::of_text(raw);
            assert_eq!(
                version.as_ref().map(|version| version.semantic.to_string()),
                wanted.map(str::to_owned),
                "{raw}"
            );
            assert!(version.is_none_or(|version| version.raw == raw));
        }
    }

    #[test]
    fn cudas_version_is_one_number() {
        let cases = [
            (12040, Some("12.4.0")),
            (13000, Some("13.0.0")),
            (12080, Some("12.8.0")),
            (0, None),
            (-1, None),
        ];
        for (number, wanted) in cases {
            let version = Version::of_cuda(number).map(|version| version.semantic.to_string());
            assert_eq!(version, wanted.map(str::to_owned), "{number}");
        }
    }
}
