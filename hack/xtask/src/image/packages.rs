//! The Debian packages that the libraries of an image come from.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;

use super::archive::Entry;
use crate::command;

/// An installed package of Debian or Ubuntu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    /// dpkg's record of it.
    status: String,
}

/// The system that the packages are of, by `/etc/os-release`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    /// Such as `debian`.
    pub(super) id: String,
    /// Such as `12`.
    pub(super) version: String,
}

const OS_RELEASE: &str = "etc/os-release";

/// Where Debian keeps the texts of licences that many packages have.
const COMMON: &str = "usr/share/common-licenses";
/// Those that the packages' own files name without quoting them.
const COMMON_NAMES: [&str; 3] = ["GPL-2", "GPL-3", "LGPL-2.1"];

/// The packages that own these files, each once.
pub(super) fn owners<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Vec<Package>> {
    let mut names: Vec<String> = Vec::new();
    for file in files {
        let name = owner(file)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort();
    names.iter().map(|name| package(name)).collect()
}

/// The name of the package that owns a file. Where `/lib` is a link to `/usr/lib`, dpkg may know a file by either path.
fn owner(file: &Path) -> Result<String> {
    let ask = |file: &Path| command::output(Command::new("dpkg-query").arg("--search").arg(file));
    let moved = Path::new("/usr").join(file.strip_prefix("/").unwrap_or(file));
    let answer = ask(file).or_else(|_| ask(&moved));
    let answer = answer.with_context(|| format!("no Debian package owns {}", file.display()))?;
    let (package, _) = answer.split_once(": ").context("`dpkg-query` printed something unexpected")?;
    Ok(package.to_owned())
}

fn package(name: &str) -> Result<Package> {
    let status = command::output(Command::new("dpkg-query").args(["--status", name]))?;
    let field = |field: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        let value = value.with_context(|| format!("dpkg's record of {name} has no {field}"))?;
        anyhow::Ok(value.to_owned())
    };
    Ok(Package {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
        status,
    })
}

/// The system of this machine.
pub(super) fn system() -> Result<System> {
    let text = fs::read_to_string(Path::new("/").join(OS_RELEASE))?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
    };
    Ok(System { id: field("ID"), version: field("VERSION_ID") })
}

/// The packages' licences, and what scanners of images know packages by: the system's name, and dpkg's records where
/// images without dpkg have them.
pub(super) fn entries(packages: &[Package]) -> Result<Vec<Entry>> {
    let mut entries = vec![
        Entry::file(OS_RELEASE, 0o644, fs::read(Path::new("/").join(OS_RELEASE))?),
        Entry::folder("var", 0o755),
        Entry::folder("var/lib", 0o755),
        Entry::folder("var/lib/dpkg", 0o755),
        Entry::folder("var/lib/dpkg/status.d", 0o755),
        Entry::folder(COMMON, 0o755),
    ];
    for name in COMMON_NAMES {
        let path = format!("{COMMON}/{name}");
        entries.push(Entry::file(&path, 0o644, fs::read(Path::new("/").join(&path))?));
    }
    for package in packages {
        let name = &package.name;
        entries.push(Entry::file(&format!("var/lib/dpkg/status.d/{name}"), 0o644, package.status.clone()));
        let folder = format!("usr/share/doc/{name}");
        let path = format!("{folder}/copyright");
        // Some are links into the folder of a sister package; the image has the text.
        let text = fs::read(Path::new("/").join(&path))?;
        entries.extend([Entry::folder(&folder, 0o755), Entry::file(&path, 0o644, text)]);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::libraries;

    #[test]
    fn the_libraries_come_from_two_packages() {
        let files = libraries::files();
        let packages = owners(files.iter().map(|file| file.as_path())).unwrap();
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["libc6", "libgcc-s1"]);
        for package in packages {
            // Another program of dpkg's.
            let list = command::output(Command::new("dpkg").args(["--list", &package.name])).unwrap();
            let words: Vec<&str> = list.lines().last().unwrap().split_whitespace().collect();
            assert_eq!([words[2], words[3]], [package.version, package.architecture]);
        }
    }

    #[test]
    fn a_file_of_no_package_is_named() {
        let error = owners([Path::new("/nowhere/at/all")]).unwrap_err();
        assert!(format!("{error:#}").starts_with("no Debian package owns /nowhere/at/all: "), "{error:#}");
    }
}
