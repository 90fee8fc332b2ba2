//! Points among a program's system calls on files: strace records them, and kills at one of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The system calls that change files.
const CHANGES: &str = "openat,write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat,\
                       symlink,symlinkat,chmod,fchmod,fchmodat,ftruncate";

/// A system call on a file: the program is killed when it makes it, before it has an effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileCall {
    /// The call's name, as strace has it.
    pub name: String,
    /// The file; of two, the one that there was before.
    pub path: PathBuf,
    /// The how manieth call of this name on this file in one thread, from 1.
    pub nth: usize,
}

impl fmt::Display for FileCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}", self.name, self.nth, self.path.display())
    }
}

impl FileCall {
    /// The same call on the file of another run, whose paths hold `new` where this one's hold `old`.
    #[must_use]
    pub fn with(&self, old: &str, new: &str) -> Self {
        let path = self.path.to_str().expect("the paths of tests are UTF-8").replace(old, new);
        Self { path: path.into(), ..self.clone() }
    }

    /// What to put before a program so that it is killed at this call.
    #[must_use]
    pub fn killer(&self) -> Vec<OsString> {
        let Self { name, path, nth } = self;
        let mut arguments = strace("/dev/null".as_ref());
        arguments.push("-P".into());
        arguments.push(path.into());
        arguments.push(format!("--trace={name}").into());
        arguments.push(format!("--inject={name}:signal=SIGKILL:when={nth}").into());
        arguments
    }
}

/// What to put before a program so that its calls are recorded in a file.
#[must_use]
pub fn recorder(record: &Path) -> Vec<OsString> {
    let mut arguments = strace(record);
    arguments.push("--decode-fds=path".into());
    arguments.push(format!("--trace={CHANGES}").into());
    arguments
}

fn strace(output: &Path) -> Vec<OsString> {
    let arguments = ["strace", "--follow-forks", "--quiet=all", "--output"];
    arguments.into_iter().map(OsString::from).chain([output.as_os_str().to_owned()]).collect()
}

/// The calls of a record that change files below one of the folders, in the order in which they came.
#[must_use]
pub fn changes(record: &str, folders: &[&Path]) -> Vec<FileCall> {
    let mut counts = BTreeMap::new();
    let mut calls = Vec::new();
    for line in record.lines() {
        let Some((thread, call)) = line.trim_start().split_once(' ') else { continue };
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        // An open that makes nothing changes nothing.
        if name == "openat" && !arguments.contains("O_CREAT") {
            continue;
        }
        let below = |path: &&str| folders.iter().any(|folder| Path::new(path).starts_with(folder));
        // By the first of a call's paths strace finds the call again.
        let Some(path) = paths(arguments).find(below) else { continue };
        let nth = counts.entry((thread, name, path)).or_insert(0);
        *nth += 1;
        calls.push(FileCall { name: name.to_owned(), path: path.into(), nth: *nth });
    }
    calls
}

/// The absolute paths among a call's arguments: those of descriptors stand in `<>`, those that were given in `""`.
fn paths(arguments: &str) -> impl Iterator<Item = &str> {
    arguments.split(['<', '>', '"']).filter(|part| part.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read() {
        let record = r#"
101 openat(AT_FDCWD</root>, "/run/d/claims/.1.tmp", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 9</run/d/claims/.1.tmp>
101 write(9</run/d/claims/.1.tmp>, "{\"uid\"}", 7) = 7
102 openat(AT_FDCWD</root>, "/run/d/claims/1.json", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
101 rename("/run/d/claims/.1.tmp", "/run/d/claims/1.json" <unfinished ...>
102 write(2</dev/pts/0>, "log", 3)          = 3
101 <... rename resumed>)                   = 0
101 rename("/run/d/claims/.1.tmp", "/run/d/claims/1.json") = 0
102 unlink("/run/d/claims/1.json")          = 0
102 unlink("/run/other/1.json")             = 0
"#;
        let read: Vec<String> =
            changes(record, &["/run/d".as_ref()]).iter().map(ToString::to_string).collect();
        assert_eq!(
            read,
            [
                "openat 1 on /run/d/claims/.1.tmp",
                "write 1 on /run/d/claims/.1.tmp",
                "rename 1 on /run/d/claims/.1.tmp",
                "rename 2 on /run/d/claims/.1.tmp",
                "unlink 1 on /run/d/claims/1.json",
            ]
        );
    }
}
