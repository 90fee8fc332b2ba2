//! What a wrong description is answered with.

use fake_node::description::{Description, DescriptionError, Mistake};
use proptest::prelude::*;

use crate::GOOD;

fn mistake(text: &str) -> Mistake {
    match Description::parse(text, "my-node.yaml") {
        Err(DescriptionError::Mistake(mistake)) => *mistake,
        other => panic!("expected a mistake, got {other:?}\n{text}"),
    }
}

#[test]
fn a_mistake_is_named_with_file_line_and_field() {
    Description::parse(GOOD, "my-node.yaml").unwrap();
    // What is wrong; the line, its new text; the field and a word of the message.
    let table: &[(&str, usize, &str, &str, &str)] = &[
        ("no driver version", 1, "driver: newest", "driver", "not a driver version"),
        ("unknown branch", 1, "driver: \"999.1\"", "driver", "550"),
        ("no cpu list", 2, "numa_nodes: [\"0-\", \"32-63\"]", "numa_nodes[0]", "0-55,112-167"),
        ("backward cpu list", 2, "numa_nodes: [\"31-0\", \"32-63\"]", "numa_nodes[0]", "ascending"),
        ("huge cpu", 2, "numa_nodes: [\"4294967295\", \"0\"]", "numa_nodes[0]", "8192"),
        ("cpu in two nodes", 2, "numa_nodes: [\"0-31\", \"31-63\"]", "numa_nodes[1]", "CPU 31"),
        ("malformed switch", 3, "nvswitches: [\"5\"]", "nvswitches[0]", "not a PCI address"),
        ("unknown field of the node", 3, "switches: []", "switches", "nvswitches"),
        ("unknown board", 5, "  - board: h300", "gpus[0].board", "h200-nvl-141gb"),
        ("malformed PCI address", 6, "    pci: \"17\"", "gpus[0].pci", "not a PCI address"),
        ("impossible PCI address", 6, "    pci: \"0000:17:20.0\"", "gpus[0].pci", "not a PCI address"),
        ("GPU at a switch's address", 6, "    pci: \"0000:05:00.0\"", "gpus[0].pci", "line 3"),
        ("UUID without GPU-", 7, "    uuid: 3e66eced-62ae-4d6a-92c8-9d123d01a014", "gpus[0].uuid", "GPU-"),
        ("short UUID", 7, "    uuid: GPU-3e66eced-62ae-4d6a-92c8", "gpus[0].uuid", "lower case"),
        (
            "UUID in capitals",
            7,
            "    uuid: GPU-3E66ECED-62ae-4d6a-92c8-9d123d01a014",
            "gpus[0].uuid",
            "lower case",
        ),
        ("serial number with a letter", 8, "    serial: \"165296280761A\"", "gpus[0].serial", "13 digits"),
        ("NUMA node below -1", 9, "    numa: -2", "gpus[0].numa", "no NUMA node -2"),
        ("NUMA node without CPUs", 9, "    numa: 2", "gpus[0].numa", "no NUMA node 2"),
        ("huge NUMA node", 9, "    numa: 4294967296", "gpus[0].numa", "no NUMA node"),
        ("NUMA node in words", 9, "    numa: zero", "numa", "whole number"),
        ("another host bridge", 10, "    pcie_root: \"pci0000:17\"", "gpus[0].pcie_root", "pci0000:16"),
        (
            "malformed bridge",
            11,
            "    bridges: [\"0000:16:01.0\", \"x\"]",
            "gpus[0].bridges[1]",
            "PCI address",
        ),
        ("module 0", 12, "    module_id: 0", "gpus[0].module_id", "1 to 8"),
        ("module 9", 12, "    module_id: 9", "gpus[0].module_id", "1 to 8"),
        ("module twice", 21, "    module_id: 1", "gpus[1].module_id", "line 12"),
        ("PCI address twice", 15, "    pci: \"0000:17:00.0\"", "gpus[1].pci", "line 6"),
        ("UUID twice", 16, "    uuid: GPU-3e66eced-62ae-4d6a-92c8-9d123d01a014", "gpus[1].uuid", "line 7"),
        ("serial number twice", 17, "    serial: \"1652962807614\"", "gpus[1].serial", "line 8"),
        (
            "bridge to nothing",
            13,
            "    bridged_to: [{ pci: \"0000:66:00.0\", links: 12 }]",
            "gpus[0].bridged_to[0].pci",
            "no other GPU",
        ),
        (
            "bridge to itself",
            13,
            "    bridged_to: [{ pci: \"0000:17:00.0\", links: 12 }]",
            "gpus[0].bridged_to[0].pci",
            "no other GPU",
        ),
        ("one-way bridge", 22, "    overrides: {}", "gpus[0].bridged_to[0].pci", "back"),
        (
            "bridge of other width back",
            22,
            "    bridged_to: [{ pci: \"0000:17:00.0\", links: 6 }]",
            "gpus[0].bridged_to[0].pci",
            "back",
        ),
        (
            "more links than the board has",
            13,
            "    bridged_to: [{ pci: \"0000:65:00.0\", links: 13 }]",
            "gpus[0].bridged_to[0].links",
            "12 links",
        ),
        (
            "no links",
            13,
            "    bridged_to: [{ pci: \"0000:65:00.0\", links: 0 }]",
            "gpus[0].bridged_to[0].links",
            "0 links",
        ),
        ("no memory", 12, "    overrides: { memory_mib: 0 }", "gpus[0].overrides.memory_mib", "0 MiB"),
        (
            "more reserved than there is",
            12,
            "    overrides: { reserved_mib: 95831 }",
            "gpus[0].overrides.reserved_mib",
            "95830",
        ),
        (
            "less memory than is reserved",
            12,
            "    overrides: { memory_mib: 100 }",
            "gpus[0].overrides.memory_mib",
            "reserved",
        ),
        (
            "lowest power limit above the highest",
            12,
            "    overrides: { power: { default_w: 300, min_w: 400, max_w: 300 } }",
            "gpus[0].overrides.power",
            "min_w <= default_w",
        ),
        (
            "name too long for NVML",
            12,
            "    overrides: { name: 0123456789012345678901234567890123456789012345678901234567890123 }",
            "gpus[0].overrides.name",
            "63",
        ),
        ("unknown override", 12, "    overrides: { colour: green }", "colour", "memory_mib"),
        ("unknown field of a GPU", 12, "    modul: 1", "modul", "module_id"),
    ];
    for (case, line, text, field, says) in table {
        let mut lines: Vec<&str> = GOOD.lines().collect();
        lines[line - 1] = text;
        let mistake = mistake(&lines.join("\n"));
        assert_eq!(mistake.file, "my-node.yaml", "{case}");
        // A missing counterpart is reported where the bridge is described.
        let expected = match *case {
            "one-way bridge" | "bridge of other width back" => 13,
            _ => *line as u64,
        };
        assert_eq!(mistake.line, Some(expected), "{case}: {mistake}");
        assert!(mistake.column.is_some(), "{case}: {mistake}");
        assert_eq!(mistake.field, *field, "{case}: {mistake}");
        let message = mistake.to_string();
        assert!(message.starts_with(&format!("my-node.yaml:{expected}:")), "{case}: {message}");
        assert!(message.contains(says), "{case}: {message}");
        assert!(!mistake.remedy.is_empty(), "{case}");
    }
}

#[test]
fn what_is_no_yaml_is_named_with_its_place() {
    for (case, text) in [
        ("open bracket", GOOD.replacen("[\"0000:16:01.0\"]", "[", 1)),
        ("tab", GOOD.replacen("    numa: 0", "\tnuma: 0", 1)),
        ("list instead of a node", "- 1\n- 2\n".to_owned()),
        ("field twice", GOOD.replacen("    numa: 0", "    numa: 0\n    numa: 0", 1)),
        ("two documents", format!("{GOOD}---\n{GOOD}")),
        ("nothing", String::new()),
    ] {
        let mistake = mistake(&text);
        assert!(mistake.line.is_some(), "{case}: {mistake}");
        assert!(mistake.to_string().starts_with("my-node.yaml:"), "{case}: {mistake}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for (field, line) in [("driver", 1), ("uuid", 7), ("board", 5)] {
        let text: Vec<String> = GOOD
            .lines()
            .enumerate()
            .filter(|(index, _)| index + 1 != line)
            .map(|(_, text)| text.to_owned())
            .collect();
        let mut text = text.join("\n");
        if field == "board" {
            text = text.replacen("    pci: \"0000:17:00.0\"", "  - pci: \"0000:17:00.0\"", 1);
        }
        let mistake = mistake(&text);
        assert_eq!((mistake.field.as_str(), mistake.line.is_some()), (field, true), "{mistake}");
    }
}

#[test]
fn the_number_of_gpus_has_limits() {
    let none = Description::parse("driver: \"550.54.15\"\nnuma_nodes: [\"0-7\"]\ngpus: []\n", "none.yaml");
    assert_eq!(none.unwrap().state().gpus, []);

    let mut text = "driver: \"550.54.15\"\nnuma_nodes: [\"0-7\"]\ngpus:\n".to_owned();
    let mut at_limit = String::new();
    for number in 1..=33 {
        if number == 33 {
            at_limit.clone_from(&text);
        }
        text += &format!(
            "  - {{ board: h100-pcie-80gb, pci: \"{number:02x}:00.0\", numa: -1, pcie_root: \"pci0000:{number:02x}\", \
             serial: \"16500000000{number:02}\", uuid: GPU-00000000-0000-4000-8000-0000000000{number:02} }}\n"
        );
    }
    assert_eq!(Description::parse(&at_limit, "32.yaml").unwrap().state().gpus.len(), 32);
    let mistake = mistake(&text);
    assert_eq!((mistake.field.as_str(), mistake.line), ("gpus", Some(4)), "{mistake}");
    assert!(mistake.to_string().contains("at most 32"), "{mistake}");
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,200}") {
        let _ = Description::parse(&text, "any.yaml");
    }

    #[test]
    fn any_damage_gets_an_answer(at in 0..GOOD.len(), cut in 0..40_usize, insert in "[ -~\\n]{0,12}") {
        let end = (at + cut).min(GOOD.len());
        let text = format!("{}{insert}{}", &GOOD[..at], &GOOD[end..]);
        if let Err(error) = Description::parse(&text, "damaged.yaml") {
            prop_assert!(error.to_string().starts_with("damaged.yaml"), "{}", error);
        }
    }
}
