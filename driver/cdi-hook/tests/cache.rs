//! The loader's cache, read and written beside glibc's own `ldconfig`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::cmp::Ordering;
use std::path::Path;
use std::process::Command;

use dra_cdi_hook::cache::{Cache, CacheError, Entry, FLAGS, order};
use proptest::prelude::*;

const LDCONFIG: &str = "/sbin/ldconfig";

/// What `ldconfig` prints of a cache: a line for each entry, in its order.
fn printed(cache: &Path) -> Vec<String> {
    let output = Command::new(LDCONFIG).arg("-p").arg("-C").arg(cache).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| line.contains(" => ")).map(|line| line.trim().to_owned()).collect()
}

/// A cache that `ldconfig` makes of this machine's libraries, in one of its formats.
fn made(folder: &Path, format: &str) -> Vec<u8> {
    let path = folder.join(format);
    let output = Command::new(LDCONFIG).args(["-X", "-c", format, "-C"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs_err::read(path).unwrap()
}

#[test]
fn a_cache_of_ldconfigs_is_read_and_written_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["new", "compat"] {
        let cache = Cache::read(&made(folder.path(), format)).unwrap();
        assert!(cache.entries.len() > 10, "{format}: {} entries", cache.entries.len());
        assert!(cache.generator.starts_with(b"ldconfig"), "{format}: {:?}", cache.generator);
        let written = folder.path().join("written");
        fs_err::write(&written, cache.written()).unwrap();
        assert_eq!(printed(&written), printed(&folder.path().join(format)), "{format}");
        assert_eq!(Cache::read(&cache.written()).unwrap(), cache, "{format}");
    }
}

#[test]
fn what_is_added_stands_where_ldconfig_would_put_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut cache = Cache::read(&made(folder.path(), "new")).unwrap();
    let before = cache.entries.len();
    let own = "/usr/lib/x86_64-linux-gnu";
    for name in ["libcuda.so.1", "libnvidia-ml.so.1", "libcuda.so.550.163.01", "libcuda.so.1"] {
        cache.add(name.as_bytes(), format!("{own}/{name}").as_bytes(), |_| false);
    }
    assert_eq!(cache.entries.len(), before + 3, "once each");
    let sorted = cache.entries.is_sorted_by(|one, next| order(&one.name, &next.name) != Ordering::Less);
    assert!(sorted, "the loader searches by halves");
    let written = folder.path().join("written");
    fs_err::write(&written, cache.written()).unwrap();
    let printed = printed(&written);
    let line = |name: &str| format!("{name} (libc6,x86-64) => {own}/{name}");
    for name in ["libcuda.so.1", "libnvidia-ml.so.1", "libcuda.so.550.163.01"] {
        assert!(printed.contains(&line(name)), "{name} is not in: {printed:#?}");
    }
}

#[test]
fn others_of_a_name_come_after_unless_they_go_first() {
    let mut cache = Cache::default();
    for folder in ["/usr/lib", "/usr/local/cuda/compat", "/driver"] {
        let goes_first = |entry: &Entry| entry.path.starts_with(b"/usr/local/cuda/compat/");
        cache.add(b"libcuda.so.1", format!("{folder}/libcuda.so.1").as_bytes(), goes_first);
    }
    let paths: Vec<_> = cache.entries.iter().map(|entry| String::from_utf8_lossy(&entry.path)).collect();
    assert_eq!(
        paths,
        ["/usr/local/cuda/compat/libcuda.so.1", "/driver/libcuda.so.1", "/usr/lib/libcuda.so.1"]
    );
}

/// By what glibc's `_dl_cache_libcmp` says of them: numbers count, and are more than letters.
#[test]
fn names_are_in_the_loaders_order() {
    let ascending = [
        "lib.so",
        "liba.so",
        "libz.so",
        "lib-1.so",
        "libcuda.so",
        "libcuda.so.1",
        "libcuda.so.2",
        "libcuda.so.10",
    ];
    for (one, other) in [
        ("libcuda.so.2", "libcuda.so.10"),
        ("libcuda.so", "libcuda.so.1"),
        ("liba.so", "libb.so"),
        ("libz.so", "lib1.so"),
        ("libc.so.6", "libc.so.06a"),
    ] {
        assert_eq!(order(one.as_bytes(), other.as_bytes()), Ordering::Less, "{one} {other}");
        assert_eq!(order(other.as_bytes(), one.as_bytes()), Ordering::Greater, "{other} {one}");
    }
    for name in ascending {
        assert_eq!(order(name.as_bytes(), name.as_bytes()), Ordering::Equal);
    }
    assert_eq!(order(b"a.so.01", b"a.so.1"), Ordering::Equal, "numbers count, not their digits");
}

#[test]
fn what_is_no_cache_is_refused() {
    let good = Cache {
        entries: vec![Entry {
            flags: FLAGS,
            name: b"liba.so".to_vec(),
            path: b"/lib/liba.so".to_vec(),
            os_version: 0,
            hwcap: 0,
        }],
        generator: b"me".to_vec(),
        subfolders: vec![b"x86-64-v3".to_vec()],
    };
    let bytes = good.written();
    let changed = |at: usize, with: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    assert_eq!(Cache::read(&bytes), Ok(good));
    for (name, bytes, wanted) in [
        ("nothing", vec![], CacheError::NoHeader),
        ("another file", b"#!/bin/sh\n".to_vec(), CacheError::NoHeader),
        ("a header alone", bytes[..20].to_vec(), CacheError::Damaged),
        ("big-endian", changed(28, &[3]), CacheError::OtherOrder),
        ("more entries than there is room", changed(20, &u32::MAX.to_le_bytes()), CacheError::Damaged),
        ("a name behind the end", changed(52, &u32::MAX.to_le_bytes()), CacheError::Damaged),
        ("extensions behind the end", changed(32, &u32::MAX.to_le_bytes()), CacheError::Damaged),
        ("extensions that are none", changed(32, &48_u32.to_le_bytes()), CacheError::Damaged),
    ] {
        assert_eq!(Cache::read(&bytes), Err(wanted), "{name}");
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    proptest::string::bytes_regex("lib[a-c]{0,2}[0-9]{0,2}\\.so(\\.[0-9]{1,3}){0,2}").unwrap()
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..20_usize) {
        let _ = Cache::read(&bytes);
        let start = at.min(bytes.len()) / 4 * 4;
        bytes.splice(start..start, *b"glibc-ld.so.cache1.1");
        let _ = Cache::read(&bytes);
    }

    #[test]
    fn what_is_written_is_read(names in proptest::collection::vec(name(), 0..40)) {
        let mut cache = Cache { generator: b"test".to_vec(), ..Cache::default() };
        for name in &names {
            cache.add(name, &[b"/usr/lib/", name.as_slice()].concat(), |_| false);
        }
        let sorted = cache.entries.is_sorted_by(|one, next| order(&one.name, &next.name) != Ordering::Less);
        prop_assert!(sorted);
        prop_assert_eq!(Cache::read(&cache.written()), Ok(cache));
    }
}
