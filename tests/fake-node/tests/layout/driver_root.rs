//! The driver's user space, as linkers and loaders see it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use fake_node::layout;

use crate::{Laid, VERSION};

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    assert_eq!(errors, "", "{command:?}");
    text
}

#[test]
fn libraries_have_the_names_that_programs_link_to() {
    let node = Laid::new("hgx-h100-8");
    // The real driver's SONAMEs.
    for (library, soname) in [
        ("libcuda", "libcuda.so.1"),
        ("libnvidia-ptxjitcompiler", "libnvidia-ptxjitcompiler.so.1"),
        ("libnvidia-nvvm", "libnvidia-nvvm.so.4"),
        ("libnvidia-gpucomp", "libnvidia-gpucomp.so.550.163.01"),
        ("libnvidia-opencl", "libnvidia-opencl.so.1"),
        ("libcudadebugger", "libcudadebugger.so.1"),
        ("libnvidia-allocator", "libnvidia-allocator.so.1"),
        ("libnvidia-pkcs11-openssl3", "libnvidia-pkcs11-openssl3.so.550.163.01"),
        ("libnvoptix", "libnvoptix.so.1"),
        ("vdpau/libvdpau_nvidia", "libvdpau_nvidia.so.1"),
    ] {
        let path = node.libraries().join(format!("{library}.so.{VERSION}"));
        let dynamic = output(Command::new("readelf").args(["--dynamic", "--wide"]).arg(&path));
        assert!(dynamic.contains(&format!("Library soname: [{soname}]")), "{dynamic}");
        let link = path.with_file_name(soname);
        assert_eq!(fs::canonicalize(link).unwrap(), fs::canonicalize(&path).unwrap());
    }
    // By section headers and by program headers, without a complaint.
    let path = node.libraries().join(format!("libcuda.so.{VERSION}"));
    let all = output(Command::new("readelf").args(["--all", "--wide"]).arg(path));
    assert!(all.contains("DYN (Shared object file)"), "{all}");
    assert!(all.contains(".dynsym"), "{all}");
}

#[test]
fn ldconfig_finds_the_libraries_of_the_driver_root() {
    let node = Laid::new("h100-nvl-2");
    let root = node.path("driver");
    let ldconfig = |arguments: &[&str]| {
        let program =
            ["/sbin/ldconfig", "/usr/sbin/ldconfig"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.expect("ldconfig of libc-bin"));
        output(command.args(arguments).arg("-r").arg(&root))
    };
    // The stand-in for the fake library is no ELF file here.
    fs::remove_file(node.libraries().join(format!("libnvidia-ml.so.{VERSION}"))).unwrap();
    fs::remove_file(node.libraries().join("libnvidia-ml.so.1")).unwrap();
    for library in ["/lib", "/usr/lib", "/lib64", "/usr/lib64"] {
        fs::create_dir_all(root.join(&library[1..])).unwrap();
    }
    fs::create_dir_all(root.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH))).unwrap();
    // -X: the links must be right already.
    ldconfig(&["-X"]);
    let cache = ldconfig(&["-p"]);
    for soname in ["libcuda.so.1", "libnvidia-nvvm.so.4", "libnvidia-tls.so.550.163.01"] {
        let line = cache.lines().find(|line| line.trim_start().starts_with(soname));
        let line = line.unwrap_or_else(|| panic!("{soname} is not in {cache}"));
        assert!(line.ends_with(&format!("-linux-gnu/{soname}")), "{line}");
    }
    // Had it found a wrong SONAME or link, it would have made others.
    let before = fs::read_dir(node.libraries()).unwrap().count();
    ldconfig(&[]);
    assert_eq!(fs::read_dir(node.libraries()).unwrap().count(), before);
}

#[test]
fn the_dynamic_loader_loads_a_placeholder() {
    let node = Laid::new("h100-nvl-2");
    let mut command = Command::new("/bin/sh");
    let preload = node.libraries().join("libcuda.so.1");
    // The loader complains on stderr about what it cannot load, and output() wants none.
    let said = output(command.args(["-c", "echo alive"]).env("LD_PRELOAD", preload));
    assert_eq!(said, "alive\n");
}

#[test]
fn the_driver_root_is_complete() {
    let node = Laid::new("hgx-h100-8");
    let library = node.libraries().join("libnvidia-ml.so.1");
    assert_eq!(fs::read_link(&library).unwrap(), Path::new("libnvidia-ml.so.550.163.01"));
    assert_eq!(fs::read_to_string(&library).unwrap(), "the fake library");
    let metadata = fs::symlink_metadata(fs::canonicalize(&library).unwrap()).unwrap();
    assert_eq!(metadata.nlink(), 1, "a copy, not another name of the same file");
    assert_eq!(fs::read_link(node.libraries().join("libcuda.so")).unwrap(), Path::new("libcuda.so.1"));

    for program in [
        "nvidia-smi",
        "nvidia-debugdump",
        "nvidia-persistenced",
        "nvidia-cuda-mps-control",
        "nvidia-cuda-mps-server",
    ] {
        let result = Command::new(node.path("driver/usr/bin").join(program)).output().unwrap();
        assert_eq!(result.status.code(), Some(1), "{program}");
        let said = String::from_utf8(result.stderr).unwrap();
        assert!(said.contains(program) && said.contains("placeholder"), "{said}");
    }

    let state_file = layout::state_file(&node.path("driver"), VERSION);
    assert_eq!(state_file, node.path("driver/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin"));
    assert!(state_file.parent().unwrap().join("gsp_tu10x.bin").is_file());
    assert!(!state_file.exists(), "the state file is not the layout's to write");
}
