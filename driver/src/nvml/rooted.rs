//! Paths inside a driver root: a folder that looks like a machine's `/` but lies elsewhere, such as the one in
//! which a driver container unpacked the driver.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// How many symbolic links one path may lead through, as in Linux itself.
const MOST_LINKS: usize = 40;

/// Follows a path inside `root`, symbolic links included, as a process would whose `/` is `root`: absolute
/// link targets begin at `root`, and `..` does not lead out of it. Returns the path as this process sees it,
/// free of links below `root`.
///
/// # Errors
/// What the file system says, `NotFound` among it; `Other` after 40 links.
pub(crate) fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut left: VecDeque<OsString> = steps(path);
    // Where the walk is, below the root.
    let mut below = PathBuf::new();
    let mut links = 0;
    while let Some(step) = left.pop_front() {
        if step == ".." {
            below.pop();
            continue;
        }
        let here = root.join(&below).join(&step);
        if !here.symlink_metadata()?.is_symlink() {
            below.push(step);
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(io::Error::other(format!("it leads through more than {MOST_LINKS} symbolic links")));
        }
        let target = here.read_link()?;
        if target.is_absolute() {
            below.clear();
        }
        for step in steps(&target).into_iter().rev() {
            left.push_front(step);
        }
    }
    Ok(root.join(below))
}

fn steps(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_inside_the_root_and_never_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs_err::create_dir_all(root.join("usr/lib/nvidia")).unwrap();
        fs_err::create_dir_all(root.join("etc/alternatives")).unwrap();
        fs_err::write(root.join("usr/lib/nvidia/real.so"), "inside").unwrap();
        fs_err::write(folder.path().join("outside.so"), "outside").unwrap();
        let lib = root.join("usr/lib");
        symlink("nvidia/real.so", lib.join("relative.so")).unwrap();
        symlink("/usr/lib/nvidia/real.so", lib.join("absolute.so")).unwrap();
        symlink("/etc/alternatives/ml", lib.join("two-steps.so")).unwrap();
        symlink("/usr/lib/relative.so", root.join("etc/alternatives/ml")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("../../../../outside.so", lib.join("climbs.so")).unwrap();
        symlink(folder.path().join("outside.so"), lib.join("leaves.so")).unwrap();
        symlink("loop.so", lib.join("loop.so")).unwrap();
        symlink("missing.so", lib.join("dangling.so")).unwrap();
        symlink("/usr/../../usr/lib/nvidia/real.so", lib.join("up-and-back.so")).unwrap();

        let real = Ok(root.join("usr/lib/nvidia/real.so"));
        let cases = [
            ("a plain path", "/usr/lib/nvidia/real.so", real.clone()),
            ("a relative link", "/usr/lib/relative.so", real.clone()),
            ("an absolute link begins at the root", "/usr/lib/absolute.so", real.clone()),
            ("links to links", "/usr/lib/two-steps.so", real.clone()),
            ("a link among the folders", "/lib/relative.so", real.clone()),
            ("'..' stops at the root", "/usr/lib/up-and-back.so", real),
            ("a link that climbs out", "/usr/lib/climbs.so", Err(io::ErrorKind::NotFound)),
            ("a link that names a path outside", "/usr/lib/leaves.so", Err(io::ErrorKind::NotFound)),
            ("a loop", "/usr/lib/loop.so", Err(io::ErrorKind::Other)),
            ("a dangling link", "/usr/lib/dangling.so", Err(io::ErrorKind::NotFound)),
            ("a file as folder", "/usr/lib/relative.so/x", Err(io::ErrorKind::NotADirectory)),
        ];
        for (name, path, wanted) in cases {
            let found = resolve(&root, Path::new(path)).map_err(|error| error.kind());
            assert_eq!(found, wanted, "{name}");
        }
    }
}
