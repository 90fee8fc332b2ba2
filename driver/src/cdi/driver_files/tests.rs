use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fake_node::layout::NodeKind;
use fake_node::{CreateOptions, Description, Node};

use super::*;

/// Where the container runtime would see the driver root.
const HOST: &str = "/run/nvidia/driver";
const VERSION: &str = "550.163.01";

/// A fake node, and what containers get of it.
struct Fake {
    node: Node,
    /// What the device nodes were made as.
    nodes: NodeKind,
    files: DriverFiles,
    folder: Folder,
    _root: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let description = Description::builtin("hgx-h100-8").unwrap();
        let node = Node::create(&description, &root.path().join("node"), &CreateOptions::default()).unwrap();
        let nodes = node.device_nodes();
        if nodes == NodeKind::Record {
            // Without root there are no device nodes of NVIDIA's numbers, but there is one.
            for entry in fs_err::read_dir(node.driver_root().join("dev")).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    fs_err::remove_file(entry.path()).unwrap();
                    symlink("/dev/null", entry.path()).unwrap();
                }
            }
        }
        let roots =
            Roots { driver: node.driver_root(), host_driver: HOST.into(), dev: root.path().join("dev") };
        let folder = Folder::new(root.path().join("cdi"), "gpu.example.com");
        Self { node, nodes, files: DriverFiles::new(roots, "gpu.example.com"), folder, _root: root }
    }

    /// A path inside the driver root, as this process sees it.
    fn at(&self, inside: &str) -> PathBuf {
        self.node.driver_root().join(inside.trim_start_matches('/'))
    }

    fn libraries(&self) -> PathBuf {
        self.node.library().parent().unwrap().to_owned()
    }

    /// The folder of the libraries, as containers see it.
    fn inside(&self) -> String {
        format!("/{}", self.libraries().strip_prefix(self.node.driver_root()).unwrap().display())
    }

    fn ensured(&self) -> Spec {
        self.files.ensure(&self.folder).unwrap();
        let Stored::Present(spec) = self.folder.read_driver() else { panic!("no spec") };
        spec
    }

    fn error(&self) -> String {
        self.files.ensure(&self.folder).unwrap_err().to_string()
    }

    fn remembered(&self) -> bool {
        !self.files.inner.known.lock().unwrap().seen.is_empty()
    }

    /// Calls until the files are so old that a change of them would show, and are remembered.
    fn settle(&self) {
        let begun = Instant::now();
        loop {
            self.files.ensure(&self.folder).unwrap();
            if self.remembered() {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "never remembered");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn containers(spec: &Spec) -> BTreeSet<&str> {
    spec.container_edits.mounts.iter().map(|mount| mount.container_path.as_str()).collect()
}

/// The host's file that a container sees at a path.
fn host_of<'a>(spec: &'a Spec, container: &str) -> Option<&'a str> {
    let mount = spec.container_edits.mounts.iter().find(|mount| mount.container_path == container)?;
    Some(&mount.host_path)
}

/// A line for each edit.
fn rendered(spec: &Spec) -> String {
    let nodes = spec.container_edits.device_nodes.iter().map(|node| {
        let host = node.host_path.as_deref().unwrap_or("(same)");
        format!("node {} <- {host} {} {:o} {}", node.path, node.kind, node.file_mode, node.permissions)
    });
    let mounts = spec.container_edits.mounts.iter().map(|mount| {
        format!("mount {} <- {} {}", mount.container_path, mount.host_path, mount.options.join(","))
    });
    let devices =
        spec.devices.iter().map(|device| format!("device {} {:?}", device.name, device.container_edits.env));
    let head = [format!("{} {}", spec.kind, spec.cdi_version)];
    head.into_iter().chain(devices).chain(nodes).chain(mounts).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_a_container_gets_of_an_h100_node() {
    let fake = Fake::new();
    let triplet = fake.inside().trim_start_matches("/usr/lib/").to_owned();
    insta::assert_snapshot!(rendered(&fake.ensured()).replace(&triplet, "TRIPLET"));
}

/// What `nvidia-ctk cdi generate` mounts on a node with the same driver and all daemons (container toolkit 1.19).
/// Libraries are in the folder of libraries.
const REFERENCE: [&str; 13] = [
    "/run/nvidia-fabricmanager/socket",
    "/run/nvidia-persistenced/socket",
    "/usr/bin/nvidia-cuda-mps-control",
    "/usr/bin/nvidia-cuda-mps-server",
    "/usr/bin/nvidia-debugdump",
    "/usr/bin/nvidia-imex",
    "/usr/bin/nvidia-imex-ctl",
    "/usr/bin/nvidia-persistenced",
    "/usr/bin/nvidia-smi",
    "/etc/OpenCL/vendors/nvidia.icd",
    "/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin",
    "/lib/firmware/nvidia/550.163.01/gsp_tu10x.bin",
    "vdpau/libvdpau_nvidia.so.550.163.01",
];
const REFERENCE_LIBRARIES: [&str; 21] = [
    "cuda",
    "cudadebugger",
    "nvcuvid",
    "nvidia-allocator",
    "nvidia-cfg",
    "nvidia-encode",
    "nvidia-fbc",
    "nvidia-glcore",
    "nvidia-gpucomp",
    "nvidia-ml",
    "nvidia-ngx",
    "nvidia-nvvm",
    "nvidia-opencl",
    "nvidia-opticalflow",
    "nvidia-pkcs11-openssl3",
    "nvidia-pkcs11",
    "nvidia-ptxjitcompiler",
    "nvidia-rtcore",
    "nvidia-sandboxutils",
    "nvidia-tls",
    "nvoptix",
];
/// The links onto SONAMEs that its hook makes in the container, as far as they lead to a library itself.
const REFERENCE_LINKS: [(&str, &str); 17] = [
    ("libcuda.so.1", "libcuda.so.550.163.01"),
    ("libcudadebugger.so.1", "libcudadebugger.so.550.163.01"),
    ("libnvcuvid.so.1", "libnvcuvid.so.550.163.01"),
    ("libnvidia-allocator.so.1", "libnvidia-allocator.so.550.163.01"),
    ("libnvidia-cfg.so.1", "libnvidia-cfg.so.550.163.01"),
    ("libnvidia-encode.so.1", "libnvidia-encode.so.550.163.01"),
    ("libnvidia-fbc.so.1", "libnvidia-fbc.so.550.163.01"),
    ("libnvidia-ml.so.1", "libnvidia-ml.so.550.163.01"),
    ("libnvidia-ngx.so.1", "libnvidia-ngx.so.550.163.01"),
    ("libnvidia-nvvm.so.4", "libnvidia-nvvm.so.550.163.01"),
    ("libnvidia-opencl.so.1", "libnvidia-opencl.so.550.163.01"),
    ("libnvidia-opticalflow.so.1", "libnvidia-opticalflow.so.550.163.01"),
    ("libnvidia-ptxjitcompiler.so.1", "libnvidia-ptxjitcompiler.so.550.163.01"),
    ("libnvidia-sandboxutils.so.1", "libnvidia-sandboxutils.so.550.163.01"),
    ("libnvoptix.so.1", "libnvoptix.so.550.163.01"),
    ("vdpau/libvdpau_nvidia.so.1", "vdpau/libvdpau_nvidia.so.550.163.01"),
    // It leads to libcuda.so.1 there, which is the same file.
    ("libcuda.so", "libcuda.so.550.163.01"),
];

/// What we mount besides on the same node: the libraries for drawing, which the reference node had not installed,
/// and the SONAMEs, for which the reference makes links. Nothing of the reference is missing.
#[test]
fn nothing_of_nvidias_own_list_is_missing() {
    let fake = Fake::new();
    for program in ["nvidia-imex", "nvidia-imex-ctl"] {
        fs_err::write(fake.at("usr/bin").join(program), "").unwrap();
    }
    fs_err::create_dir_all(fake.at("etc/OpenCL/vendors")).unwrap();
    fs_err::write(fake.at("etc/OpenCL/vendors/nvidia.icd"), "libnvidia-opencl.so.1\n").unwrap();
    let _sockets = ["run/nvidia-persistenced", "run/nvidia-fabricmanager"].map(|folder| {
        fs_err::create_dir_all(fake.at(folder)).unwrap();
        bind(&fake.at(folder).join("socket"))
    });
    // The fake node has it from branch 565 on. Its SONAME is read from the file, so it has to be the right one.
    sandboxutils(&fake);

    let spec = fake.ensured();
    let folder = fake.inside();
    let library = |name: &str| format!("{folder}/{name}");
    let mut reference: BTreeSet<String> = REFERENCE
        .iter()
        .map(|path| if path.starts_with('/') { (*path).to_owned() } else { library(path) })
        .collect();
    reference.extend(REFERENCE_LIBRARIES.map(|name| library(&format!("lib{name}.so.{VERSION}"))));
    let ours: BTreeSet<String> = containers(&spec).into_iter().map(str::to_owned).collect();
    assert_eq!(reference.difference(&ours).collect::<Vec<_>>(), Vec::<&String>::new());

    for (link, target) in REFERENCE_LINKS {
        let target = format!("{HOST}{}", library(target));
        assert_eq!(host_of(&spec, &library(link)), Some(target.as_str()), "{link}");
    }
    let links: BTreeSet<String> = REFERENCE_LINKS.iter().map(|(link, _)| library(link)).collect();
    let more: Vec<&str> = ours
        .iter()
        .filter(|path| !reference.contains(*path) && !links.contains(*path))
        .filter_map(|path| path.strip_prefix(&format!("{folder}/")))
        .collect();
    let drawing = [
        "libEGL_nvidia.so.0",
        "libEGL_nvidia.so.550.163.01",
        "libGLESv1_CM_nvidia.so.1",
        "libGLESv1_CM_nvidia.so.550.163.01",
        "libGLESv2_nvidia.so.2",
        "libGLESv2_nvidia.so.550.163.01",
        "libGLX_nvidia.so.0",
        "libGLX_nvidia.so.550.163.01",
        "libnvidia-eglcore.so.550.163.01",
        "libnvidia-glsi.so.550.163.01",
        "libnvidia-glvkspirv.so.550.163.01",
        "libnvidia-vksc-core.so.1",
        "libnvidia-vksc-core.so.550.163.01",
    ];
    assert_eq!(more, drawing);
    let elsewhere = ours
        .iter()
        .filter(|path| !reference.contains(*path) && !path.starts_with(&folder))
        .collect::<Vec<_>>();
    assert!(elsewhere.iter().all(|path| path.starts_with("/usr/lib64/")), "{elsewhere:?}");

    let options = |path: &str| {
        let mount = spec.container_edits.mounts.iter().find(|mount| mount.container_path == path);
        mount.unwrap().options.join(",")
    };
    assert_eq!(options("/run/nvidia-persistenced/socket"), "nosuid,nodev,rbind,rprivate,noexec");
    assert_eq!(options("/usr/bin/nvidia-smi"), "ro,nosuid,nodev,rbind,rprivate");

    let nodes: Vec<&str> = spec.container_edits.device_nodes.iter().map(|node| node.path.as_str()).collect();
    assert_eq!(nodes, ["/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl"]);
    if fake.nodes == NodeKind::Character {
        let fixed: Vec<_> = spec
            .container_edits
            .device_nodes
            .iter()
            .filter(|node| !node.path.contains("uvm"))
            .map(|node| (node.major, node.minor, node.file_mode))
            .collect();
        assert_eq!(fixed, [(195, 254, 438), (195, 255, 438)]);
    }
}

/// Binds a socket, also where its path is longer than an address may be.
fn bind(path: &Path) -> UnixListener {
    let short = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(short.path().join("s")).unwrap();
    fs_err::rename(short.path().join("s"), path).unwrap();
    listener
}

/// Lays out libnvidia-sandboxutils, which has the SONAME libnvidia-sandboxutils.so.1.
fn sandboxutils(fake: &Fake) {
    let root = tempfile::tempdir().unwrap();
    let mut state = Description::builtin("hgx-h100-8").unwrap().state();
    state.driver.version = "570.86.10".to_owned();
    let newer = Node::create_from(&state, &root.path().join("node"), &CreateOptions::default()).unwrap();
    let from = newer.library().with_file_name("libnvidia-sandboxutils.so.570.86.10");
    fs_err::copy(from, fake.libraries().join(format!("libnvidia-sandboxutils.so.{VERSION}"))).unwrap();
}

/// A loader of either layout finds each library under its SONAME, whatever the layout of the host.
#[test]
fn loaders_of_both_layouts_find_the_libraries() {
    let triplet = Fake::new().inside();
    let layouts = ["/usr/lib64", "/usr/lib", "/opt/nvidia/lib", triplet.as_str()];
    for host in layouts {
        let fake = Fake::new();
        let libraries = fake.libraries();
        if fake.inside() != host {
            let moved = fake.at(host).join("moving");
            fs_err::create_dir_all(moved.parent().unwrap()).unwrap();
            fs_err::rename(&libraries, &moved).unwrap();
            for entry in fs_err::read_dir(&moved).unwrap() {
                let entry = entry.unwrap();
                fs_err::rename(entry.path(), fake.at(host).join(entry.file_name())).unwrap();
            }
        }
        if host == "/opt/nvidia/lib" {
            // As Debian's alternatives do it: links in the usual folder.
            fs_err::create_dir_all(&libraries).unwrap();
            for name in ["libnvidia-ml.so.1", "libcuda.so.1"] {
                symlink(format!("{host}/{name}"), libraries.join(name)).unwrap();
            }
        }
        let spec = fake.ensured();
        for loader in ["/usr/lib64", triplet.as_str()] {
            for (soname, file) in REFERENCE_LINKS {
                if !soname.contains("sandboxutils") && !soname.contains("vdpau") {
                    let found = host_of(&spec, &format!("{loader}/{soname}"));
                    let wanted = format!("{HOST}{host}/{file}");
                    assert_eq!(found, Some(wanted.as_str()), "{soname} in {loader}, host {host}");
                }
            }
            // Its SONAME is its file name.
            let gpucomp = format!("{loader}/libnvidia-gpucomp.so.{VERSION}");
            assert!(host_of(&spec, &gpucomp).is_some(), "{gpucomp}, host {host}");
        }
    }
}

#[test]
fn the_spec_is_written_only_where_it_is_not_right() {
    let fake = Fake::new();
    let wanted = fake.ensured();
    let path = fake.folder.driver_path();
    let inode = || fs_err::metadata(&path).unwrap().ino();
    let written = inode();
    fake.settle();
    fake.ensured();
    assert_eq!(inode(), written, "not written again");
    let another = DriverFiles::new(fake.files.inner.roots.clone(), "gpu.example.com");
    another.ensure(&fake.folder).unwrap();
    assert_eq!(inode(), written, "nor by the next plugin");

    let different = Spec { cdi_version: "0.6.0".to_owned(), ..wanted.clone() };
    let harm: [(&str, &dyn Fn()); 4] = [
        ("removed", &|| fs_err::remove_file(&path).unwrap()),
        ("emptied", &|| fs_err::write(&path, "").unwrap()),
        ("damaged", &|| fs_err::write(&path, "{").unwrap()),
        ("different", &|| fake.folder.write_driver(&different).unwrap()),
    ];
    for (name, harm) in harm {
        fake.settle();
        harm();
        assert_eq!(fake.ensured(), wanted, "{name}");
    }
}

#[test]
fn another_driver_version_makes_another_spec() {
    let mut fake = Fake::new();
    fake.ensured();
    fake.settle();
    fake.node.unload_driver().unwrap();
    fake.node.load_driver(Some("570.86.10")).unwrap();
    let spec = fake.ensured();
    let text = rendered(&spec);
    assert!(!text.contains(VERSION), "{text}");
    let cuda = format!("{}/libcuda.so.1", fake.inside());
    assert_eq!(host_of(&spec, &cuda), Some(format!("{HOST}{}/libcuda.so.570.86.10", fake.inside()).as_str()));
    assert!(text.contains("/lib/firmware/nvidia/570.86.10/gsp_ga10x.bin"), "{text}");
}

/// What is missing shows at once and is found as soon as it is back; nothing of the kind is remembered.
#[test]
fn what_no_container_can_do_without() {
    let fake = Fake::new();
    let whole = fake.ensured();
    let cases = [
        (fake.at("dev/nvidia-uvm"), "nvidia-modprobe -u -c 0"),
        (fake.libraries().join(format!("libcuda.so.{VERSION}")), "install its compute libraries"),
        (fake.libraries().join("libnvidia-ml.so.1"), "--driver-root (DRIVER_ROOT)"),
    ];
    for (path, remedy) in cases {
        fake.settle();
        let aside = path.with_extension("aside");
        fs_err::rename(&path, &aside).unwrap();
        let error = fake.error();
        assert!(error.contains(remedy), "{error}");
        assert!(!fake.remembered(), "{error}");
        fs_err::rename(&aside, &path).unwrap();
        assert_eq!(fake.ensured(), whole, "{}", path.display());
    }
}

#[test]
fn what_containers_can_do_without() {
    let fake = Fake::new();
    let optional = [
        (fake.at("dev/nvidia-modeset"), "/dev/nvidia-modeset".to_owned()),
        (fake.at("dev/nvidia-uvm-tools"), "/dev/nvidia-uvm-tools".to_owned()),
        (fake.at("usr/bin/nvidia-smi"), "/usr/bin/nvidia-smi".to_owned()),
        (
            fake.libraries().join(format!("libnvidia-ngx.so.{VERSION}")),
            format!("{}/libnvidia-ngx.so.1", fake.inside()),
        ),
        (
            fake.at(&format!("lib/firmware/nvidia/{VERSION}/gsp_tu10x.bin")),
            format!("/lib/firmware/nvidia/{VERSION}/gsp_tu10x.bin"),
        ),
    ];
    let whole = fake.ensured();
    for (path, inside) in optional {
        fake.settle();
        let aside = path.with_extension("aside");
        fs_err::rename(&path, &aside).unwrap();
        let text = rendered(&fake.ensured());
        assert!(!text.contains(&format!(" {inside} <-")), "{text}");
        fs_err::rename(&aside, &path).unwrap();
        assert_eq!(fake.ensured(), whole, "{inside}");
    }
}

/// Half a library may be a copy that is going on: it is left out, and looked at again.
#[test]
fn a_damaged_library_is_left_out_until_it_is_whole() {
    let fake = Fake::new();
    let whole = fake.ensured();
    let library = fake.libraries().join(format!("libnvidia-encode.so.{VERSION}"));
    let bytes = fs_err::read(&library).unwrap();
    fake.settle();
    fs_err::remove_file(&library).unwrap();
    fs_err::write(&library, &bytes[..100]).unwrap();
    assert!(!rendered(&fake.ensured()).contains("libnvidia-encode"));
    assert!(!fake.remembered());
    fs_err::write(&library, &bytes).unwrap();
    assert_eq!(fake.ensured(), whole);
}

#[test]
fn device_nodes_are_those_of_the_host() {
    let fake = Fake::new();
    let node = fake.files.gpu_node(3).unwrap();
    assert_eq!(
        (node.path.as_str(), node.kind.as_str(), node.permissions.as_str()),
        ("/dev/nvidia3", "c", "rwm")
    );
    assert_eq!(node.host_path.as_deref(), Some("/run/nvidia/driver/dev/nvidia3"));
    if fake.nodes == NodeKind::Character {
        assert_eq!((node.major, node.minor, node.file_mode, node.gid), (195, 3, 0o666, None));
        let path = fake.at("dev/nvidia3");
        std::os::unix::fs::chown(&path, None, Some(44)).unwrap();
        fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o660)).unwrap();
        let node = fake.files.gpu_node(3).unwrap();
        assert_eq!((node.file_mode, node.gid), (0o660, Some(44)));
    }

    // The driver's nodes are in the host's /dev where the driver root has none.
    fs_err::rename(fake.at("dev"), &fake.files.inner.roots.dev).unwrap();
    assert_eq!(fake.files.gpu_node(3).unwrap().host_path, None);
    let nodes = fake.ensured().container_edits.device_nodes;
    assert!(nodes.iter().all(|node| node.host_path.is_none()), "{nodes:?}");
}

/// Linux numbers these itself (Documentation/admin-guide/devices.txt).
#[test]
fn numbers_are_read_from_the_node() {
    let root = tempfile::tempdir().unwrap();
    for (minor, device) in ["null", "zero", "full"].iter().enumerate() {
        symlink(Path::new("/dev").join(device), root.path().join(format!("nvidia{minor}"))).unwrap();
    }
    let roots = Roots { driver: "/nonexistent".into(), host_driver: "/".into(), dev: root.path().to_owned() };
    let numbers: Vec<_> = (0..3)
        .map(|minor| nodes::gpu_node(&roots, minor).unwrap())
        .map(|node| (node.major, node.minor))
        .collect();
    assert_eq!(numbers, [(1, 3), (1, 5), (1, 7)]);
}

#[test]
fn a_missing_or_wrong_node_is_an_error_with_its_name_and_a_remedy() {
    let root = tempfile::tempdir().unwrap();
    let roots = Roots { driver: "/nonexistent".into(), host_driver: "/".into(), dev: root.path().to_owned() };
    fs_err::write(root.path().join("nvidia1"), "c 195 1 0666").unwrap();
    fs_err::create_dir(root.path().join("nvidia2")).unwrap();
    symlink("nvidia9", root.path().join("nvidia3")).unwrap();
    let cases = [
        (0, "the device node /dev/nvidia0 is missing on the host; make it by running 'nvidia-modprobe -c 0'"),
        (1, "/dev/nvidia1 is not a character device; remove it from the host, then make it by running"),
        (2, "/dev/nvidia2 is not a character device"),
        (3, "/dev/nvidia3 is missing on the host; make it by running 'nvidia-modprobe -c 3'"),
    ];
    for (minor, part) in cases {
        let error = nodes::gpu_node(&roots, minor).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
