//! Writes an image as an OCI archive: the tar of an image layout with one image of one layer.
//!
//! By <https://github.com/opencontainers/image-spec> 1.1: `image-layout.md`, `manifest.md`, `config.md` and
//! `layer.md`. The same image always gives the same bytes: every entry has the same time and owner, and all
//! stand in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use fs_err as fs;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A container image of one layer.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// The name by which pods ask for it, such as `registry.local/test:1`.
    pub(super) reference: String,
    pub(super) entrypoint: Vec<String>,
    /// As `NAME=value`.
    pub(super) environment: Vec<String>,
    /// As `UID:GID`; empty for root.
    pub(super) user: String,
    /// Name and value, as the specification's `annotations.md` has them.
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) layer: Layer,
    pub(super) entries: Vec<Entry>,
}

/// How an image's layer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// Made and unpacked fast: for images that never leave the machine.
    Plain,
    /// By gzip: for images that are pushed and pulled.
    Compressed,
}

/// A file, folder or symbolic link of an image; root owns all of them.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Without a slash in front.
    path: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    File { mode: u32, contents: Vec<u8> },
    Folder { mode: u32 },
    Link { target: String },
}

impl Entry {
    pub(super) fn file(path: &str, mode: u32, contents: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), kind: Kind::File { mode, contents: contents.into() } }
    }

    pub(super) fn folder(path: &str, mode: u32) -> Self {
        Self { path: path.to_owned(), kind: Kind::Folder { mode } }
    }

    pub(super) fn link(path: &str, target: &str) -> Self {
        Self { path: path.to_owned(), kind: Kind::Link { target: target.to_owned() } }
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A file of the archive that is known by its digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    contents: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, contents: Vec<u8>) -> Self {
        Self { media_type, digest: digest(&contents), contents }
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.contents.len() })
    }
}

/// The archive's bytes.
pub(super) fn write(image: &Image) -> Result<Vec<u8>> {
    let (layer, contents) = layer(image)?;
    let platform = json!({ "architecture": architecture(), "os": "linux" });
    let labels: BTreeMap<_, _> = image.labels.iter().map(|(name, value)| (*name, value)).collect();
    let config = json!({
        "architecture": platform["architecture"],
        "os": platform["os"],
        "config": {
            "Entrypoint": image.entrypoint,
            "Env": image.environment,
            "User": image.user,
            "Labels": labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [contents] },
    });
    let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    let manifest = Blob::new(MANIFEST, manifest.to_string().into_bytes());

    let mut listed = manifest.descriptor();
    listed["platform"] = platform;
    listed["annotations"] = json!({
        // containerd's import reads the whole name here; the specification has a place for the tag alone.
        "io.containerd.image.name": image.reference,
        "org.opencontainers.image.ref.name": tag(&image.reference)?,
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [listed],
    });

    let mut archive = Builder::new(Vec::new());
    let version = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
    add(&mut archive, &Entry::file("oci-layout", 0o644, version))?;
    add(&mut archive, &Entry::file("index.json", 0o644, index.to_string()))?;
    add(&mut archive, &Entry::folder("blobs", 0o755))?;
    add(&mut archive, &Entry::folder("blobs/sha256", 0o755))?;
    for blob in [config, manifest, layer] {
        let path = format!("blobs/{}", blob.digest.replace(':', "/"));
        add(&mut archive, &Entry::file(&path, 0o644, blob.contents))?;
    }
    Ok(archive.into_inner()?)
}

/// The layer, and the digest of what it holds uncompressed.
fn layer(image: &Image) -> Result<(Blob, String)> {
    let contents = files(&image.entries)?;
    Ok(match image.layer {
        Layer::Plain => {
            let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", contents);
            let digest = layer.digest.clone();
            (layer, digest)
        }
        Layer::Compressed => {
            let digest = digest(&contents);
            (Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", compressed(&contents)?), digest)
        }
    })
}

/// A tar of these.
fn files(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for entry in sorted(entries)? {
        add(&mut archive, entry)?;
    }
    Ok(archive.into_inner()?)
}

/// A folder stands before what is in it.
fn sorted(entries: &[Entry]) -> Result<Vec<&Entry>> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|one, other| one.path.cmp(&other.path));
    let mut paths = BTreeSet::new();
    for entry in &sorted {
        ensure!(paths.insert(&entry.path), "the image has {} twice", entry.path);
    }
    Ok(sorted)
}

/// The encoder writes no time and no name, so that the same contents give the same bytes.
fn compressed(contents: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(contents)?;
    Ok(encoder.finish()?)
}

fn add(archive: &mut Builder<Vec<u8>>, entry: &Entry) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match &entry.kind {
        Kind::File { mode, contents } => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(u64::try_from(contents.len())?);
            archive.append_data(&mut header, &entry.path, &contents[..])?;
        }
        Kind::Folder { mode } => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            archive.append_data(&mut header, format!("{}/", entry.path), std::io::empty())?;
        }
        Kind::Link { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            archive.append_link(&mut header, &entry.path, target)?;
        }
    }
    Ok(())
}

/// Makes these files below a folder, which must not be there yet: what a Dockerfile copies. They belong to the caller.
pub(super) fn unpack(entries: &[Entry], folder: &Path) -> Result<()> {
    ensure!(!folder.exists(), "{} is there already: name a folder that is not", folder.display());
    fs::create_dir_all(folder)?;
    for entry in sorted(entries)? {
        let path = folder.join(&entry.path);
        match &entry.kind {
            Kind::File { mode, contents } => {
                fs::write(&path, contents)?;
                fs::set_permissions(&path, Permissions::from_mode(*mode))?;
            }
            Kind::Folder { mode } => {
                fs::create_dir(&path)?;
                fs::set_permissions(&path, Permissions::from_mode(*mode))?;
            }
            Kind::Link { target } => fs::os::unix::fs::symlink(target, &path)?,
        }
    }
    Ok(())
}

fn digest(blob: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(blob))
}

fn tag(reference: &str) -> Result<&str> {
    let tag = reference.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
    anyhow::Context::with_context(tag, || format!("the image's name {reference} has no tag"))
}

/// As Go names it, whose names the specification takes.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::command;

    fn image() -> Image {
        Image {
            reference: "registry.local:5000/some/image:v1".to_owned(),
            entrypoint: vec!["/bin/tool".to_owned(), "--flag".to_owned()],
            environment: vec!["PATH=/bin".to_owned()],
            user: "1000:1000".to_owned(),
            labels: vec![("org.example.b", "second".to_owned()), ("org.example.a", "first".to_owned())],
            layer: Layer::Plain,
            entries: vec![
                Entry::link("bin/alias", "tool"),
                Entry::file("bin/tool", 0o755, "#!/bin/sh\n"),
                Entry::folder("tmp", 0o1777),
                Entry::folder("bin", 0o755),
            ],
        }
    }

    /// Follows the layout as the specification has it, with another implementation of tar, JSON and SHA-256.
    const READER: &str = r#"
import gzip, hashlib, io, json, sys, tarfile
archive = tarfile.open(sys.argv[1])
read = lambda path: archive.extractfile(path).read()
def blob(descriptor):
    algorithm, digits = descriptor["digest"].split(":")
    data = read("blobs/" + algorithm + "/" + digits)
    assert len(data) == descriptor["size"] and hashlib.new(algorithm, data).hexdigest() == digits
    return data
assert json.loads(read("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
index = json.loads(read("index.json"))
[listed] = index["manifests"]
manifest = json.loads(blob(listed))
config = json.loads(blob(manifest["config"]))
[layer] = map(blob, manifest["layers"])
kind = manifest["layers"][0]["mediaType"].removeprefix("application/vnd.oci.image.layer.v1.")
if kind == "tar+gzip":
    layer = gzip.decompress(layer)
print(kind)
assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
print(listed["annotations"], config["config"])
for part in tarfile.open(fileobj=io.BytesIO(layer)):
    data = tarfile.open(fileobj=io.BytesIO(layer)).extractfile(part).read() if part.isreg() else part.linkname
    print(part.name, part.type, oct(part.mode), part.uid, part.gid, part.mtime, data)
"#;

    fn read(image: &Image) -> String {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("image.tar");
        fs::write(&file, write(image).unwrap()).unwrap();
        command::output(Command::new("python3").args(["-c", READER]).arg(&file)).unwrap()
    }

    #[test]
    fn an_independent_reader_finds_the_image_in_the_archive() {
        assert_eq!(
            read(&image()),
            "tar\n\
             {'io.containerd.image.name': 'registry.local:5000/some/image:v1', \
             'org.opencontainers.image.ref.name': 'v1'} \
             {'Entrypoint': ['/bin/tool', '--flag'], 'Env': ['PATH=/bin'], 'User': '1000:1000', \
             'Labels': {'org.example.a': 'first', 'org.example.b': 'second'}}\n\
             bin b'5' 0o755 0 0 0 \n\
             bin/alias b'2' 0o777 0 0 0 tool\n\
             bin/tool b'0' 0o755 0 0 0 b'#!/bin/sh\\n'\n\
             tmp b'5' 0o1777 0 0 0 \n"
        );
    }

    #[test]
    fn a_compressed_layer_holds_the_same_and_is_smaller() {
        let mut plain = image();
        plain.entries.push(Entry::file("large", 0o644, "the same line\n".repeat(10_000)));
        let compressed = Image { layer: Layer::Compressed, ..plain.clone() };
        assert_eq!(read(&compressed), read(&plain).replacen("tar\n", "tar+gzip\n", 1));
        assert!(write(&compressed).unwrap().len() * 4 < write(&plain).unwrap().len());
        assert_eq!(write(&compressed).unwrap(), write(&compressed).unwrap());
    }

    #[test]
    fn the_order_of_the_entries_changes_nothing() {
        let mut turned = image();
        turned.entries.reverse();
        assert_eq!(write(&image()).unwrap(), write(&turned).unwrap());
    }

    #[test]
    fn unpacked_files_are_those_of_the_layer() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("unpacked");
        unpack(&image().entries, &folder).unwrap();
        let list = ["find", ".", "-mindepth", "1", "-printf", "%P %y %#m %l\n"];
        let found = command::output(Command::new(list[0]).args(&list[1..]).current_dir(&folder)).unwrap();
        let mut found: Vec<&str> = found.lines().map(str::trim_end).collect();
        found.sort_unstable();
        assert_eq!(found, ["bin d 0755", "bin/alias l 0777 tool", "bin/tool f 0755", "tmp d 01777"]);
        assert_eq!(fs::read_to_string(folder.join("bin/tool")).unwrap(), "#!/bin/sh\n");

        let error = unpack(&image().entries, &folder).unwrap_err().to_string();
        assert_eq!(error, format!("{} is there already: name a folder that is not", folder.display()));
    }

    #[test]
    fn an_image_that_cannot_be_is_refused() {
        let mut twice = image();
        twice.entries.push(Entry::folder("tmp", 0o700));
        assert_eq!(write(&twice).unwrap_err().to_string(), "the image has tmp twice");
        for reference in ["registry.local/image", "registry.local:5000/image"] {
            let error = write(&Image { reference: reference.to_owned(), ..image() }).unwrap_err().to_string();
            assert_eq!(error, format!("the image's name {reference} has no tag"));
        }
    }
}
