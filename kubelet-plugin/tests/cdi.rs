//! The CDI specs of a fake node, applied to containers as a container runtime does it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use dra_driver::cdi::folder::Folder;
use dra_driver::cdi::spec::DeviceNode;
use dra_driver::cdi::{
    ClaimDevice, DriverFiles, Roots, check_driver_name, claim_device_id, claim_spec, driver_files_id,
};
use fake_node::layout::NodeKind;
use fake_node::{CreateOptions, Description, Node};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::cdi::Registry;

const DRIVER: &str = "gpu.example.com";

struct Fake {
    files: DriverFiles,
    folder: Folder,
    root: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let description = Description::builtin("hgx-h100-8").unwrap();
        let node = Node::create(&description, &root.path().join("node"), &CreateOptions::default()).unwrap();
        if node.device_nodes() == NodeKind::Record {
            // Without root there are no device nodes of NVIDIA's numbers, but there is one.
            for entry in fs_err::read_dir(node.driver_root().join("dev")).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    fs_err::remove_file(entry.path()).unwrap();
                    symlink("/dev/null", entry.path()).unwrap();
                }
            }
        }
        let driver = node.driver_root();
        let roots = Roots { host_driver: driver.clone(), driver, dev: "/nonexistent".into() };
        let folder = Folder::new(root.path().join("cdi"), DRIVER);
        Self { files: DriverFiles::new(roots, DRIVER), folder, root }
    }

    /// Prepares a claim that was given the GPUs with these minor numbers, and answers its CDI devices as the kubelet
    /// gets them.
    fn prepare(&self, uid: &str, minors: &[u32]) -> Vec<String> {
        self.files.ensure(&self.folder).unwrap();
        let devices: Vec<ClaimDevice> = minors
            .iter()
            .map(|minor| ClaimDevice {
                name: format!("gpu-{minor}"),
                nodes: vec![self.files.gpu_node(*minor).unwrap()],
            })
            .collect();
        self.folder.write_claim(uid, &claim_spec(DRIVER, uid, &devices)).unwrap();
        devices
            .iter()
            .flat_map(|device| [claim_device_id(DRIVER, uid, &device.name), driver_files_id(DRIVER)])
            .collect()
    }

    /// A container that gets these CDI devices.
    fn container(&self, devices: &[String]) -> Value {
        let registry = Registry::load(&[self.root.path().join("cdi")]);
        assert!(registry.errors().is_empty(), "{:?}", registry.errors());
        let mut container = json!({
            "ociVersion": "1.2.0",
            "process": {"env": ["PATH=/usr/bin", "NVIDIA_VISIBLE_DEVICES=all"]},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}]}},
        });
        registry.apply(devices, &mut container).unwrap();
        container
    }
}

fn strings<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap()).collect()
}

/// The GPU nodes of a container.
fn gpus(container: &Value) -> Vec<String> {
    let number =
        |path: &str| path.strip_prefix("/dev/nvidia").map(str::parse::<u32>).is_some_and(|n| n.is_ok());
    let mut paths: Vec<String> = strings(&container["linux"]["devices"], "path")
        .into_iter()
        .filter(|path| number(path))
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths
}

/// Each mount, node and variable is there at most once.
fn assert_nothing_twice(container: &Value) {
    let lists = [
        strings(&container["mounts"], "destination"),
        strings(&container["linux"]["devices"], "path"),
        container["process"]["env"].as_array().unwrap().iter().map(|entry| entry.as_str().unwrap()).collect(),
    ];
    for list in lists {
        let mut count = BTreeMap::new();
        for entry in list {
            *count.entry(entry).or_insert(0) += 1;
        }
        assert_eq!(count.iter().filter(|(_, count)| **count > 1).collect::<Vec<_>>(), vec![]);
    }
}

#[test]
fn a_container_gets_exactly_the_gpus_of_its_claim() {
    let fake = Fake::new();
    fake.prepare("uid-of-another", &[0, 2, 7]);
    let devices = fake.prepare("5d0c1f6a-uid", &[1, 3]);
    assert_eq!(devices.len(), 4);
    let container = fake.container(&devices);

    assert_eq!(gpus(&container), ["/dev/nvidia1", "/dev/nvidia3"]);
    let mut nodes = strings(&container["linux"]["devices"], "path");
    nodes.sort_unstable();
    let control = ["/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];
    assert_eq!(nodes, [&control[..], &["/dev/nvidia1", "/dev/nvidia3", "/dev/nvidiactl"]].concat());
    let allowed = container["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(allowed.iter().filter(|rule| rule["allow"] == true).count(), 6, "{allowed:?}");

    // runc takes the last of equal names.
    let env = container["process"]["env"].as_array().unwrap().iter().filter_map(Value::as_str);
    let visible = env.filter(|variable| variable.starts_with("NVIDIA_VISIBLE_DEVICES="));
    assert_eq!(visible.collect::<Vec<_>>().last(), Some(&"NVIDIA_VISIBLE_DEVICES=void"));
    let mounts = strings(&container["mounts"], "destination");
    for file in ["/usr/bin/nvidia-smi", "/usr/lib64/libcuda.so.1"] {
        assert!(mounts.contains(&file), "{file} in {mounts:?}");
    }
    assert_nothing_twice(&container);
}

#[test]
fn two_claims_of_a_container_bring_the_drivers_files_once() {
    let fake = Fake::new();
    let devices = [fake.prepare("uid-1", &[0]), fake.prepare("uid-2", &[4, 5])].concat();
    let container = fake.container(&devices);
    assert_eq!(gpus(&container), ["/dev/nvidia0", "/dev/nvidia4", "/dev/nvidia5"]);
    assert_nothing_twice(&container);
}

#[test]
fn every_mount_leads_to_a_file_of_the_host() {
    let fake = Fake::new();
    let container = fake.container(&fake.prepare("uid-1", &[0]));
    let mounts = container["mounts"].as_array().unwrap();
    let missing: Vec<_> = mounts
        .iter()
        .filter(|mount| mount["type"] != "proc")
        .filter(|mount| !std::path::Path::new(mount["source"].as_str().unwrap()).exists())
        .collect();
    assert!(missing.is_empty() && mounts.len() > 30, "{missing:?} of {}", mounts.len());
}

fn node() -> DeviceNode {
    DeviceNode {
        path: "/dev/nvidia0".to_owned(),
        host_path: Some("/run/nvidia/driver/dev/nvidia0".to_owned()),
        kind: "c".to_owned(),
        major: 195,
        minor: 0,
        file_mode: 0o666,
        permissions: "rwm".to_owned(),
        gid: Some(44),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        max_global_rejects: 65_536,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Most of the names are wrong in one letter at most.
    #[test]
    fn a_name_that_is_accepted_makes_specs_that_runtimes_accept(
        name in prop_oneof![
            8 => "[a-z0-9][a-z0-9.-]{0,30}[a-z0-9]",
            1 => "[a-zA-Z0-9_.:/ -]{0,4}",
            1 => "[a-z.-]{60,66}",
        ],
        uid in "[0-9a-f]{8}-[0-9a-f]{4}",
    ) {
        prop_assume!(check_driver_name(&name).is_ok());
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().to_owned(), &name);
        let device = ClaimDevice { name: "gpu-0000-1b-00-0".to_owned(), nodes: vec![node()] };
        folder.write_claim(&uid, &claim_spec(&name, &uid, &[device])).unwrap();
        let registry = Registry::load(&[root.path().to_owned()]);
        prop_assert!(registry.errors().is_empty(), "{:?}", registry.errors());
        let devices: Vec<&str> = registry.devices().collect();
        prop_assert_eq!(devices, vec![claim_device_id(&name, &uid, "gpu-0000-1b-00-0")]);
        prop_assert_eq!(folder.claims().unwrap(), vec![uid]);
    }
}
