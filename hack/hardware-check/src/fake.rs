//! The fake node that a recording is compared with.

use anyhow::{Context, Result, bail};
use fake_node::layout::DeviceNodes;
use fake_node::model::NodeState;
use fake_node::{CreateOptions, Description, Node};

use crate::files::Roots;
use crate::recording::{self, Recording};
use crate::watch::Limits;

/// What the fake answers on a node like a recorded one.
#[derive(Debug)]
pub(crate) struct Fake {
    /// What it is, for people: "hgx-h100-8 with driver 550.163.01".
    pub(crate) what: String,
    /// Its answers.
    pub(crate) recording: Recording,
}

/// Makes a fake node like the recorded one and asks it everything.
///
/// # Errors
/// No description fits, or the node cannot be made.
pub(crate) fn like(real: &Recording, limits: Limits) -> Result<Fake> {
    let boards = real.boards();
    let (name, mut state) = description(&boards)?;
    let mut what = name.to_owned();
    if let Some(driver) = real.driver() {
        match Description::builtin(name)?.with_driver_version(&driver) {
            Ok(description) => state.driver = description.state().driver,
            Err(error) => eprintln!("hardware-check: {error}; compared with {}", state.driver.version),
        }
    }
    what.push_str(&format!(" with driver {}", state.driver.version));
    if boards.len() < state.gpus.len() && !boards.is_empty() {
        what.push_str(&format!(", {} of its {} GPUs", boards.len(), state.gpus.len()));
        state.gpus.truncate(boards.len());
    } else if boards.len() > state.gpus.len() {
        what.push_str(&format!(", which has only {} GPUs", state.gpus.len()));
    }
    if real.init() != Some(0) {
        what.push_str(", kernel module not loaded");
        state.driver.loaded = false;
    }
    let folder = tempfile::tempdir().context("cannot make a folder for the fake node")?;
    // Never real device nodes: with the real driver loaded they would be its GPUs.
    let options = CreateOptions { device_nodes: DeviceNodes::Record, library: None };
    let node = Node::create_from(&state, &folder.path().join("node"), &options)?;
    let roots = Roots { proc: node.procfs(), sys: node.sysfs() };
    let library = node.library();
    Ok(Fake { what, recording: recording::record(&library, &roots, limits)? })
}

/// The built-in description with the same boards; if none has as many, the smallest of those that have more,
/// else the largest.
fn description(boards: &[Option<u16>]) -> Result<(&'static str, NodeState)> {
    let mut known: Vec<(&'static str, NodeState)> = Vec::new();
    for name in Description::builtin_names() {
        known.push((name, Description::builtin(name)?.state()));
    }
    let wanted: Vec<u16> = boards.iter().flatten().copied().collect();
    let ids = |state: &NodeState| -> Vec<u16> { state.gpus.iter().map(|gpu| gpu.board.pci_device).collect() };
    let Some(first) = wanted.first() else {
        // No GPU said what it is: only what comes before a GPU can be compared.
        return known.into_iter().next().context("there is no built-in description");
    };
    let mut fitting: Vec<_> = known
        .into_iter()
        .filter(|(_, state)| {
            let ids = ids(state);
            ids == wanted || (ids.iter().all(|id| id == first) && wanted.iter().all(|id| id == first))
        })
        .collect();
    fitting.sort_by_key(|(_, state)| {
        let count = state.gpus.len();
        (count != boards.len(), count < boards.len(), count.abs_diff(boards.len()))
    });
    match fitting.into_iter().next() {
        Some(found) => Ok(found),
        None => {
            let ids: Vec<String> = wanted.iter().map(|id| format!("{id:#06x}")).collect();
            bail!(
                "no built-in description of the fake has GPUs with the PCI device ids {}; the recording is of \
                 use all the same: add a description from it",
                ids.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_with_the_same_boards_is_chosen() {
        // PCI device ids: NVIDIA's open kernel modules, g_nv_name_released.h.
        let (h100, h200, pcie, nvl) = (0x2330, 0x2335, 0x2331, 0x233b);
        for (case, boards, wanted) in [
            ("an HGX H100", vec![h100; 8], "hgx-h100-8"),
            ("an HGX H200", vec![h200; 8], "hgx-h200-8"),
            ("one GPU of an HGX H100, in a container", vec![h100], "hgx-h100-8"),
            ("sixteen H100 PCIe", vec![pcie; 16], "h100-16"),
            ("more GPUs than the largest description", vec![pcie; 20], "h100-16"),
            ("a mixture", vec![pcie, pcie, nvl, nvl], "mixed"),
        ] {
            let boards: Vec<_> = boards.into_iter().map(Some).collect();
            let (name, _) = description(&boards).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(name, wanted, "{case}");
        }
    }

    #[test]
    fn an_unknown_board_is_named() {
        let error = description(&[Some(0x2342)]).unwrap_err().to_string();
        assert!(error.contains("0x2342"), "{error}");
    }
}
