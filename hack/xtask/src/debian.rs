//! Debian and Ubuntu: installs packages, unpacks pinned ones without installing them, and knows where Debian's archive
//! is.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;

use crate::command;
use crate::digest::Digest;

/// Signs Debian's archive; of the package `debian-archive-keyring`.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Of the package `debootstrap`; it names the mirror that Debian recommends.
const INSTALLER: &str = "/usr/sbin/debootstrap";

/// A package and the reason that is shown before it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
}

/// Installs packages, as root or through `sudo` where it asks nothing.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("These packages are needed and missing:");
    for package in packages {
        eprintln!("  {:<24} {}", package.name, package.why);
    }
    let names: Vec<&str> = packages.iter().map(|package| package.name).collect();
    let by_hand = format!("sudo apt-get update && sudo apt-get install {}", names.join(" "));
    ensure!(
        command::succeeds(Command::new("apt-get").arg("--version")),
        "this set-up knows Debian and Ubuntu alone, and finds no apt-get: install {} yourself, or leave out the \
         steps that need them (cargo xtask test --only STEP…)",
        names.join(", ")
    );
    let Some(root) = root_prefix()? else {
        bail!("only root can install packages: run `{by_hand}`, then this command again");
    };
    command::run_aside(&mut apt_get(root, &["update"]))?;
    let mut arguments =
        vec!["install", "--yes", "--quiet=2", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends"];
    arguments.extend(names);
    command::run_aside(&mut apt_get(root, &arguments)).with_context(|| format!("try by hand: {by_hand}"))
}

/// What must stand before `apt-get`: nothing for root, `sudo` where no password is asked, else `None`.
fn root_prefix() -> Result<Option<&'static [&'static str]>> {
    if command::output(Command::new("id").arg("-u"))?.trim() == "0" {
        return Ok(Some(&[]));
    }
    let sudo: &[&str] = &["sudo", "--non-interactive"];
    Ok(command::succeeds(Command::new(sudo[0]).args([sudo[1], "true"])).then_some(sudo))
}

fn apt_get(prefix: &[&str], arguments: &[&str]) -> Command {
    let words = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// A package's amd64 file, as it was reviewed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pinned {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    pub(crate) sha256: &'static str,
}

/// Downloads packages of a suite with a private apt configuration, and unpacks them into a folder: nothing of the
/// system's is read or changed but its keyring, and nothing is installed.
pub(crate) fn unpack(suite: &str, packages: &[Pinned], folder: &Path) -> Result<()> {
    let names: Vec<&str> = packages.iter().map(|pinned| pinned.package).collect();
    ensure!(
        cfg!(target_arch = "x86_64"),
        "{} are pinned for x86_64 alone: leave out the steps that need them on this machine",
        names.join(", ")
    );
    eprintln!("Unpacked into {}, not installed.", folder.parent().unwrap_or(folder).display());
    let work = folder.join("apt");
    for needed in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(work.join(needed))?;
    }
    let sources = work.join("sources.list");
    fs::write(&sources, format!("deb [arch=amd64 signed-by={KEYRING}] {} {suite}\n", mirror()?))?;

    command::run_aside(private_apt(&work, &sources).arg("update"))?;
    let wanted = packages.iter().map(|Pinned { package, version, .. }| format!("{package}:amd64={version}"));
    command::run_aside(private_apt(&work, &sources).arg("download").args(wanted))?;
    for Pinned { package, version, sha256 } in packages {
        let archive = work.join(format!("{package}_{version}_amd64.deb"));
        Digest::Sha256(sha256).verify(&archive, package)?;
        command::run_aside(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(folder))?;
    }
    fs::remove_dir_all(work)?;
    Ok(())
}

fn private_apt(work: &Path, sources: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    apt.current_dir(work);
    for (option, value) in [
        ("Dir::Etc::sourcelist", sources.display().to_string()),
        ("Dir::Etc::sourceparts", "-".to_owned()),
        ("Dir::State::lists", work.join("lists").display().to_string()),
        ("Dir::Cache", work.join("cache").display().to_string()),
        // The folder may be one that apt's own user cannot enter; the pins guard what comes.
        ("APT::Sandbox::User", "root".to_owned()),
    ] {
        apt.arg("-o").arg(format!("{option}={value}"));
    }
    apt.arg("--quiet=2");
    apt
}

/// Names a Debian mirror for machines whose own configuration has none.
const MIRROR_VARIABLE: &str = "DEBIAN_MIRROR";

/// The address of a Debian mirror: the one that is asked for, else the one this machine uses, else the one
/// that Debian's own installer uses.
pub(crate) fn mirror() -> Result<String> {
    if let Some(mirror) = configured_mirror() {
        return Ok(mirror);
    }
    let installer = fs::read_to_string(INSTALLER)?;
    let mirror = default_mirror(&installer).map(str::to_owned);
    mirror.with_context(|| {
        format!("{INSTALLER} names no Debian mirror: set {MIRROR_VARIABLE} to the address of one")
    })
}

/// Whether [`mirror`] still needs the package `debootstrap`: so on Ubuntu, whose mirrors are not Debian's.
pub(crate) fn mirror_needs_installer() -> bool {
    configured_mirror().is_none() && !Path::new(INSTALLER).exists()
}

fn configured_mirror() -> Option<String> {
    if let Ok(mirror) = std::env::var(MIRROR_VARIABLE) {
        return Some(mirror);
    }
    let repositories =
        command::output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"])).ok()?;
    debian_mirror(&repositories).map(str::to_owned)
}

/// Of apt's repository addresses the first that is Debian's main archive, whatever its host.
fn debian_mirror(repositories: &str) -> Option<&str> {
    repositories.lines().map(|uri| uri.trim_end_matches('/')).find(|uri| uri.ends_with("/debian"))
}

fn default_mirror(installer: &str) -> Option<&str> {
    let setting = installer.lines().find_map(|line| line.trim().strip_prefix("DEF_MIRROR="));
    setting.and_then(|value| debian_mirror(value.trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debian_mirror_is_taken_from_apt_where_there_is_one() {
        for (name, repositories, mirror) in [
            ("nothing configured", "", None),
            (
                "Debian",
                "http://mirror.example/debian-security/\nhttp://mirror.example/debian/\n",
                Some("http://mirror.example/debian"),
            ),
            (
                "Debian behind a proxy's path",
                "https://apt.example/x/debian\n",
                Some("https://apt.example/x/debian"),
            ),
            ("Ubuntu", "http://mirror.example/ubuntu/\n", None),
        ] {
            assert_eq!(debian_mirror(repositories), mirror, "{name}");
        }
    }

    #[test]
    fn the_installer_names_its_default_mirror() {
        let script =
            "USE_DEBIANINSTALLER=\nDEF_MIRROR=\"http://mirror.example/debian\"\nDEF_HTTPS_MIRROR=\"x\"\n";
        assert_eq!(default_mirror(script), Some("http://mirror.example/debian"));
        assert_eq!(default_mirror("DEF_MIRROR=\"http://mirror.example/ubuntu\"\n"), None);
        assert_eq!(default_mirror("set -e\n"), None);
    }
}
