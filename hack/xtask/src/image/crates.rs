//! The crates that the programs are linked from, as `cargo metadata` and `Cargo.lock` tell of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;
use serde::Deserialize;

use crate::command;

/// A crate that a program is linked from.
#[derive(Debug, Clone)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) licence: String,
    /// Where its source is, if it says so.
    pub(super) repository: Option<String>,
    /// Of the archive that crates.io has; a crate of this workspace has none.
    pub(super) sha256: Option<String>,
    /// The folder of its source on this machine.
    pub(super) folder: PathBuf,
    /// Cargo's identifiers of the crates that it uses.
    pub(super) uses: BTreeSet<String>,
}

/// What we read of `cargo metadata`.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// None for an ordinary dependency; the others are "dev" and "build".
    kind: Option<String>,
}

/// What we read of `Cargo.lock`.
#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// All crates that these packages of the workspace are linked from, themselves included, by cargo's identifiers.
///
/// Features are those that the workspace as a whole turns on, so a crate can be among them that another package alone
/// asks for.
pub(super) fn of(workspace: &Path, programs: &[String]) -> Result<BTreeMap<String, Crate>> {
    let mut cargo = Command::new("cargo");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    cargo.current_dir(workspace).args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        &target,
    ]);
    let metadata: Metadata = serde_json::from_str(&command::output(&mut cargo)?)
        .context("`cargo metadata` printed something unexpected")?;
    let lock = workspace.join("Cargo.lock");
    let lock: Lock = toml::from_str(&fs::read_to_string(&lock)?)
        .with_context(|| format!("cannot read {}", lock.display()))?;

    let edges: BTreeMap<&str, BTreeSet<&str>> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), ordinary(node))).collect();
    let is_program = |package: &&Package| programs.contains(&package.name);
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut left: Vec<&str> = metadata.packages.iter().filter(is_program).map(|p| p.id.as_str()).collect();
    while let Some(id) = left.pop() {
        if reached.insert(id) {
            left.extend(edges.get(id).into_iter().flatten());
        }
    }

    let mut crates = BTreeMap::new();
    for package in metadata.packages.iter().filter(|package| reached.contains(package.id.as_str())) {
        let uses = edges.get(package.id.as_str()).into_iter().flatten().map(|id| (*id).to_owned());
        crates.insert(package.id.clone(), describe(package, &lock, uses.collect())?);
    }
    Ok(crates)
}

fn ordinary(node: &Node) -> BTreeSet<&str> {
    let is_ordinary = |edge: &&Edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
    node.deps.iter().filter(is_ordinary).map(|edge| edge.pkg.as_str()).collect()
}

fn describe(package: &Package, lock: &Lock, uses: BTreeSet<String>) -> Result<Crate> {
    let Package { name, version, .. } = package;
    let licence = package.license.as_deref();
    let licence = licence.with_context(|| format!("the crate {name} {version} names no licence"))?;
    let locked = lock.package.iter().find(|locked| locked.name == *name && locked.version == *version);
    Ok(Crate {
        name: name.clone(),
        version: version.clone(),
        licence: expression(licence),
        repository: package.repository.clone(),
        sha256: locked.and_then(|locked| locked.checksum.clone()),
        folder: package.manifest_path.parent().unwrap_or(Path::new("/")).to_owned(),
        uses,
    })
}

/// Old manifests have a slash where SPDX has `OR`.
fn expression(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edges;

    #[test]
    fn every_crate_of_the_programs_is_found_with_its_checksum() {
        let root = command::workspace_root().unwrap();
        let programs = edges::shipped_programs().unwrap();
        let crates = of(&root, &programs).unwrap();
        let found: BTreeSet<String> =
            crates.values().map(|one| format!("{} v{}", one.name, one.version)).collect();
        for program in programs {
            // Another part of cargo, which turns on this one package's features alone.
            let tree = ["tree", "--edges=normal", "--prefix=none", "--format={p}", "--locked", "--package"];
            let tree = command::output(Command::new("cargo").args(tree).arg(&program)).unwrap();
            let tree: BTreeSet<String> = tree
                .lines()
                .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
                .collect();
            assert!(tree.len() > 10, "{program}: {tree:?}");
            assert_eq!(tree.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new(), "{program}");
        }
        for one in crates.values() {
            let ours = one.folder.starts_with(&root);
            assert_eq!(one.sha256.is_none(), ours, "{one:?}");
        }
    }

    #[test]
    fn checksums_are_those_of_the_archives() {
        let root = command::workspace_root().unwrap();
        let crates = of(&root, &edges::shipped_programs().unwrap()).unwrap();
        let serde = crates.values().find(|one| one.name == "serde").unwrap();
        // Cargo keeps the archive beside the unpacked source: registry/{cache,src}/INDEX/NAME-VERSION.
        let source = serde.folder.to_str().unwrap();
        let archive = format!("{}.crate", source.replacen("/registry/src/", "/registry/cache/", 1));
        let sum = command::output(Command::new("sha256sum").arg(archive)).unwrap();
        assert_eq!(sum.split_whitespace().next(), serde.sha256.as_deref());
    }

    #[test]
    fn licences_are_spdx_expressions() {
        for (name, licence, spdx) in [
            ("as it should be", "MIT OR Apache-2.0", "MIT OR Apache-2.0"),
            ("as manifests once had it", "MIT/Apache-2.0", "MIT OR Apache-2.0"),
            ("with spaces", "Apache-2.0 / MIT", "Apache-2.0 OR MIT"),
        ] {
            assert_eq!(expression(licence), spdx, "{name}");
        }
    }
}
