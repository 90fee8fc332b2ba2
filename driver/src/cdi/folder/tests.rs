use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::cdi::spec::DeviceNode;
use crate::cdi::{ClaimDevice, claim_spec};

const DRIVER: &str = "gpu.example.com";
const UID: &str = "8a5ab3a0-5d1f-4c2e-9a54-000000000001";

fn spec(uid: &str) -> Spec {
    let node = DeviceNode {
        path: "/dev/nvidia3".to_owned(),
        host_path: None,
        kind: "c".to_owned(),
        major: 195,
        minor: 3,
        file_mode: 0o666,
        permissions: "rwm".to_owned(),
        gid: None,
    };
    claim_spec(DRIVER, uid, &[ClaimDevice { name: "gpu-0000-1b-00-0".to_owned(), nodes: vec![node] }])
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_claims_life() {
    let root = tempfile::tempdir().unwrap();
    let cdi = root.path().join("made/by/the/driver");
    let folder = Folder::new(cdi.clone(), DRIVER);
    assert_eq!(folder.read_claim(UID), Stored::Absent);
    assert_eq!(folder.claims().unwrap(), Vec::<String>::new());
    folder.remove_claim(UID).unwrap();

    folder.write_claim(UID, &spec(UID)).unwrap();
    assert_eq!(folder.read_claim(UID), Stored::Present(spec(UID)));
    assert_eq!(names(&cdi), [format!("{DRIVER}-claim-{UID}.json")]);
    let mode = fs_err::metadata(folder.claim_path(UID)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "container runtimes may run as others");

    folder.write_driver(&spec("other")).unwrap();
    assert_eq!(folder.read_driver(), Stored::Present(spec("other")));
    assert_eq!(names(&cdi), [format!("{DRIVER}-claim-{UID}.json"), format!("{DRIVER}-driver.json")]);
    assert_eq!(folder.claims().unwrap(), [UID]);

    folder.remove_claim(UID).unwrap();
    folder.remove_claim(UID).unwrap();
    assert_eq!(folder.read_claim(UID), Stored::Absent);
}

/// Byte for byte: container runtimes, and the next version of this driver, read it.
#[test]
fn a_claims_file() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::new(root.path().to_owned(), DRIVER);
    folder.write_claim(UID, &spec(UID)).unwrap();
    let wanted = r#"{
  "cdiVersion": "0.5.0",
  "kind": "gpu.example.com/claim",
  "devices": [
    {
      "name": "8a5ab3a0-5d1f-4c2e-9a54-000000000001-gpu-0000-1b-00-0",
      "containerEdits": {
        "deviceNodes": [
          {
            "path": "/dev/nvidia3",
            "type": "c",
            "major": 195,
            "minor": 3,
            "fileMode": 438,
            "permissions": "rwm"
          }
        ]
      }
    }
  ]
}
"#;
    assert_eq!(fs_err::read_to_string(folder.claim_path(UID)).unwrap(), wanted);
}

#[test]
fn damage_is_told_from_absence_and_mended_by_writing() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::new(root.path().to_owned(), DRIVER);
    let whole = serde_json::to_string(&spec(UID)).unwrap();
    let cases = [
        ("empty", String::new()),
        ("cut", whole[..whole.len() / 2].to_owned()),
        ("with more behind", format!("{whole}}}")),
        ("of a stranger", r#"{"cdiVersion": "0.5.0", "kind": "a/b", "devices": [], "hooks": []}"#.to_owned()),
        ("not text", "\u{0}\u{1}".to_owned()),
    ];
    for (name, text) in cases {
        fs_err::write(folder.claim_path(UID), text).unwrap();
        assert!(matches!(folder.read_claim(UID), Stored::Damaged(_)), "{name}");
        folder.write_claim(UID, &spec(UID)).unwrap();
        assert_eq!(folder.read_claim(UID), Stored::Present(spec(UID)), "{name}");
    }
}

#[test]
fn only_our_claims_are_listed_and_only_old_leftovers_removed() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::new(root.path().to_owned(), DRIVER);
    for uid in ["uid-2", "uid-1"] {
        folder.write_claim(uid, &spec(uid)).unwrap();
    }
    let others = [
        "gpu.example.com-driver.json",
        "gpu.example.com-claim-.json",
        "gpu.example.com-claim-uid 3.json",
        "gpu.example.com-claim-uid-4.yaml",
        "nic.example.com-claim-uid-5.json",
        ".nic.example.com-claim-uid-6.json.1-1.tmp",
        ".gpu.example.com-claim-uid-7.json.1-1.tmp",
    ];
    for name in others {
        fs_err::write(root.path().join(name), "").unwrap();
    }
    let left = root.path().join(".gpu.example.com-claim-uid-8.json.1-1.tmp");
    let file = std::fs::File::create(&left).unwrap();
    file.set_modified(std::time::SystemTime::now() - 2 * LEFT).unwrap();

    assert_eq!(folder.claims().unwrap(), ["uid-1", "uid-2"]);
    assert!(!left.exists(), "a killed writer's file");
    for name in others {
        assert!(root.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_uid_that_leads_elsewhere_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::new(root.path().join("cdi"), DRIVER);
    for uid in ["", "../../etc/passwd", "a/b", "a.b", "a b", "ü"] {
        assert!(folder.write_claim(uid, &spec("x")).is_err(), "{uid:?}");
        assert!(folder.remove_claim(uid).is_err(), "{uid:?}");
        assert!(matches!(folder.read_claim(uid), Stored::Damaged(_)), "{uid:?}");
    }
    assert!(!root.path().join("cdi").exists());
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let root = tempfile::tempdir().unwrap();
    fs_err::write(root.path().join("file"), "").unwrap();
    let folder = Folder::new(root.path().join("file/cdi"), DRIVER);
    let error = folder.write_claim(UID, &spec(UID)).unwrap_err().to_string();
    assert!(error.contains("file/cdi") && error.contains("remove what has that name"), "{error}");

    // A folder in the place of the spec.
    let folder = Folder::new(root.path().to_owned(), DRIVER);
    fs_err::create_dir(folder.claim_path(UID)).unwrap();
    let error = folder.write_claim(UID, &spec(UID)).unwrap_err().to_string();
    assert!(error.contains("remove what has that name"), "{error}");
    assert_eq!(names(root.path()).iter().filter(|name| name.ends_with(".tmp")).count(), 0, "nothing is left");

    let cases = [
        (Errno::NOSPC, "free space"),
        (Errno::DQUOT, "free space"),
        (Errno::ROFS, "--cdi-root (CDI_ROOT)"),
        (Errno::ACCESS, "as root"),
    ];
    for (errno, remedy) in cases {
        let error = failed("write", Path::new("/var/run/cdi/x.json"), errno.into()).to_string();
        assert!(error.starts_with("cannot write /var/run/cdi/x.json: "), "{error}");
        assert!(error.contains(remedy), "{error}");
    }
}

/// Two instances of the plugin write the same spec in a rolling update, each under the same temporary name.
#[test]
fn writers_at_the_same_time_leave_a_whole_spec() {
    let root = tempfile::tempdir().unwrap();
    let specs: Vec<_> = (0..4).map(|number| spec(&format!("{number}").repeat(1000 * (number + 1)))).collect();
    std::thread::scope(|scope| {
        for spec in &specs {
            let folder = Folder::new(root.path().to_owned(), DRIVER);
            scope.spawn(move || {
                for _ in 0..50 {
                    folder.write_driver(spec).unwrap();
                    assert!(matches!(folder.read_driver(), Stored::Present(_)), "{:?}", folder.read_driver());
                }
            });
        }
    });
    assert_eq!(names(root.path()), [format!("{DRIVER}-driver.json")]);
}
