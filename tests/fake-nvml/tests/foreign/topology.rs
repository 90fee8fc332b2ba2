//! `nvidia-smi topo -m`.

use fake_node::description::Description;

use crate::smi_text;
use crate::support::TestNode;

/// The table's cells, row by row, without the "X" of a GPU with itself; then CPUs and NUMA node of each row.
fn table(node: &TestNode) -> (Vec<Vec<String>>, Vec<(String, String)>) {
    let text = smi_text(node, &["topo", "-m"]);
    let rows = text.lines().filter(|line| line.starts_with("GPU"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split('\t').map(str::trim).collect()).collect();
    let gpus = rows.len();
    let cells = |row: &Vec<&str>| row[1..=gpus].iter().map(|cell| (*cell).to_owned()).collect();
    let place = |row: &Vec<&str>| (row[gpus + 1].to_owned(), row[gpus + 2].to_owned());
    (rows.iter().map(cells).collect(), rows.iter().map(place).collect())
}

/// `all` GPUs in two groups, of which the first has `first`: what pairs of one group have between them, and pairs of
/// two groups.
fn groups(first: usize, all: usize, within: &str, between: &str) -> Vec<Vec<String>> {
    let cell = |row: usize, column: usize| match (row < first) == (column < first) {
        _ if row == column => "X",
        true => within,
        false => between,
    };
    (0..all).map(|row| (0..all).map(|column| cell(row, column).to_owned()).collect()).collect()
}

/// A DGX H100's table is published: all pairs NV18, CPUs and NUMA nodes as here. The H200's is the same.
#[test]
fn all_gpus_of_an_hgx_board_are_linked_by_18_links() {
    for description in ["hgx-h100-8", "hgx-h200-8"] {
        let (cells, places) = table(&TestNode::new(description));
        assert_eq!(cells, groups(8, 8, "NV18", "-"), "{description}");
        let place = |cpus: &str, numa: &str| (cpus.to_owned(), numa.to_owned());
        let expected = [vec![place("0-55,112-167", "0"); 4], vec![place("56-111,168-223", "1"); 4]].concat();
        assert_eq!(places, expected, "{description}");
    }
}

/// A bridge joins two H100 NVL by 12 links, two H200 NVL by 18, and four H200 NVL by 6 each.
#[test]
fn bridged_boards_are_linked_by_their_bridge() {
    assert_eq!(table(&TestNode::new("h100-nvl-2")).0, groups(2, 2, "NV12", "-"));
    assert_eq!(table(&TestNode::new("h200-nvl-8")).0, groups(4, 8, "NV6", "SYS"));
    let mut mixed = groups(2, 4, "NODE", "SYS");
    (mixed[2][3], mixed[3][2]) = ("NV18".into(), "NV18".into());
    assert_eq!(table(&TestNode::new("mixed")).0, mixed);
}

/// Published output of `nvidia-smi nvlink -s` on H100: 26.562 GB/s each.
#[test]
fn each_link_has_the_published_speed() {
    for (description, gpus, links) in [("hgx-h100-8", 8, 18), ("h100-nvl-2", 2, 12), ("h100-pcie-4", 4, 0)] {
        let text = smi_text(&TestNode::new(description), &["nvlink", "-s"]);
        let up = text
            .lines()
            .filter(|line| line.trim_start().starts_with("Link ") && line.ends_with(": 26.562 GB/s"));
        assert_eq!(up.count(), gpus * links, "{description}: {text}");
    }
}

#[test]
fn boards_without_links_meet_where_the_pci_tree_joins_them() {
    assert_eq!(table(&TestNode::new("h100-pcie-4")).0, groups(2, 4, "NODE", "SYS"));

    // What nvidia-smi's legend says of each: GPUs 0 and 1 are below one switch (PIX), 2 is below another switch
    // behind it (PXB), 3 is at another root port of the host bridge (PHB), 4 is at another host bridge of the NUMA
    // node (NODE), 5 at the other NUMA node (SYS).
    let paths: [(&str, &str, u8, &[&str]); 6] = [
        ("18", "15", 0, &["15:01.0", "16:00.0", "17:00.0"]),
        ("19", "15", 0, &["15:01.0", "16:00.0", "17:01.0"]),
        ("1c", "15", 0, &["15:01.0", "16:00.0", "17:02.0", "1a:00.0", "1b:00.0"]),
        ("20", "15", 0, &["15:02.0"]),
        ("3a", "37", 0, &["37:01.0"]),
        ("9a", "97", 1, &["97:01.0"]),
    ];
    let mut text = String::from("driver: \"550.163.01\"\nnuma_nodes: [\"0-31\", \"32-63\"]\ngpus:\n");
    for (index, (bus, root, numa, bridges)) in paths.iter().enumerate() {
        let bridges: Vec<String> = bridges.iter().map(|bridge| format!("\"0000:{bridge}\"")).collect();
        text += &format!(
            "  - board: h100-pcie-80gb\n    pci: \"0000:{bus}:00.0\"\n    \
             uuid: GPU-00000000-0000-4000-8000-00000000000{index}\n    serial: \"165000000000{index}\"\n    \
             numa: {numa}\n    pcie_root: \"pci0000:{root}\"\n    bridges: [{}]\n",
            bridges.join(", ")
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tree.yaml");
    std::fs::write(&file, text).unwrap();
    let node = TestNode::create(&Description::load(file.to_str().unwrap()).unwrap());
    let expected = [
        ["X", "PIX", "PXB", "PHB", "NODE", "SYS"],
        ["PIX", "X", "PXB", "PHB", "NODE", "SYS"],
        ["PXB", "PXB", "X", "PHB", "NODE", "SYS"],
        ["PHB", "PHB", "PHB", "X", "NODE", "SYS"],
        ["NODE", "NODE", "NODE", "NODE", "X", "SYS"],
        ["SYS", "SYS", "SYS", "SYS", "SYS", "X"],
    ];
    assert_eq!(table(&node).0, expected);
}
