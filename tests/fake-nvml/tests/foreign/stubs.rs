//! Which functions NVIDIA's clients call that the fake has only as stubs.

use std::collections::{BTreeMap, BTreeSet};

use crate::pynvml::python;
use crate::smi;
use crate::support::{TestNode, run};

const KNOWN: &str = include_str!("../data/stubs-hit.txt");

/// Each with its reason; a line that begins with "#" says something about the list.
fn known() -> BTreeMap<&'static str, &'static str> {
    let lines = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line} gives no reason"))).collect()
}

#[test]
fn clients_call_no_stub_that_is_not_explained() {
    let mut hit: BTreeSet<&str> = BTreeSet::new();
    for description in ["hgx-h100-8", "hgx-h200-8", "h100-pcie-4", "h100-nvl-2", "h200-nvl-8", "mixed"] {
        let node = TestNode::new(description);
        for arguments in [
            &["-L"][..],
            &[],
            &["-q"],
            &["-q", "-x"],
            &["-c", "EXCLUSIVE_PROCESS"],
            &["-pm", "0"],
            &["topo", "-m"],
            &["topo", "-p2p", "n"],
            &["nvlink", "-s"],
            &["compute-policy", "--set-timeslice", "2"],
            &["compute-policy", "-l"],
        ] {
            smi(&node, arguments);
        }
        run(&mut python(&node, "facts.py"));
        run(python(&node, "events.py").args(["0x1f", "1", "0"]));
        let calls = node.calls();
        assert!(calls.len() > 100, "{description}: the clients made {} calls", calls.len());
        hit.extend(calls.iter().filter(|call| call.stub).map(|call| call.function));
    }
    let known = known();
    let unexplained: Vec<_> = hit.iter().filter(|name| !known.contains_key(**name)).collect();
    assert!(unexplained.is_empty(), "explain them in tests/data/stubs-hit.txt: {unexplained:?}");
    let spare: Vec<_> = known.keys().filter(|name| !hit.contains(**name)).collect();
    assert!(
        spare.is_empty(),
        "no client calls them, so they need no line in tests/data/stubs-hit.txt: {spare:?}"
    );
}
