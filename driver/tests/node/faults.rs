//! One GPU's fault hides no other.

use std::time::Duration;

use dra_driver::inventory::{FabricState, Gpu, Inventory};
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::Effect;

use super::{Fake, LATE, gpu, messages};

/// The third GPU of the HGX H100.
const SICK: usize = 2;
const SICK_NAME: &str = "gpu-0000-52-00-0";

/// Time that a GPU has for its answers, where one of them never answers.
const SHORT: Duration = Duration::from_secs(3);

fn others_are_well(inventory: &Inventory) {
    all_well_but(inventory, SICK_NAME);
}

fn all_well_but(inventory: &Inventory, sick: &str) {
    let others: Vec<_> = inventory.gpus.iter().filter(|gpu| gpu.name.as_deref() != Some(sick)).collect();
    assert_eq!(others.len(), 7);
    for other in others {
        let name = other.name.as_deref().unwrap();
        assert!(other.usable, "{name}");
        assert!(other.topology.len() >= 6, "{name}: {:?}", other.topology);
        assert_eq!(messages(inventory, name), Vec::<&str>::new());
    }
}

#[test]
fn a_lost_gpu_is_named_and_the_others_are_well() {
    let fake = Fake::new("hgx-h100-8");
    fake.inject(&Injection::Lost(GpuSelector::Slot(SICK)));
    let inventory = fake.inventory();
    others_are_well(&inventory);

    let sick = gpu(&inventory, SICK_NAME);
    assert!(!sick.usable);
    // NVML says nothing of it, not even where it sits: known by elimination from the PCI bus.
    assert_eq!(sick.pci.root.as_deref(), Some("pci0000:48"));
    assert_eq!(sick.numa_node, Some(0));
    let [message] = messages(&inventory, SICK_NAME)[..] else { panic!("{:?}", inventory.problems) };
    assert!(message.contains("the GPU is lost") && message.contains("NVML 15"), "{message}");
    assert_eq!(inventory.problems.len(), 1);
}

#[test]
fn two_lost_gpus_cannot_be_told_apart_but_are_both_shown() {
    let fake = Fake::new("hgx-h100-8");
    fake.inject(&Injection::Lost(GpuSelector::Slot(SICK)));
    fake.inject(&Injection::Lost(GpuSelector::Slot(5)));
    let inventory = fake.inventory();
    assert_eq!(inventory.gpus.len(), 8);
    assert_eq!(inventory.gpus.iter().filter(|gpu| gpu.usable).count(), 6);
    for name in [SICK_NAME, "gpu-0000-c3-00-0"] {
        let [message] = messages(&inventory, name)[..] else { panic!("{:?}", inventory.problems) };
        assert!(message.contains("one of those that do not"), "{message}");
    }
}

#[test]
fn a_gpu_that_fell_off_the_bus_is_not_listed() {
    let fake = Fake::new("hgx-h100-8");
    fake.inject(&Injection::OffTheBus(GpuSelector::Slot(SICK)));
    let inventory = fake.inventory();
    assert_eq!(inventory.problems, [], "neither NVML nor the bus know it");
    assert_eq!(inventory.gpus.len(), 7);
}

#[test]
fn a_gpu_on_the_bus_that_nvml_does_not_list_is_a_problem() {
    let fake = Fake::new("hgx-h100-8");
    fake.node.update(|state| state.gpus[SICK].live.presence = fake_node::model::Presence::Removed).unwrap();
    let inventory = fake.inventory();
    assert_eq!(inventory.gpus.len(), 7);
    let [message] = messages(&inventory, SICK_NAME)[..] else { panic!("{:?}", inventory.problems) };
    assert!(message.contains("NVML does not list it") && message.contains("driver nvidia"), "{message}");
}

#[test]
fn a_hanging_gpu_costs_its_own_deadline_and_shows_what_was_read_before() {
    let fake = Fake::new("hgx-h100-8");
    fake.fault("nvmlDeviceGetPowerManagementDefaultLimit", SICK, Effect::Hang);
    let inventory = fake.inventory_within(SHORT);
    others_are_well(&inventory);

    let sick = gpu(&inventory, SICK_NAME);
    assert!(!sick.usable);
    assert_eq!(sick.product_name.as_deref(), Some("NVIDIA H100 80GB HBM3"));
    assert_eq!(sick.mig.most_devices, None);
    let [message] = messages(&inventory, SICK_NAME)[..] else { panic!("{:?}", inventory.problems) };
    assert!(message.contains("does not answer (reading powerDefault)"), "{message}");
    assert!(message.contains("within 3000 ms"), "{message}");

    let unread = sick.unread.iter().find(|unread| unread.field == "fabric").unwrap();
    assert_eq!(unread.reason, message);
    fake.inject(&Injection::Clear(None));
}

#[test]
fn a_gpu_that_hangs_at_the_first_look_is_found_by_elimination() {
    let fake = Fake::new("hgx-h100-8");
    // The GPUs are asked at once: whichever asks third.
    fake.inject(&Injection::Fault {
        call: "nvmlDeviceGetHandleByIndex_v2".into(),
        gpu: None,
        after: 2,
        times: Some(1),
        effect: Effect::Hang,
    });
    let inventory = fake.inventory_within(SHORT);
    let sick: Vec<&Gpu> = inventory.gpus.iter().filter(|gpu| !gpu.usable).collect();
    let [sick] = sick[..] else { panic!("{:?}", inventory.problems) };
    let name = sick.name.as_deref().unwrap();
    all_well_but(&inventory, name);
    let place = inventory.gpus.iter().position(|gpu| gpu.name == sick.name);
    assert_eq!(place, usize::try_from(sick.index).ok(), "NVML lists by PCI address, as we do");
    let [message] = messages(&inventory, name)[..] else { panic!("{:?}", inventory.problems) };
    assert!(message.contains("does not answer (reading handle)"), "{message}");
    fake.inject(&Injection::Clear(None));
}

#[test]
fn the_cuda_version_is_known_without_libcuda() {
    /// `NVML_ERROR_LIBRARY_NOT_FOUND`: what NVML says in a container that has the driver's root mounted elsewhere.
    const LIBRARY_NOT_FOUND: u32 = 12;
    let fake = Fake::new("hgx-h100-8");
    fake.inject(&Injection::Fault {
        call: "nvmlSystemGetCudaDriverVersion_v2".into(),
        gpu: None,
        after: 0,
        times: None,
        effect: Effect::Fail(LIBRARY_NOT_FOUND),
    });
    let inventory = fake.inventory();
    assert_eq!(inventory.versions.cuda.unwrap().semantic.to_string(), "12.4.0");
    assert_eq!(inventory.problems, []);
}

#[test]
fn one_failing_call_costs_one_value() {
    // Function, the field that it fills, whether the GPU can be used without.
    let cases = [
        ("nvmlDeviceGetSerial", "serial", true),
        ("nvmlDeviceGetEccMode", "ecc", true),
        ("nvmlDeviceGetGpuFabricInfoV", "fabric", true),
        ("nvmlDeviceGetUUID", "uuid", false),
        ("nvmlDeviceGetMemoryInfo_v2", "memory", false),
        ("nvmlDeviceGetPciInfo_v3", "pci.address", true),
    ];
    for (call, field, usable) in cases {
        let fake = Fake::new("hgx-h100-8");
        fake.fault(call, SICK, Effect::Fail(999));
        let inventory = fake.inventory();
        others_are_well(&inventory);
        let sick = gpu(&inventory, SICK_NAME);
        assert_eq!(sick.usable, usable, "{call}: {:?}", inventory.problems);
        if field == "pci.address" {
            // Known by elimination.
            assert_eq!(inventory.problems, [], "{call}");
            continue;
        }
        let [message] = messages(&inventory, SICK_NAME)[..] else { panic!("{:?}", inventory.problems) };
        assert!(message.starts_with(&format!("cannot read {field}: unknown error")), "{call}: {message}");
    }
}

#[test]
fn a_gpu_without_memory_cannot_be_used() {
    let fake = Fake::with("hgx-h100-8", |state| {
        state.gpus[SICK].board.memory_mib = 0;
        state.gpus[SICK].board.reserved_mib = 0;
    });
    let inventory = fake.inventory();
    others_are_well(&inventory);
    assert!(!gpu(&inventory, SICK_NAME).usable);
    let [message] = messages(&inventory, SICK_NAME)[..] else { panic!("{:?}", inventory.problems) };
    assert!(message.contains("0 bytes of memory"), "{message}");
}

#[test]
fn a_name_that_is_no_text_is_shown_as_far_as_it_is() {
    let fake = Fake::new("hgx-h100-8");
    fake.inject(&Injection::Name { gpu: GpuSelector::Slot(SICK), bytes: b"NVIDIA H100 \xff\xfe".to_vec() });
    let inventory = fake.inventory();
    others_are_well(&inventory);
    let sick = gpu(&inventory, SICK_NAME);
    assert!(sick.usable);
    assert_eq!(sick.product_name.as_deref(), Some("NVIDIA H100 \u{fffd}\u{fffd}"));
    let [message] = messages(&inventory, SICK_NAME)[..] else { panic!("{:?}", inventory.problems) };
    assert!(message.contains("productName is not UTF-8"), "{message}");
}

#[test]
fn a_machine_without_numa_is_no_problem() {
    let fake = Fake::with("h100-nvl-2", |state| {
        for gpu in &mut state.gpus {
            gpu.numa = -1;
        }
    });
    let inventory = fake.inventory();
    assert_eq!(inventory.problems, []);
    assert!(inventory.gpus.iter().all(|gpu| gpu.usable && gpu.numa_node.is_none()));
}

#[test]
fn a_fabric_in_progress_is_said_for_every_gpu() {
    let fake = Fake::new("hgx-h100-8");
    fake.inject(&Injection::FabricInProgress { seconds: 3600 });
    let inventory = fake.inventory();
    assert_eq!(inventory.problems.len(), 8);
    for gpu in &inventory.gpus {
        assert_eq!(gpu.fabric.as_ref().unwrap().state, FabricState::InProgress);
    }
}

#[test]
fn a_driver_that_is_not_loaded_is_said_with_the_gpus_that_wait_for_it() {
    let fake = Fake::new("h100-nvl-2");
    fake.node.unload_driver().unwrap();
    let inventory = fake.inventory();
    assert_eq!(inventory.gpus, []);
    let [driver, bus] = messages(&inventory, "node")[..] else { panic!("{:?}", inventory.problems) };
    assert!(
        driver.contains("the NVIDIA kernel driver is not loaded (NVML 9); load the kernel module"),
        "{driver}"
    );
    assert!(bus.contains("are on the PCI bus at 0000:"), "{bus}");
}

#[test]
fn a_slow_gpu_is_waited_for() {
    let fake = Fake::new("h100-nvl-2");
    fake.fault("nvmlDeviceGetUUID", 0, Effect::Delay(200));
    let inventory = fake.inventory_within(LATE);
    assert_eq!(inventory.problems, []);
    assert_eq!(inventory.gpus.len(), 2);
}
