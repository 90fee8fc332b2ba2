//! The licence texts and notices of all crates that the programs are linked from, as one text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;

use super::crates::Crate;
use crate::command;

const LINE: &str = "--------------------------------------------------------------------------------";

/// What the text begins with.
const HEAD: &str = "\
The programs of dra-driver are linked from the crates below. Each is named with its version and its licence
as SPDX writes it; the texts and notices that come with the crates follow, each text once. The Rust standard
library, which the programs hold too, has a file of its own beside this one; so has every Debian package
whose libraries are in the image, in ../<package>/copyright.
";

/// Where the texts come from that crates do not bring along.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts<'a> {
    /// The text of Apache-2.0.
    pub(super) apache: &'a Path,
    /// A folder with a file of a crate's name for each crate whose archive lacks its licence, though the repository that
    /// it comes from has it.
    pub(super) carried: &'a Path,
}

/// The names and texts of these crates' licences.
pub(super) fn text<'a>(texts_of: Texts<'_>, crates: impl IntoIterator<Item = &'a Crate>) -> Result<String> {
    let mut crates: Vec<&Crate> = crates.into_iter().collect();
    crates.sort_by_key(|one| (&one.name, &one.version));
    let mut all = format!("{HEAD}\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in &crates {
        let Crate { name, version, licence, .. } = one;
        // Writing to a string cannot fail.
        let _ = writeln!(all, "{name} {version}: {licence}");
        for file in files(one, &crates, texts_of)? {
            let text = fs::read(&file)?;
            let user = format!("{name} {version}");
            texts.entry(String::from_utf8_lossy(&text).trim_end().to_owned()).or_default().push(user);
        }
    }
    let mut texts: Vec<(String, Vec<String>)> = texts.into_iter().collect();
    texts.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (text, users) in texts {
        let _ = writeln!(all, "\n{LINE}\n{}\n{LINE}\n{text}", users.join(", "));
    }
    Ok(all)
}

/// The files with a crate's licences. A crate whose archive has none takes those of a crate from the same repository,
/// or the text that is carried for it, or else the text of Apache-2.0.
fn files(one: &Crate, all: &[&Crate], texts: Texts<'_>) -> Result<Vec<PathBuf>> {
    let own = in_folder(&one.folder)?;
    if !own.is_empty() {
        return Ok(own);
    }
    if one.sha256.is_some() && one.repository.is_some() {
        for other in all.iter().filter(|other| other.repository == one.repository) {
            let files = in_folder(&other.folder)?;
            if !files.is_empty() {
                return Ok(files);
            }
        }
    }
    let carried = texts.carried.join(&one.name);
    if carried.is_file() {
        return Ok(vec![carried]);
    }
    let is_apache = one.licence.split_whitespace().any(|word| word == "Apache-2.0");
    let text = is_apache.then(|| vec![texts.apache.to_owned()]);
    text.with_context(|| {
        format!(
            "the crate {} {} has no file with its licence ({}), nor has another crate of its repository; take it \
             from there to {}",
            one.name,
            one.version,
            one.licence,
            carried.display()
        )
    })
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && is_licence(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file holds a licence or notices, by its name.
fn is_licence(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["license", "licence", "unlicense", "copying", "copyright", "notice"].iter().any(|s| name.starts_with(s))
        && !name.ends_with(".rs")
}

/// What the Rust project says of its standard library, which every program holds.
pub(super) fn standard_library() -> Result<Vec<u8>> {
    let sysroot = command::output(Command::new("rustc").args(["--print=sysroot"]))?;
    let file = Path::new(sysroot.trim()).join("share/doc/rust/COPYRIGHT-library.html");
    fs::read(file).context(
        "the image takes the standard library's licences from the Rust toolchain: use one that rustup installed",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn krate(folder: &Path, name: &str, licence: &str, repository: Option<&str>) -> Crate {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        Crate {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.to_owned(),
            repository: repository.map(str::to_owned),
            sha256: Some(String::new()),
            folder,
            uses: BTreeSet::new(),
        }
    }

    #[test]
    fn each_text_stands_once_with_all_who_use_it() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let crates = [
            krate(folder, "with-notice", "MIT", None),
            krate(folder, "same-text", "MIT", Some("https://example.com/one")),
            krate(folder, "no-text", "MIT", Some("https://example.com/one")),
            krate(folder, "no-text-at-all", "Apache-2.0", Some("https://example.com/two")),
            krate(folder, "text-is-carried", "MIT", Some("https://example.com/three")),
        ];
        fs::create_dir(folder.join("carried")).unwrap();
        for (file, text) in [
            ("with-notice/LICENSE-MIT", "the licence\n"),
            ("with-notice/NOTICE", "made by somebody\n"),
            ("with-notice/license.rs", "fn main() {}\n"),
            ("same-text/LICENSE", "the licence"),
            ("apache", "the text of Apache-2.0"),
            ("carried/text-is-carried", "the licence\n"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let texts = Texts { apache: &folder.join("apache"), carried: &folder.join("carried") };
        let text = text(texts, &crates).unwrap();
        assert!(text.contains("\nno-text 1.0.0: MIT\nno-text-at-all 1.0.0: Apache-2.0\n"), "{text}");
        let shared = format!(
            "{LINE}\nno-text 1.0.0, same-text 1.0.0, text-is-carried 1.0.0, with-notice 1.0.0\n{LINE}\nthe licence\n\n"
        );
        assert!(text.contains(&shared), "{text}");
        assert!(text.contains(&format!("{LINE}\nwith-notice 1.0.0\n{LINE}\nmade by somebody\n")), "{text}");
        assert!(
            text.contains(&format!("{LINE}\nno-text-at-all 1.0.0\n{LINE}\nthe text of Apache-2.0\n")),
            "{text}"
        );
        assert!(!text.contains("fn main"), "{text}");
    }

    #[test]
    fn a_crate_without_any_text_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let texts = Texts { apache: Path::new("apache"), carried: Path::new("carried") };
        let error = text(texts, &[krate(temporary.path(), "bare", "MIT", None)]).unwrap_err().to_string();
        assert_eq!(
            error,
            "the crate bare 1.0.0 has no file with its licence (MIT), nor has another crate of its repository; take \
             it from there to carried/bare"
        );
    }
}
