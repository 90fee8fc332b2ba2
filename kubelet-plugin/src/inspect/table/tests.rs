use dra_driver::inventory::{Memory, Mig, NvLink, Pci, Versions};
use dra_driver::nvml::library::{Place, Search};

use super::*;

fn h100(bus: &str, numa: Option<u32>) -> Gpu {
    let address = format!("0000:{bus}:00.0").parse().unwrap();
    Gpu {
        name: Some(format!("gpu-0000-{bus}-00-0")),
        usable: true,
        uuid: Some(format!("GPU-2aa6e085-1fc6-47c5-b115-300d483a0d{bus}")),
        product_name: Some("NVIDIA H100 80GB HBM3".into()),
        pci: Pci { address: Some(address), root: Some(format!("pci0000:{bus}")), ..Pci::default() },
        minor: Some(3),
        memory: Some(Memory { total_bytes: 81559 << 20, reserved_bytes: 450 << 20 }),
        nvlink: Some(NvLink {
            links: 18,
            active: 18,
            generation: Some(4),
            version_code: Some(7),
            remotes: vec![],
        }),
        numa_node: numa,
        mig: Mig { capable: true, ..Mig::default() },
        ..Gpu::default()
    }
}

fn node(gpus: Vec<Gpu>, problems: Vec<Problem>) -> Inventory {
    Inventory {
        library: Search {
            driver_root: "/run/nvidia/driver".into(),
            found: Some("/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.163.01".into()),
            looked: vec![],
        },
        versions: Versions {
            driver: Version::of_text("550.163.01"),
            nvml: Version::of_text("12.550.163.01"),
            cuda: Version::of_cuda(12040),
        },
        gpus,
        problems,
    }
}

fn problem(subject: &str, severity: Severity, message: &str) -> Problem {
    Problem { subject: subject.into(), severity, message: message.into() }
}

/// A healthy GPU, one of which little is known, one that is named in bytes that a terminal would obey.
fn mixed() -> Inventory {
    let silent = Gpu { name: Some("gpu-0000-43-00-0".into()), index: 1, ..Gpu::default() };
    let nowhere = Gpu { index: 2, ..Gpu::default() };
    let odd = Gpu {
        product_name: Some("NVIDIA \u{1b}[31m H100 of the very long product name".into()),
        mig: Mig { capable: true, enabled: true, ..Mig::default() },
        ..h100("52", None)
    };
    node(
        vec![h100("1b", Some(0)), silent, odd, nowhere],
        vec![
            problem(
                "gpu-0000-43-00-0",
                Severity::Unusable,
                "NVML does not answer (reading handle): nvml-gpu-1: 'read the inventory' did not return within \
                 10000 ms; see the kernel log for 'NVRM' and 'Xid'",
            ),
            problem("gpu-0000-52-00-0", Severity::Warning, "productName is not UTF-8"),
        ],
    )
}

#[test]
fn healthy_gpus_at_80_columns() {
    let text = render(&node(vec![h100("1b", Some(0)), h100("9d", Some(1))], vec![]), 80);
    insta::assert_snapshot!(text);
}

#[test]
fn sick_gpus_at_80_columns() {
    insta::assert_snapshot!(render(&mixed(), 80));
}

#[test]
fn sick_gpus_on_a_wide_terminal() {
    insta::assert_snapshot!(render(&mixed(), 200));
}

#[test]
fn a_driver_without_gpus() {
    insta::assert_snapshot!(render(&node(vec![], vec![]), 80));
}

#[test]
fn no_driver() {
    let place = |path: &str, outcome| Place { path: path.into(), outcome };
    let refused =
        "it is built for aarch64 (64-bit), this program for x86_64; give the driver root of the host itself";
    let inventory = Inventory {
        library: Search {
            driver_root: "/run/nvidia/driver".into(),
            found: None,
            looked: vec![
                place("/etc/ld.so.cache", Outcome::NotListed),
                place("/usr/lib64/libnvidia-ml.so.1", Outcome::Refused(refused.into())),
                place("/usr/lib/libnvidia-ml.so.1", Outcome::Missing),
            ],
        },
        problems: vec![problem(
            "node",
            Severity::Unusable,
            "no usable libnvidia-ml.so.1 under /run/nvidia/driver",
        )],
        ..Inventory::default()
    };
    insta::assert_snapshot!(render(&inventory, 80));
}

#[test]
fn no_line_is_longer_than_the_terminal_is_wide() {
    for width in [80, 100, 139, 140, 200] {
        for line in render(&mixed(), width).lines() {
            assert!(length(line) <= width, "{width}: {line}");
        }
    }
}

#[test]
fn nothing_reaches_the_terminal_that_it_would_obey() {
    let text = render(&mixed(), 80);
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
}
