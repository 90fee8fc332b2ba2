use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use super::super::CONTROL_PLANE;
use super::*;

/// Serves files by their paths, each over a connection of its own, until the test's process ends.
fn serve(files: BTreeMap<&'static str, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let line = request.next().unwrap_or_default();
            // The rest of the head is read too: an unread rest would reset the connection.
            request.take_while(|line| !line.is_empty()).for_each(drop);
            let found = line.split(' ').nth(1).and_then(|path| files.get(path));
            let (status, body) = found.map_or(("404 Not Found", &[][..]), |body| ("200 OK", body));
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client that goes away is its own business.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    base
}

const PATH: &str = "/tool/v1/tool.tar.gz";

/// An archive as upstream's are, and its SHA-256 and SHA-512 by another implementation than the one tested.
fn archive(names: &[&str]) -> (Vec<u8>, [&'static str; 2]) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("top/bin");
    fs::create_dir_all(&folder).unwrap();
    for name in names {
        fs::write(folder.join(name), format!("#!/bin/sh\necho {name}\n")).unwrap();
    }
    let file = temporary.path().join("tool.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("--create")
        .arg("--gzip")
        .arg("--file")
        .arg(&file)
        .arg("--directory")
        .arg(temporary.path())
        .arg("top");
    command::output(&mut tar).unwrap();
    let digests = ["sha256sum", "sha512sum"].map(|program| {
        let printed = command::output(Command::new(program).arg(&file)).unwrap();
        &*printed.split(' ').next().unwrap().to_owned().leak()
    });
    (fs::read(file).unwrap(), digests)
}

fn release(digest: Digest) -> Release {
    let archive = Archive {
        host: "https://host.invalid",
        path: PATH,
        digest,
        folder: "top/bin",
        programs: &[&["tool", "helper"]],
    };
    Release {
        title: "tool 1",
        entry: "released-tool-1",
        fetched_mb: 1,
        space_mb: 1,
        archives: Box::leak(Box::new([archive])),
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_release_is_taken_when_its_digest_is_the_pinned_one() {
    let (bytes, [sha256, sha512]) = archive(&["tool", "helper", "other"]);
    let base = serve(BTreeMap::from([(PATH, bytes)]));
    for digest in [Digest::Sha256(sha256), Digest::Sha512(sha512)] {
        let cache = tempfile::tempdir().unwrap();
        let folders = provide(cache.path(), &[release(digest)], Some(&base)).unwrap();
        assert_eq!(folders, [cache.path().join("released-tool-1")]);
        assert_eq!(names_in(&folders[0]), ["helper", "tool"]);
        assert_eq!(command::output(&mut Command::new(folders[0].join("tool"))).unwrap(), "tool\n");

        // What is there is not fetched again: this base would answer nothing.
        let again = provide(cache.path(), &[release(digest)], Some("http://127.0.0.1:1")).unwrap();
        assert_eq!(again, folders);
    }
}

#[test]
fn what_is_not_the_pinned_release_is_refused_and_leaves_nothing() {
    let (bytes, [sha256, _]) = archive(&["tool", "helper"]);
    let (incomplete, [incomplete_sha256, _]) = archive(&["tool"]);
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (name, served, digest, expected) in [
        ("one bit changed", Some(changed), sha256, "but "),
        ("cut short", Some(bytes[..bytes.len() / 2].to_vec()), sha256, " is pinned"),
        ("not there", None, sha256, "cannot fetch http://127.0.0.1"),
        ("a program is missing", Some(incomplete), incomplete_sha256, "top/bin/helper"),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let base = serve(served.into_iter().map(|bytes| (PATH, bytes)).collect());
        let error = provide(cache.path(), &[release(Digest::Sha256(digest))], Some(&base)).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("cannot provide released-tool-1") && error.contains(expected),
            "{name}: {error}"
        );
        assert_eq!(names_in(cache.path()), [""; 0], "{name}");
    }
}

#[test]
fn releases_hold_what_is_built_and_their_pins_are_whole() {
    for release in [KUBERNETES_1_34, KUBERNETES_1_36] {
        let archives = release.archives.iter();
        let mut programs: Vec<&str> =
            archives.flat_map(|archive| archive.programs.iter().copied().flatten().copied()).collect();
        programs.sort_unstable();
        let mut built = [&CONTROL_PLANE[..], &KUBELET].concat();
        built.sort_unstable();
        assert_eq!(programs, built, "{}", release.title);
    }
    for release in [KUBERNETES_1_34, KUBERNETES_1_36, CONTAINERD_1_7, CONTAINERD_2] {
        for archive in release.archives {
            let length = match archive.digest {
                Digest::Sha256(_) => 64,
                Digest::Sha512(_) => 128,
            };
            assert_eq!(archive.digest.digits().len(), length, "{}", archive.path);
            assert!(
                archive.digest.digits().bytes().all(|digit| digit.is_ascii_hexdigit()),
                "{}",
                archive.path
            );
        }
    }
}

#[test]
fn a_release_without_pins_is_refused() {
    let error = kubernetes(Kubernetes::V1_37).unwrap_err().to_string();
    assert!(error.contains("no digest of an official Kubernetes 1.37 is pinned"), "{error}");
}
