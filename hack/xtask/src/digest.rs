//! The only proof asked of a download: that it is the very file whose digest stands in this repository.

use std::path::Path;

use anyhow::{Result, ensure};
use fs_err as fs;
use sha2::{Digest as _, Sha256, Sha512};

/// A digest in hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Digest {
    Sha256(&'static str),
    Sha512(&'static str),
}

impl Digest {
    pub(crate) fn digits(self) -> &'static str {
        match self {
            Self::Sha256(digits) | Self::Sha512(digits) => digits,
        }
    }

    /// Checks a file that came from `source`.
    pub(crate) fn verify(self, file: &Path, source: &str) -> Result<()> {
        let found = self.of_same_kind(file)?;
        let pinned = self.digits();
        ensure!(
            found == pinned,
            "{source} has the digest {found}, but {pinned} is pinned: it is not the file that was reviewed"
        );
        Ok(())
    }

    fn of_same_kind(self, file: &Path) -> Result<String> {
        let mut file = fs::File::open(file)?;
        match self {
            Self::Sha256(_) => {
                let mut hash = Sha256::new();
                std::io::copy(&mut file, &mut hash)?;
                Ok(format!("{:x}", hash.finalize()))
            }
            Self::Sha512(_) => {
                let mut hash = Sha512::new();
                std::io::copy(&mut file, &mut hash)?;
                Ok(format!("{:x}", hash.finalize()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_verified_by_its_pin() {
        // NIST's examples for "abc".
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feeb\
                      bd454d4423643ce80e2a9ac94fa54ca49f";
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("abc");
        for digest in [Digest::Sha256(sha256), Digest::Sha512(sha512)] {
            fs::write(&file, "abc").unwrap();
            digest.verify(&file, "here").unwrap();
            fs::write(&file, "abd").unwrap();
            let error = digest.verify(&file, "here").unwrap_err().to_string();
            assert!(error.starts_with("here has the digest") && error.contains("is pinned"), "{error}");
        }
    }
}
