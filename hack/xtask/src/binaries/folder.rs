//! `--binaries DIR`: programs that somebody built or downloaded already.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use super::{CLIENTS, CONTAINERD, CONTROL_PLANE, KUBELET, Level, Programs, Wanted};

/// Checks that all wanted programs lie in the folder; their releases are the caller's business.
pub(super) fn check(folder: &Path, wanted: &Wanted) -> Result<Programs> {
    let folder = fs::canonicalize(folder).context("the folder of the programs (--binaries) is not there")?;
    let is_node = wanted.level == Level::Node;
    let mut names: Vec<&str> = [&CONTROL_PLANE[..], &CLIENTS].concat();
    if is_node {
        names.extend(KUBELET.iter().chain(&CONTAINERD));
    }
    let faults: Vec<String> = names.iter().filter_map(|name| fault(&folder, name)).collect();
    ensure!(
        faults.is_empty(),
        "the folder {} (--binaries) lacks programs: {}. It must hold {}",
        folder.display(),
        faults.join(", "),
        names.join(", ")
    );
    Ok(Programs {
        kubernetes: folder.clone(),
        kubelet: is_node.then(|| folder.clone()),
        containerd: is_node.then(|| folder.clone()),
        clients: folder,
    })
}

fn fault(folder: &Path, name: &str) -> Option<String> {
    match fs::metadata(folder.join(name)) {
        Err(_) => Some(format!("{name} is not there")),
        Ok(file) if !file.is_file() => Some(format!("{name} is no file")),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => Some(format!("{name} is not executable")),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Containerd, Kubernetes, make_executable};
    use super::*;

    fn wanted(level: Level) -> Wanted {
        Wanted {
            level,
            kubernetes: Kubernetes::V1_36,
            kubelet: Kubernetes::V1_36,
            containerd: Containerd::V2,
        }
    }

    #[test]
    fn every_program_that_a_folder_lacks_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(temporary.path()).unwrap();
        for name in ["etcd", "kube-apiserver", "kube-scheduler", "helm", "kubectl"] {
            fs::write(folder.join(name), "").unwrap();
            make_executable(&folder.join(name)).unwrap();
        }
        fs::write(folder.join("kubelet"), "").unwrap();
        fs::create_dir(folder.join("ctr")).unwrap();

        let refused = |level| check(&folder, &wanted(level)).unwrap_err().to_string();
        assert!(refused(Level::ControlPlane).contains(
            "lacks programs: kube-controller-manager is not there. It must hold etcd, kube-apiserver, \
             kube-controller-manager, kube-scheduler, helm, kubectl"
        ));
        assert!(refused(Level::Node).contains(
            "lacks programs: kube-controller-manager is not there, kubelet is not executable, containerd is not \
             there, containerd-shim-runc-v2 is not there, ctr is no file."
        ));

        fs::write(folder.join("kube-controller-manager"), "").unwrap();
        make_executable(&folder.join("kube-controller-manager")).unwrap();
        let programs = check(&folder, &wanted(Level::ControlPlane)).unwrap();
        assert_eq!((programs.kubernetes, programs.kubelet), (folder, None));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = check(Path::new("/nowhere/at/all"), &wanted(Level::Node)).unwrap_err();
        assert!(format!("{error:#}").contains("--binaries"));
        assert!(format!("{error:#}").contains("/nowhere/at/all"));
    }
}
