//! What a container of the demo looks at, and what its answers must be.

use anyhow::{Context, Result, ensure};

/// Lists the GPUs with NVIDIA's own program, then opens device nodes: its own GPU's, and another's, which is not there
/// and which it makes for itself.
pub(super) const SCRIPT: &str = r#"
nvidia-smi -L
own=$(ls /dev | grep -E '^nvidia[0-9]+$')
echo "device nodes of GPUs: $own"
other=$(( (${own#nvidia} + 1) % 8 ))
echo "opening its own, /dev/$own:"
cat /dev/$own 2>&1
echo "opening another's, /dev/nvidia$other:"
cat /dev/nvidia$other 2>&1
echo "making a node with the other's number, and opening that:"
mknod /tmp/other c 195 $other && cat /tmp/other 2>&1
echo end
"#;

/// What a container saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The UUIDs of the GPUs that nvidia-smi listed.
    pub(super) uuids: Vec<String>,
    /// The names of the device nodes.
    nodes: Vec<String>,
    /// What came of opening its own GPU's node, another's, and one that it made. None where nothing was opened.
    opened: Option<[String; 3]>,
}

impl Seen {
    /// Reads what [`SCRIPT`] has printed.
    pub(super) fn read(log: &str) -> Result<Self> {
        let uuids = log.lines().filter(|line| line.starts_with("GPU "));
        let uuids = uuids.filter_map(|line| line.split_once("(UUID: ")?.1.strip_suffix(')'));
        let nodes = log.lines().find_map(|line| line.strip_prefix("device nodes of GPUs: "));
        let nodes = nodes.with_context(|| format!("the container did not list its device nodes:\n{log}"))?;
        let after = |start: &str| {
            let mut lines = log.lines().skip_while(move |line| !line.starts_with(start));
            lines.nth(1).unwrap_or_default().to_owned()
        };
        let opened = log
            .contains("\nopening its own")
            .then(|| [after("opening its own"), after("opening another's"), after("making a node")]);
        Ok(Self {
            uuids: uuids.map(str::to_owned).collect(),
            nodes: nodes.split_whitespace().map(str::to_owned).collect(),
            opened,
        })
    }

    /// Checks that the container has exactly one GPU, and can open no other.
    pub(super) fn one_gpu_alone(&self) -> Result<&str> {
        let [uuid] = &self.uuids[..] else {
            anyhow::bail!("the container should see one GPU, but sees {:?}", self.uuids)
        };
        ensure!(self.nodes.len() == 1, "the container should have one GPU's node, but has {:?}", self.nodes);
        let Some([own, another, made]) = &self.opened else { return Ok(uuid) };
        // The kernel's words for ENXIO, ENOENT and EPERM.
        for (what, answer, wanted) in [
            ("its own GPU's node, which no kernel driver serves", own, "No such device or address"),
            ("another GPU's node, which is not there", another, "No such file or directory"),
            ("a node that it made with another GPU's number", made, "Operation not permitted"),
        ] {
            ensure!(answer.ends_with(wanted), "opening {what} should end in {wanted:?}, but: {answer:?}");
        }
        Ok(uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-70869ab6-57cc-48a4-8a94-bee25d71e172)
device nodes of GPUs: nvidia3
opening its own, /dev/nvidia3:
cat: can't open '/dev/nvidia3': No such device or address
opening another's, /dev/nvidia4:
cat: can't open '/dev/nvidia4': No such file or directory
making a node with the other's number, and opening that:
cat: can't open '/tmp/other': Operation not permitted
end
";

    #[test]
    fn a_container_with_one_gpu_passes() {
        let seen = Seen::read(LOG).unwrap();
        assert_eq!(seen.one_gpu_alone().unwrap(), "GPU-70869ab6-57cc-48a4-8a94-bee25d71e172");
    }

    #[test]
    fn a_stand_in_opens_nothing() {
        let log = LOG.split("opening").next().unwrap();
        assert_eq!(Seen::read(log).unwrap().opened, None);
        assert!(Seen::read(log).unwrap().one_gpu_alone().is_ok());
    }

    #[test]
    fn whatever_else_a_container_sees_is_an_error() {
        let another = "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-1372ca6e-21f9-4d34-93bd-a260b5301b61)\ndevice";
        for (name, log, wanted) in [
            ("two GPUs", LOG.replacen("device", another, 1), "should see one GPU"),
            ("no GPU", LOG.replace("GPU 0", "gpu 0"), "should see one GPU"),
            ("two nodes", LOG.replace(": nvidia3\n", ": nvidia3 nvidia4\n"), "one GPU's node"),
            (
                "no permission for its own",
                LOG.replace("No such device or address", "Operation not permitted"),
                "its own",
            ),
            (
                "another's node",
                LOG.replace("No such file or directory", "No such device or address"),
                "is not there",
            ),
            (
                "a made node",
                LOG.replace("Operation not permitted", "No such device or address"),
                "that it made",
            ),
        ] {
            let error = Seen::read(&log).unwrap().one_gpu_alone().unwrap_err().to_string();
            assert!(error.contains(wanted), "{name}: {error}");
        }
    }
}
