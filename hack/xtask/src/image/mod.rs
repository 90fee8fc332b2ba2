//! Container images from files, without a registry: OCI archives that containerd imports.

mod archive;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use fs_err as fs;
use sha2::{Digest, Sha256};

use crate::store;
use archive::Image;

/// Provides the archives of all images of the test cluster, for `ctr -n k8s.io images import`.
///
/// The current folder must lie in the workspace.
pub(crate) fn provide() -> Result<Vec<PathBuf>> {
    table::IMAGES.iter().map(|(_, make)| cached(&make()?, &store::cache()?)).collect()
}

/// `cargo xtask image`: makes the named images, or all, and says where their archives are: in the cache, or
/// as `NAME.tar` in the folder `out`. Returns the archives.
pub(crate) fn make(names: &[String], out: Option<&Path>) -> Result<Vec<PathBuf>> {
    let known: Vec<&str> = table::IMAGES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no image {unknown}; there are: {}", known.join(", "));
    }
    if let Some(out) = out {
        fs::create_dir_all(out)?;
    }
    let mut archives = Vec::new();
    for (name, make) in table::IMAGES {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let image = make()?;
        let mut file = cached(&image, &store::cache()?)?;
        if let Some(out) = out {
            let copy = out.join(format!("{name}.tar"));
            fs::copy(&file, &copy)?;
            file = copy;
        }
        println!("{} {}", image.reference, file.display());
        archives.push(file);
    }
    Ok(archives)
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
