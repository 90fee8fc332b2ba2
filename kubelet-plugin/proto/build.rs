//! Compiles the protocol files to Rust, without `protoc`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// Each in a folder of its own, because prost names its output after the package, and short package names
/// such as `v1` belong to several interfaces of the kubelet.
const INTERFACES: [(&str, &str); 5] = [
    ("registration", "registration/v1.proto"),
    ("dra_v1", "dra/v1/dra.proto"),
    ("dra_v1beta1", "dra/v1beta1/dra.proto"),
    ("health_v1", "health/v1/health.proto"),
    ("health_v1alpha1", "health/v1alpha1/health.proto"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    for (name, file) in INTERFACES {
        let folder = out.join(name);
        fs::create_dir_all(&folder)?;
        let descriptors = protox::compile([file], ["proto"])?;
        tonic_prost_build::configure()
            // Users bring their own connections.
            .build_transport(false)
            .btree_map(".")
            .out_dir(&folder)
            .compile_fds(descriptors)?;
    }
    Ok(())
}
