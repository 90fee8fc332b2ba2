//! The manifests of the demo: the examples that users get, with what the cluster has in place of public images.

use std::path::Path;

use anyhow::{Result, ensure};
use fs_err as fs;

use super::look;

/// The cluster's image for programs that need a GPU.
const IMAGE: &str = "registry.local/cuda:1";

/// The guide's manifests, for a version of the API that is gone.
pub(super) const GUIDE: &str = "controller/tests/data/guide-manifests.yaml";
/// The namespace that they are for.
pub(super) const NAMESPACE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: ml-workloads}}";

/// The guide's manifests, whose job looks around instead of training.
pub(super) fn training_job(root: &Path) -> Result<String> {
    let text = fs::read_to_string(root.join(GUIDE))?;
    // It lasts long enough for its claim to be looked at.
    let script = serde_json::json!(["sh", "-c", format!("{}\nsleep 2", look::SCRIPT)]).to_string();
    let text = replaced(&text, "pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime", IMAGE)?;
    replaced(&text, r#"["python", "train.py"]"#, &script)
}

/// A pod that holds a GPU by the training job's template until it is deleted.
pub(super) fn holder(name: &str) -> String {
    let script = format!("{}\nexec sleep 86400", look::SCRIPT);
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "ml-workloads", "labels": {"app": "holder"}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "ml-training-claim"}],
            "containers": [{
                "name": "holder",
                "image": IMAGE,
                "command": ["sh", "-c", script],
                "resources": {"claims": [{"name": "gpu"}]},
            }],
        },
    })
    .to_string()
}

fn replaced(text: &str, what: &str, with: &str) -> Result<String> {
    ensure!(text.matches(what).count() == 1, "{GUIDE} should name {what} once");
    Ok(text.replace(what, with))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_differs_from_the_guide_in_image_and_command_alone() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let example = fs::read_to_string(root.join(GUIDE)).unwrap();
        let job = training_job(&root).unwrap();
        assert_eq!(example.lines().count(), job.lines().count());
        let changed = example.lines().zip(job.lines()).filter(|(one, other)| one != other);
        let keys: Vec<&str> =
            changed.filter_map(|(line, _)| line.trim().split_once(':')).map(|(key, _)| key).collect();
        assert_eq!(keys, ["image", "command"]);
    }
}
