//! What the kernel says about the NVIDIA driver in `/proc`.

use std::path::Path;

use super::Version;

/// The version of the NVIDIA kernel module that is loaded, if one is.
#[must_use]
pub fn loaded_module(procfs: &Path) -> Option<String> {
    let text = fs_err::read_to_string(procfs.join("driver/nvidia/version")).ok()?;
    version_of(&text).map(str::to_owned)
}

/// The version stands at different places for the open and the proprietary module: it is the first word of
/// the line that is a version with a dot.
fn version_of(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    line.split_whitespace().find(|word| word.contains('.') && Version::of_text(word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_version_of_either_module() {
        let cases = [
            (
                "proprietary",
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8 12:41:17 UTC 2025\n\
                 GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
                Some("550.163.01"),
            ),
            (
                "open",
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.20  Release Build  (root@host)\n",
                Some("580.126.20"),
            ),
            ("another file", "GCC version:  gcc version 12.2.0\n", None),
            ("empty", "", None),
        ];
        for (name, text, wanted) in cases {
            assert_eq!(version_of(text), wanted, "{name}");
        }
    }
}
