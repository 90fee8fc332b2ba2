//! The product's image: all programs, the C library they are linked with, and nothing else; no shell.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::archive::{Entry, Image, Layer};
use super::elf::{self, Glibc};
use super::{crates, libraries, licences, packages, sbom};
use crate::steps::ALL_TESTS;
use crate::{cluster, command, edges};

/// The name by which `cargo xtask image` knows it.
pub(super) const NAME: &str = "dra-driver";

/// The program that container runtimes run beside images that nobody trusts. It is linked with nothing, so that no loader
/// looks for what it should load.
const STATIC: &str = "dra-cdi-hook";

/// The folder that the programs lie in.
const PROGRAMS: &str = "usr/bin";

/// The oldest C library that the programs may need: `docs/image.md` names it, for those who run a program without the
/// image.
const OLDEST_GLIBC: Glibc = Glibc(2, 34);

/// The folder that says what is in the image. Scanners know the list by the end of its name.
const PAPERS: &str = "usr/share/doc/dra-driver";

/// How the programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// Fast to build, slow and large: for tests.
    Debug,
    /// What ships.
    Dist,
}

/// A program that the image holds.
#[derive(Debug)]
struct Program {
    name: String,
    contents: Vec<u8>,
}

/// The image's name on a test cluster.
fn reference() -> String {
    format!("registry.local/{NAME}:{}", env!("CARGO_PKG_VERSION"))
}

/// Builds the programs and makes the image of them.
pub(super) fn image(build: Build) -> Result<Image> {
    let programs = programs(build)?;
    let glibc = check(&programs)?;
    eprintln!("Without the image, the programs need glibc {glibc} or newer.");
    let layer = match build {
        Build::Debug => Layer::Plain,
        Build::Dist => Layer::Compressed,
    };
    of(programs, &command::workspace_root()?, layer)
}

/// The image of these programs.
fn of(programs: Vec<Program>, root: &Path, layer: Layer) -> Result<Image> {
    let mut entries = vec![
        Entry::folder(PROGRAMS, 0o755),
        Entry::folder("etc", 0o755),
        // The C library asks this file how names become addresses.
        Entry::file("etc/nsswitch.conf", 0o644, "hosts: files dns\n"),
    ];
    entries.extend(libraries::entries()?);
    entries.extend(papers(root, &programs)?);
    let file =
        |program: Program| Entry::file(&format!("{PROGRAMS}/{}", program.name), 0o755, program.contents);
    entries.extend(programs.into_iter().map(file));
    Ok(Image {
        reference: reference(),
        // There are several programs: a manifest names the one that it means.
        entrypoint: Vec::new(),
        environment: vec![format!("PATH=/{PROGRAMS}")],
        user: String::new(),
        labels: labels(revision(root)),
        layer,
        entries,
    })
}

/// What is in the image, and under which licences.
fn papers(root: &Path, programs: &[Program]) -> Result<Vec<Entry>> {
    let names: Vec<String> = programs.iter().map(|program| program.name.clone()).collect();
    let crates = crates::of(root, &names)?;
    let files = libraries::files();
    let packages = packages::owners(files.iter().map(PathBuf::as_path))?;
    let hash = |program: &Program| (program.name.clone(), format!("{:x}", Sha256::digest(&program.contents)));
    let list = sbom::list(&sbom::Contents {
        image: (NAME, env!("CARGO_PKG_VERSION")),
        programs: &programs.iter().map(hash).collect::<Vec<_>>(),
        crates: &crates,
        rust: &rust_version()?,
        packages: &packages,
        system: &packages::system()?,
    });
    let own = root.join("LICENSE");
    let texts = licences::Texts { apache: &own, carried: &root.join("deploy/container/licences") };
    let file = |name: &str, contents: Vec<u8>| Entry::file(&format!("{PAPERS}/{name}"), 0o644, contents);
    let mut entries = vec![
        Entry::folder("usr/share", 0o755),
        Entry::folder("usr/share/doc", 0o755),
        Entry::folder(PAPERS, 0o755),
        file("LICENSE", fs::read(&own)?),
        file("licenses-of-crates.txt", licences::text(texts, crates.values())?.into_bytes()),
        file("licenses-of-rust-std.html", licences::standard_library()?),
        file("sbom.cdx.json", format!("{list:#}\n").into_bytes()),
    ];
    entries.extend(packages::entries(&packages)?);
    Ok(entries)
}

/// The version of the compiler that builds the programs.
fn rust_version() -> Result<String> {
    let text = command::output(Command::new("rustc").arg("--version"))?;
    let version = text.split_whitespace().nth(1).context("`rustc --version` names no version")?;
    Ok(version.to_owned())
}

/// What `annotations.md` of the image specification has names for.
fn labels(revision: Option<String>) -> Vec<(&'static str, String)> {
    let mut labels = vec![
        ("org.opencontainers.image.title", NAME.to_owned()),
        (
            "org.opencontainers.image.description",
            "Kubernetes DRA driver for NVIDIA H100 and H200 GPUs: all programs".to_owned(),
        ),
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION").to_owned()),
        (
            "org.opencontainers.image.licenses",
            "Apache-2.0 AND LGPL-2.1-or-later AND GPL-3.0-or-later WITH GCC-exception-3.1".to_owned(),
        ),
    ];
    labels.extend(revision.map(|revision| ("org.opencontainers.image.revision", revision)));
    labels
}

/// The commit that the workspace is at; none where files differ from it, or git does not know.
fn revision(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| command::output(Command::new("git").current_dir(root).args(arguments));
    let changes = git(&["status", "--porcelain"]).ok()?;
    let commit = git(&["rev-parse", "HEAD"]).ok()?;
    changes.is_empty().then(|| commit.trim().to_owned())
}

/// Builds the programs that ship and reads them.
fn programs(build: Build) -> Result<Vec<Program>> {
    let mut names = edges::shipped_programs()?;
    names.retain(|name| name != STATIC);
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked"]);
    let profile = match build {
        Build::Debug => {
            // As the tests build: for these packages alone, and also without any test, cargo would build the
            // dependencies again, with fewer features.
            cargo.args(["--workspace", ALL_TESTS, "--test=pods"]);
            cargo.args(names.iter().map(|name| format!("--bin={name}")));
            "debug"
        }
        Build::Dist => {
            cargo.arg("--profile=dist").args(names.iter().map(|name| format!("--package={name}")));
            "dist"
        }
    };
    // As root this runs a second time, to import what was built as the user.
    if !cluster::is_elevated() {
        command::run_aside(&mut cargo)?;
    }
    let folder = target_folder()?;
    let read = |name: String| Ok(Program { contents: fs::read(folder.join(profile).join(&name))?, name });
    let mut programs = names.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    programs.push(linked_with_nothing(build, &folder)?);
    Ok(programs)
}

/// Builds the program that is linked with nothing. Only with a target can cargo be told so without meaning the programs
/// that it runs itself while it builds.
fn linked_with_nothing(build: Build, folder: &Path) -> Result<Program> {
    let about = command::output(Command::new("rustc").arg("-vV"))?;
    let target = about.lines().find_map(|line| line.strip_prefix("host: "));
    let target = target.context("`rustc -vV` names no host")?;
    let (profile, named) = match build {
        Build::Debug => ("debug", "dev"),
        Build::Dist => ("dist", "dist"),
    };
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--target", target, "--profile", named, "--package", STATIC]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    if !cluster::is_elevated() {
        command::run_aside(&mut cargo)?;
    }
    let contents = fs::read(folder.join(target).join(profile).join(STATIC))?;
    let needs = elf::needs(&contents)?;
    ensure!(needs.is_nothing(), "{STATIC} should be linked with nothing, but needs {needs:?}");
    Ok(Program { name: STATIC.to_owned(), contents })
}

/// The folder that cargo builds into.
pub(super) fn target_folder() -> Result<PathBuf> {
    let metadata =
        command::output(Command::new("cargo").args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("`cargo metadata` printed no JSON")?;
    let folder = metadata["target_directory"].as_str().context("`cargo metadata` names no target folder")?;
    Ok(Path::new(folder).to_owned())
}

/// Checks that the programs, as tests build them, run on as old a C library as the documentation says.
pub(crate) fn check_oldest_glibc() -> Result<()> {
    let needed = check(&programs(Build::Debug)?)?;
    ensure!(
        needed <= OLDEST_GLIBC,
        "the programs need glibc {needed}, but docs/image.md promises that {OLDEST_GLIBC} is enough: build on a \
         system that is not newer than Debian 12, or find what uses the new symbol (readelf -V)"
    );
    Ok(())
}

/// Checks that the programs find their libraries in the image; returns the oldest C library they all run on.
fn check(programs: &[Program]) -> Result<Glibc> {
    let mut newest = Glibc::default();
    for Program { name, contents } in programs {
        let needs = elf::needs(contents).with_context(|| format!("cannot tell what {name} needs"))?;
        let missing: Vec<&String> = needs.libraries.iter().filter(|name| !libraries::has(name)).collect();
        ensure!(missing.is_empty(), "{name} is linked with {missing:?}, which the image has not");
        newest = newest.max(needs.glibc);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::archive;

    fn file(path: &str) -> String {
        fs::read_to_string(command::workspace_root().unwrap().join(path)).unwrap()
    }

    #[test]
    fn the_dockerfile_labels_its_image_alike() {
        let dockerfile = file("deploy/container/Dockerfile");
        let written: Vec<&str> = dockerfile.lines().filter(|line| line.starts_with("LABEL ")).collect();
        let labels = labels(Some("${REVISION}".to_owned()));
        let expected: Vec<String> =
            labels.iter().map(|(name, value)| format!("LABEL {name}=\"{value}\"")).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn the_list_of_images_names_this_version() {
        let list = file("deploy/container/images.txt");
        let images: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(images, [reference().trim_start_matches("registry.local/")]);
    }

    #[test]
    fn the_documentation_names_the_oldest_c_library() {
        assert!(file("docs/image.md").contains(&format!("glibc {OLDEST_GLIBC} or newer")));
    }

    #[test]
    fn the_same_inputs_give_the_same_bytes() {
        let root = command::workspace_root().unwrap();
        let made = || {
            let programs = edges::shipped_programs().unwrap().into_iter();
            let programs: Vec<Program> =
                programs.map(|name| Program { name, contents: b"a program".to_vec() }).collect();
            archive::write(&of(programs, &root, Layer::Compressed).unwrap()).unwrap()
        };
        let first = made();
        assert!(first.len() > 1_000_000, "it holds a C library: {} bytes", first.len());
        assert!(first == made(), "two images of the same programs differ");
    }

    #[test]
    fn a_program_that_lacks_a_library_is_refused() {
        let shell =
            |name: &str, path: &str| Program { name: name.to_owned(), contents: fs::read(path).unwrap() };
        check(&[shell("sh", "/bin/sh")]).unwrap();
        // Debian's bash needs libtinfo.
        let error = check(&[shell("sh", "/bin/sh"), shell("bash", "/bin/bash")]).unwrap_err().to_string();
        assert_eq!(error, "bash is linked with [\"libtinfo.so.6\"], which the image has not");
    }
}
