//! Driver versions, and the CUDA version that comes with each branch.

use thiserror::Error;

use crate::model::CudaVersion;

/// The newest CUDA that a branch's driver runs, from NVIDIA's driver release notes.
const BRANCHES: [(u16, CudaVersion); 13] = [
    (535, cuda(12, 2)),
    (545, cuda(12, 3)),
    (550, cuda(12, 4)),
    (555, cuda(12, 5)),
    (560, cuda(12, 6)),
    (565, cuda(12, 7)),
    (570, cuda(12, 8)),
    (575, cuda(12, 9)),
    (580, cuda(13, 0)),
    (590, cuda(13, 1)),
    (595, cuda(13, 2)),
    (610, cuda(13, 3)),
    (615, cuda(13, 3)),
];

const fn cuda(major: u8, minor: u8) -> CudaVersion {
    CudaVersion { major, minor }
}

/// What can be wrong with a driver version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DriverVersionError {
    /// It is not a version.
    #[error("{}; {}", self.what(), self.remedy())]
    Malformed {
        /// What was given.
        version: String,
    },
    /// Nothing is known about its branch.
    #[error("{}; {}", self.what(), self.remedy())]
    UnknownBranch {
        /// What was given.
        version: String,
        /// Its branch.
        branch: u16,
        /// The known branches.
        known: String,
    },
}

impl DriverVersionError {
    pub(super) fn what(&self) -> String {
        match self {
            Self::Malformed { version } => format!("'{version}' is not a driver version"),
            Self::UnknownBranch { version, branch, .. } => {
                format!("driver {version} is of branch {branch}, whose CUDA version is unknown")
            }
        }
    }

    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Malformed { .. } => "write it like 550.163.01 or 535.86".to_owned(),
            Self::UnknownBranch { known, .. } => format!("choose a version of one of the branches {known}"),
        }
    }
}

/// The newest CUDA that a driver of this version runs.
///
/// # Errors
///
/// The version is malformed, or its branch is unknown.
pub fn cuda_of_driver(version: &str) -> Result<CudaVersion, DriverVersionError> {
    let branch =
        branch(version).ok_or_else(|| DriverVersionError::Malformed { version: version.to_owned() })?;
    let known = BRANCHES.iter().find(|(known, _)| *known == branch);
    known.map(|(_, cuda)| *cuda).ok_or_else(|| DriverVersionError::UnknownBranch {
        version: version.to_owned(),
        branch,
        known: BRANCHES.map(|(branch, _)| branch.to_string()).join(", "),
    })
}

/// 550 of "550.163.01", if it has the form NNN.N[NN][.NN].
fn branch(version: &str) -> Option<u16> {
    let parts: Vec<&str> = version.split('.').collect();
    let lengths_fit = match parts.as_slice() {
        [major, minor] => major.len() == 3 && (1..=3).contains(&minor.len()),
        [major, minor, patch] => {
            major.len() == 3 && (1..=3).contains(&minor.len()) && (1..=2).contains(&patch.len())
        }
        _ => false,
    };
    let digits = parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if lengths_fit && digits { parts.first()?.parse().ok() } else { None }
}
