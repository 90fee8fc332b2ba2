//! The sockets of the plugin: where they lie, and how they come and go.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fs_err as fs;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::net::UnixListener;

/// The longest path of a Unix socket: `sun_path` of 108 bytes less the zero that ends it.
const LONGEST: usize = 107;
/// Who may connect: root alone, as which the kubelet runs.
const MODE: u32 = 0o600;
/// Who may look into the driver's folder.
const FOLDER_MODE: u32 = 0o700;

/// Why a socket cannot be had.
#[derive(Debug, Error)]
pub enum SocketError {
    /// No form of its path is short enough.
    #[error(
        "the socket path {path} has {length} bytes, and the kernel allows {LONGEST}: shorten --kubelet-plugins, \
         --kubelet-registry or --driver-name",
        path = .path.display(), length = .path.as_os_str().len()
    )]
    Long {
        /// The shortest form.
        path: PathBuf,
    },
    /// Something else lies there.
    #[error("{path} is in the way of the plugin's socket and is no socket itself: remove it", path = .path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
    },
    /// A file operation failed. The cause names the file.
    #[error("cannot make a socket of the plugin: {0}; is the kubelet's folder mounted writable?")]
    Files(#[source] std::io::Error),
    /// It cannot be listened on.
    #[error("cannot listen on {path}: {source}", path = .path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The path of the registration socket, as the Go helper library names it (`k8s.io/dynamic-resource-allocation`,
/// `kubeletplugin`): with the pod's UID, instances can overlap in a rolling update; where that is too long for a
/// socket, with a hash of it, and then without the driver's name.
pub(super) fn registration(
    registry: &Path,
    driver: &str,
    pod_uid: Option<&str>,
) -> Result<PathBuf, SocketError> {
    let names = match pod_uid {
        None => vec![format!("{driver}-reg.sock")],
        Some(uid) => vec![
            format!("{driver}-{uid}-reg.sock"),
            format!("{driver}-{}-reg.sock", hash(uid, 8)),
            format!("dra-{}-reg.sock", hash(&format!("{driver}\0{uid}"), 16)),
        ],
    };
    shortest_needed(registry, &names)
}

/// The path of the DRA socket, by the same rule; the folder is the driver's own.
pub(super) fn dra(plugins: &Path, driver: &str, pod_uid: Option<&str>) -> Result<PathBuf, SocketError> {
    let names = match pod_uid {
        None => vec!["dra.sock".to_owned()],
        Some(uid) => vec![format!("dra-{uid}.sock"), format!("dra-{}.sock", hash(uid, 8))],
    };
    shortest_needed(&plugins.join(driver), &names)
}

/// The first of the names that makes a path of a length that the kernel allows.
fn shortest_needed(folder: &Path, names: &[String]) -> Result<PathBuf, SocketError> {
    let paths = || names.iter().map(|name| folder.join(name));
    let fits = |path: &PathBuf| path.as_os_str().len() <= LONGEST;
    paths().find(fits).ok_or_else(|| SocketError::Long { path: paths().next_back().unwrap_or_default() })
}

/// The first bytes of the SHA-256 of a text, in letters that a file name can have.
fn hash(text: &str, bytes: usize) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(text)[..bytes])
}

/// A socket that is listened on. Its file goes when it is dropped, unless another has taken its place.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Listens on a socket that only root can connect to. One that an earlier life left is replaced.
    ///
    /// It is made under a hidden name and renamed: nobody sees it before its mode is right, and the kubelet, which
    /// overlooks hidden names, finds it ready.
    pub(super) fn listen(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let hidden = folder.join(hidden_name(path));
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::InTheWay { path: path.to_owned() });
            }
            _ => {}
        }
        remove(&hidden)?;
        let listen = |source| SocketError::Listen { path: path.to_owned(), source };
        // The hidden name has the length of the other at most, so that both are paths of sockets.
        let listener = std::os::unix::net::UnixListener::bind(&hidden).map_err(listen)?;
        fs::set_permissions(&hidden, std::fs::Permissions::from_mode(MODE)).map_err(SocketError::Files)?;
        fs::rename(&hidden, path).map_err(SocketError::Files)?;
        let inode = inode(path).map_err(SocketError::Files)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let listener = UnixListener::from_std(listener).map_err(listen)?;
        Ok((Self { path: path.to_owned(), inode }, listener))
    }

    /// Whether the socket's file is still there.
    pub(super) fn stands(&self) -> bool {
        inode(&self.path).is_ok_and(|inode| inode == self.inode)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.stands()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "the socket stays");
        }
    }
}

/// Makes the driver's folder, where it is not there, for root alone.
pub(super) fn make_folder(folder: &Path) -> Result<(), SocketError> {
    fs::create_dir_all(folder).map_err(SocketError::Files)?;
    fs::set_permissions(folder, std::fs::Permissions::from_mode(FOLDER_MODE)).map_err(SocketError::Files)
}

/// A name of eight letters that begins with a dot. It depends on the socket's own, so that sockets side by side do
/// not meet.
fn hidden_name(path: &Path) -> String {
    format!(".{}", hash(&path.file_name().unwrap_or_default().to_string_lossy(), 5))
}

fn remove(path: &Path) -> Result<(), SocketError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(SocketError::Files(error)),
        _ => Ok(()),
    }
}

fn inode(path: &Path) -> std::io::Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::ino(&fs::symlink_metadata(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b2c8b6e-53f1-4d57-9a53-0d3e1e2f4a5b";

    /// Names as in version 1.37 of the Go helper. The hashes were computed with `sha256sum` and `basenc --base64url`.
    #[test]
    fn names() {
        let name = |path: Result<PathBuf, SocketError>| {
            path.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).ok()
        };
        let folder = |length: usize| PathBuf::from(format!("/{}", "f".repeat(length - 1)));
        let driver = "eks-hybrid-dra";
        // "/folder" + "/" + name: 107 bytes are allowed.
        let cases = [
            ("plain", registration(&folder(20), driver, None), Some("eks-hybrid-dra-reg.sock")),
            (
                "with the pod's UID",
                registration(&folder(20), driver, Some(UID)),
                Some("eks-hybrid-dra-0b2c8b6e-53f1-4d57-9a53-0d3e1e2f4a5b-reg.sock"),
            ),
            (
                "107 bytes",
                registration(&folder(46), driver, Some(UID)),
                Some("eks-hybrid-dra-0b2c8b6e-53f1-4d57-9a53-0d3e1e2f4a5b-reg.sock"),
            ),
            (
                "108 bytes would be one too many",
                registration(&folder(47), driver, Some(UID)),
                Some("eks-hybrid-dra-asmmfq2z10E-reg.sock"),
            ),
            (
                "too long with the driver's name",
                registration(&folder(70), "gpu.a-longer-name.example.com", Some(UID)),
                Some("dra-lc3T1Z0FvLwjpvZ3FUoCPA-reg.sock"),
            ),
            ("too long anyway", registration(&folder(80), driver, Some(UID)), None),
            ("too long without a UID", registration(&folder(84), driver, None), None),
            ("DRA", dra(&folder(20), driver, None), Some("dra.sock")),
            (
                "DRA with the pod's UID",
                dra(&folder(20), driver, Some(UID)),
                Some("dra-0b2c8b6e-53f1-4d57-9a53-0d3e1e2f4a5b.sock"),
            ),
            ("DRA, too long", dra(&folder(47), driver, Some(UID)), Some("dra-asmmfq2z10E.sock")),
        ];
        for (what, path, wanted) in cases {
            assert_eq!(name(path).as_deref(), wanted, "{what}");
        }
    }

    #[tokio::test]
    async fn a_socket_is_for_root_alone_and_replaces_one_that_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (socket, _listener) = Socket::listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the hidden name is still there");
        drop(socket);
        assert!(!path.exists(), "the socket stays");
    }

    #[tokio::test]
    async fn a_socket_that_took_the_place_of_another_stays_when_that_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let (old, _old_listener) = Socket::listen(&path).unwrap();
        let (new, _new_listener) = Socket::listen(&path).unwrap();
        assert!(!old.stands());
        drop(old);
        assert!(new.stands(), "the new socket went with the old");
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        fs::write(&path, "precious").unwrap();
        let error = Socket::listen(&path).unwrap_err();
        assert!(matches!(error, SocketError::InTheWay { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
