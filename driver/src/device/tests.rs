use std::fs;
use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::resource::v1::{DeviceAttribute, DeviceTaint};

use super::attribute::{ATTRIBUTES, CAPACITIES, MOST_BYTES, MOST_PER_DEVICE, documentation};
use super::*;
use crate::health::{Class, Fault};
use crate::inventory::{
    Ecc, Inventory, Memory, Mig, Neighbour, NvLink, NvLinkRemote, NvLinkRemoteKind, Pci, PciAddress, Version,
    Versions, Via,
};
use crate::node::Yielding;

const DRIVER: &str = "gpu.example.com";

fn at(bus: u8) -> PciAddress {
    PciAddress { domain: 0, bus, device: 0, function: 0 }
}

/// An H100 SXM5 after the published tables.
fn h100(bus: u8, numa_node: Option<u32>) -> Gpu {
    Gpu {
        name: Some(at(bus).gpu_name()),
        usable: true,
        uuid: Some("GPU-9f3c1c5e-7d0b-4a57-8f1e-2b6c0a9d4e13".into()),
        product_name: Some("NVIDIA H100 80GB HBM3".into()),
        brand: Some("Nvidia".into()),
        architecture: Some("Hopper".into()),
        cuda_compute_capability: Version::of_text("9.0"),
        module_id: Some(1),
        pci: Pci { address: Some(at(bus)), root: Some("pci0000:15".into()), ..Pci::default() },
        memory: Some(Memory { total_bytes: 81_559 << 20, reserved_bytes: 450 << 20 }),
        cores: Some(16_896),
        multiprocessors: Some(132),
        ecc: Some(Ecc { enabled: true, pending: true }),
        nvlink: Some(NvLink {
            links: 18,
            active: 17,
            generation: Some(4),
            version_code: Some(7),
            remotes: vec![],
        }),
        numa_node,
        ..Gpu::default()
    }
}

fn view(gpus: Vec<Gpu>) -> View {
    let versions = Versions {
        driver: Version::of_text("570.170.01"),
        nvml: Version::of_text("12.570.170.01"),
        cuda: Version::of_cuda(12_080),
    };
    View { inventory: Inventory { versions, gpus, ..Inventory::default() }, ..View::default() }
}

fn names(devices: &[Device]) -> Vec<&str> {
    devices.iter().map(|device| device.name.as_str()).collect()
}

fn fault(class: Class) -> Fault {
    let since = Timestamp::from_second(1_700_000_000).unwrap();
    Fault {
        class,
        cause: "xid-79".into(),
        message: "the GPU fell off the bus; reboot the node".into(),
        since,
    }
}

#[test]
fn an_h100_has_the_values_that_the_documentation_shows() {
    let devices = devices(DRIVER, &view(vec![h100(0x1b, Some(0))]), Faulty::Tainted);
    let [device] = devices.as_slice() else { panic!("{devices:?}") };
    assert_eq!(device.name, "gpu-0000-1b-00-0");
    let attributes = device.attributes.as_ref().unwrap();
    let shown = |value: &DeviceAttribute| match value {
        DeviceAttribute { string: Some(text), .. } | DeviceAttribute { version: Some(text), .. } => {
            text.clone()
        }
        DeviceAttribute { int: Some(number), .. } => number.to_string(),
        DeviceAttribute { bool: Some(flag), .. } => flag.to_string(),
        other => panic!("{other:?}"),
    };
    for attribute in ATTRIBUTES {
        assert_eq!(shown(&attributes[attribute.name]), attribute.example, "{}", attribute.name);
    }
    let capacity = device.capacity.as_ref().unwrap();
    for known in CAPACITIES {
        assert_eq!(capacity[known.name].value.0, known.example, "{}", known.name);
    }
    assert_eq!(attributes.len() + capacity.len(), ATTRIBUTES.len() + CAPACITIES.len());
    assert_eq!(device.taints, None);
}

#[test]
fn devices_that_the_driver_keeps_away_from_are_tainted_besides_their_faults() {
    let since = Timestamp::from_second(1_700_000_000).unwrap();
    let mut view = view(vec![h100(0x1b, Some(0)), h100(0x43, Some(0))]);
    view.yielding = Some(Yielding { reason: "the driver is exchanged".into(), since, open: None });
    view.faults.insert("gpu-0000-1b-00-0".into(), vec![fault(Class::Reset)]);
    let taints = |faulty| {
        let devices = devices(DRIVER, &view, faulty).into_iter();
        let taint = |taint: DeviceTaint| format!("{}={:?}:{}", taint.key, taint.value, taint.effect);
        let shown = devices
            .map(|device| (device.name, device.taints.into_iter().flatten().map(taint).collect::<Vec<_>>()));
        shown.collect::<std::collections::BTreeMap<_, _>>()
    };
    let fault = format!("{DRIVER}/fault=Some(\"reset\"):NoSchedule");
    let yielding = format!("{DRIVER}/yielding=None:NoSchedule");
    let wanted = [
        ("gpu-0000-1b-00-0".to_owned(), vec![fault, yielding.clone()]),
        ("gpu-0000-43-00-0".to_owned(), vec![yielding]),
    ];
    assert_eq!(taints(Faulty::Tainted), wanted.into());
    assert_eq!(taints(Faulty::LeftOut), [].into());
}

#[test]
fn devices_of_an_earlier_plugin_are_tainted_while_this_one_keeps_away() {
    let since = Timestamp::from_second(1_700_000_000).unwrap();
    let yielding = Yielding { reason: "the driver is exchanged".into(), since, open: None };
    let mut before = view(vec![h100(0x1b, Some(0)), h100(0x43, Some(0))]);
    before.faults.insert("gpu-0000-1b-00-0".into(), vec![fault(Class::Reset)]);
    let published = devices(DRIVER, &before, Faulty::Tainted);
    before.yielding = Some(yielding.clone());
    // As if it had been asked to keep away when it knew the GPUs.
    let wanted = devices(DRIVER, &before, Faulty::Tainted);
    assert_ne!(wanted, published);
    assert_eq!(kept_away_from(DRIVER, published.clone(), &yielding, Faulty::Tainted), wanted);
    assert_eq!(kept_away_from(DRIVER, wanted.clone(), &yielding, Faulty::Tainted), wanted);
    assert_eq!(kept_away_from(DRIVER, published, &yielding, Faulty::LeftOut), []);
}

/// The names under which NVIDIA's driver 25.8 publishes a whole GPU, and upstream's standard attributes.
#[test]
fn claims_written_for_nvidias_driver_find_what_they_ask_for() {
    let devices = devices(DRIVER, &view(vec![h100(0x1b, Some(0))]), Faulty::Tainted);
    let attributes = devices[0].attributes.as_ref().unwrap();
    for name in [
        "type",
        "uuid",
        "productName",
        "brand",
        "architecture",
        "cudaComputeCapability",
        "driverVersion",
        "cudaDriverVersion",
        "resource.kubernetes.io/pciBusID",
        "resource.kubernetes.io/pcieRoot",
        "resource.kubernetes.io/numaNode",
    ] {
        assert!(attributes.contains_key(name), "{name}");
    }
    assert!(devices[0].capacity.as_ref().unwrap().contains_key("memory"));
}

/// `ValidateResourceSlice` of Kubernetes: C identifiers of at most 32 bytes, a domain before some.
#[test]
fn the_tables_keep_within_the_apis_limits() {
    assert!(ATTRIBUTES.len() + CAPACITIES.len() <= MOST_PER_DEVICE);
    let names = ATTRIBUTES.iter().map(|known| known.name).chain(CAPACITIES.iter().map(|known| known.name));
    for name in names {
        let (domain, id) = name.split_once('/').unwrap_or(("", name));
        assert!(domain.is_empty() || domain == "resource.kubernetes.io", "{name}");
        assert!((1..=32).contains(&id.len()), "{name}");
        assert!(id.starts_with(|first: char| first.is_ascii_alphabetic()), "{name}");
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
    }
}

#[test]
fn what_is_not_known_is_absent_and_what_is_too_long_is_cut() {
    let long = Gpu {
        name: Some(at(1).gpu_name()),
        usable: true,
        product_name: Some(format!("{}é and more", "x".repeat(MOST_BYTES - 1))),
        ..Gpu::default()
    };
    let mut view = view(vec![long]);
    let build = "01.".repeat(20) + "1";
    view.inventory.versions.driver = Version::of_text(&format!("570.170.1.{build}"));
    view.inventory.versions.cuda = None;
    let devices = devices(DRIVER, &view, Faulty::Tainted);
    let attributes = devices[0].attributes.clone().unwrap();
    assert_eq!(attributes["productName"].string.as_deref(), Some("x".repeat(MOST_BYTES - 1).as_str()));
    assert_eq!(attributes["driverVersion"].version.as_deref(), Some("570.170.1"));
    assert_eq!(
        attributes.keys().map(String::as_str).collect::<Vec<_>>(),
        ["driverVersion", "productName", "type"]
    );
    assert_eq!(devices[0].capacity, None);
}

#[test]
fn only_whole_gpus_that_can_be_used_are_devices() {
    let good = h100(1, Some(0));
    let cases = [
        ("a good GPU", good.clone(), true),
        ("one that cannot be used", Gpu { usable: false, ..good.clone() }, false),
        ("one without a name", Gpu { name: None, ..good.clone() }, false),
        ("one in MIG mode", Gpu { mig: Mig { enabled: true, ..Mig::default() }, ..good.clone() }, false),
        (
            "one in MIG mode after its next reset",
            Gpu { mig: Mig { pending: true, ..Mig::default() }, ..good },
            true,
        ),
    ];
    for (name, gpu, published) in cases {
        assert_eq!(
            devices(DRIVER, &view(vec![gpu]), Faulty::Tainted).len(),
            usize::from(published),
            "{name}"
        );
    }
}

#[test]
fn a_faulty_gpu_is_tainted_or_left_out_and_its_neighbours_stay() {
    let mut view = view(vec![h100(1, Some(0)), h100(2, Some(0))]);
    view.faults.insert(at(1).gpu_name(), vec![fault(Class::Reset), fault(Class::Lost)]);
    let tainted = devices(DRIVER, &view, Faulty::Tainted);
    assert_eq!(names(&tainted), ["gpu-0000-01-00-0", "gpu-0000-02-00-0"]);
    let taints = tainted[0].taints.as_ref().unwrap();
    assert_eq!((taints[0].key.as_str(), taints[0].value.as_deref()), ("gpu.example.com/fault", Some("lost")));
    assert_eq!(taints.len(), 1);
    assert_eq!(tainted[1].taints, None);
    assert_eq!(names(&devices(DRIVER, &view, Faulty::LeftOut)), ["gpu-0000-02-00-0"]);
}

/// Two GPUs with `links` NVLinks between them.
fn bridge(gpus: &mut [Gpu], one: usize, other: usize, links: u32) {
    for (from, to) in [(one, other), (other, one)] {
        let address = gpus[to].pci.address;
        let nvlink = gpus[from].nvlink.as_mut().unwrap();
        nvlink.remotes.push(NvLinkRemote { kind: NvLinkRemoteKind::Gpu, address, links });
    }
}

fn between(gpus: &mut [Gpu], one: usize, other: usize, via: Via) {
    for (from, to) in [(one, other), (other, one)] {
        let address = gpus[to].pci.address.unwrap();
        gpus[from].topology.push(Neighbour { address, via });
    }
}

#[test]
fn neighbours_stand_together_whatever_order_nvml_lists_them_in() {
    let numa: Vec<Gpu> = [(1, Some(1)), (2, None), (3, Some(0)), (4, Some(1)), (5, Some(0))]
        .map(|(bus, node)| h100(bus, node))
        .into();
    let mut bridged: Vec<Gpu> = (1..=4).map(|bus| h100(bus, Some(0))).collect();
    bridge(&mut bridged, 0, 2, 12);
    bridge(&mut bridged, 1, 3, 12);
    let mut switched: Vec<Gpu> = (1..=4).map(|bus| h100(bus, Some(0))).collect();
    between(&mut switched, 0, 3, Via::Switch);
    between(&mut switched, 0, 1, Via::HostBridge);
    between(&mut switched, 1, 2, Via::Switch);
    let mut both: Vec<Gpu> = (1..=3).map(|bus| h100(bus, Some(0))).collect();
    between(&mut both, 0, 1, Via::Switch);
    bridge(&mut both, 0, 2, 12);

    let cases = [
        ("by NUMA node, those of none last", numa, vec![3, 5, 1, 4, 2]),
        ("pairs over NVLink bridges", bridged, vec![1, 3, 2, 4]),
        ("PCI switches", switched, vec![1, 4, 2, 3]),
        ("NVLink before PCI", both, vec![1, 3, 2]),
    ];
    for (name, mut gpus, wanted) in cases {
        let wanted: Vec<String> = wanted.into_iter().map(|bus| at(bus).gpu_name()).collect();
        for _ in 0..gpus.len() {
            gpus.rotate_left(1);
            assert_eq!(names(&devices(DRIVER, &view(gpus.clone()), Faulty::Tainted)), wanted, "{name}");
        }
        gpus.reverse();
        assert_eq!(names(&devices(DRIVER, &view(gpus), Faulty::Tainted)), wanted, "{name}, listed backwards");
    }
}

#[test]
fn the_page_for_users_is_that_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/attributes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, documentation()).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == documentation(),
        "{} is not what the tables say: run `UPDATE_DOCS=1 cargo test -p dra-driver`",
        path.display()
    );
}
