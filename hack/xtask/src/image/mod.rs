//! Container images from files, without a registry: OCI archives that containerd imports.

mod archive;
mod crates;
mod driver;
mod elf;
mod libraries;
mod licences;
mod packages;
mod sbom;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use fs_err as fs;
use sha2::{Digest, Sha256};

use crate::store;
use archive::Image;
pub(crate) use driver::{Build, check_oldest_glibc};

/// Provides the archives of all images of the test cluster, for `ctr -n k8s.io images import`.
///
/// The current folder must lie in the workspace.
pub(crate) fn provide() -> Result<Vec<PathBuf>> {
    table::IMAGES.iter().map(|(_, make)| cached(&make()?, &store::cache()?)).collect()
}

/// `cargo xtask image`: makes the named images, or those of the test cluster, and says where their archives are: in the
/// cache and, for the product's own, the target folder, or as `NAME.tar` in the folder `out`. Returns the archives.
///
/// The files of the product's own image also go into the folder `unpacked`.
pub(crate) fn make(
    names: &[String],
    build: Build,
    out: Option<&Path>,
    unpacked: Option<&Path>,
) -> Result<Vec<PathBuf>> {
    let known: Vec<&str> =
        table::IMAGES.iter().map(|(name, _)| *name).chain(std::iter::once(driver::NAME)).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no image {unknown}; there are: {}", known.join(", "));
    }
    let is_wanted = |name: &str| names.iter().any(|wanted| wanted == name);
    ensure!(
        unpacked.is_none() || is_wanted(driver::NAME),
        "--unpacked writes the files of the image {0}: name it, `cargo xtask image {0} --unpacked FOLDER`",
        driver::NAME
    );
    let mut archives = Vec::new();
    for (name, make) in table::IMAGES {
        if names.is_empty() || is_wanted(name) {
            let image = make()?;
            let file = match out {
                Some(out) => written(&image, name, out)?,
                None => cached(&image, &store::cache()?)?,
            };
            archives.push((image.reference, file));
        }
    }
    if is_wanted(driver::NAME) {
        let image = driver::image(build)?;
        if let Some(folder) = unpacked {
            archive::unpack(&image.entries, folder)?;
        }
        // Not in the cache: nearly every build makes another one.
        let folder = match out {
            Some(out) => out.to_owned(),
            None => driver::target_folder()?.join("images"),
        };
        archives.push((image.reference.clone(), written(&image, driver::NAME, &folder)?));
    }
    for (reference, file) in &archives {
        println!("{reference} {}", file.display());
    }
    Ok(archives.into_iter().map(|(_, file)| file).collect())
}

/// The image's archive as `NAME.tar` in a folder.
fn written(image: &Image, name: &str, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let file = folder.join(format!("{name}.tar"));
    // By way of another name: the one that is there may be root's, or be read just now.
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&unfinished, archive::write(image)?)?;
    fs::rename(&unfinished, &file)?;
    Ok(file)
}

/// The image's archive in the cache, under the digest of its contents: whatever it was made from, the same
/// archive has the same place and another has another.
fn cached(image: &Image, cache: &Path) -> Result<PathBuf> {
    let bytes = archive::write(image)?;
    let digest = format!("{:x}", Sha256::digest(&bytes));
    let file = "image.tar";
    let folder = store::folder_in(cache, &format!("image-{}", &digest[..12]), |folder| {
        Ok(fs::write(folder.join(file), &bytes)?)
    })?;
    Ok(folder.join(file))
}
