//! Attributes and capacities: one table of each, from which devices and documentation are made.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::resource::v1::{DeviceAttribute, DeviceCapacity};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::inventory::{Gpu, Inventory, Version};
use crate::quantity;

/// The most attributes and capacities together that the API server takes in one device.
pub const MOST_PER_DEVICE: usize = 32;
/// The most bytes that the API server takes in a string or version.
pub const MOST_BYTES: usize = 64;

/// An attribute of devices.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Its name. Without a domain it is in the driver's.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// What it says.
    pub meaning: &'static str,
    /// What an H100 has there.
    pub example: &'static str,
    value: fn(&Inventory, &Gpu) -> Option<Value>,
}

/// A capacity of devices.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Its name, in the driver's domain.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// What an H100 has there.
    pub example: &'static str,
    value: fn(&Gpu) -> Option<Quantity>,
}

/// The type of an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text of at most 64 bytes; longer ones are cut.
    Text,
    /// A whole number.
    Int,
    /// True or false.
    Bool,
    /// A semantic version.
    Version,
}

/// An attribute's value.
enum Value {
    Text(String),
    Int(i64),
    Bool(bool),
    Version(semver::Version),
}

/// The attributes. Those without a domain that NVIDIA's driver has as well bear its names.
pub const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "type",
        kind: Kind::Text,
        meaning: "What the device is. Whole GPUs are `gpu`.",
        example: "gpu",
        value: |_, _| Some(Value::Text("gpu".to_owned())),
    },
    Attribute {
        name: "uuid",
        kind: Kind::Text,
        meaning: "The GPU's UUID, as `nvidia-smi -L` shows it.",
        example: "GPU-9f3c1c5e-7d0b-4a57-8f1e-2b6c0a9d4e13",
        value: |_, gpu| text(gpu.uuid.as_deref()),
    },
    Attribute {
        name: "productName",
        kind: Kind::Text,
        meaning: "The product's name.",
        example: "NVIDIA H100 80GB HBM3",
        value: |_, gpu| text(gpu.product_name.as_deref()),
    },
    Attribute {
        name: "brand",
        kind: Kind::Text,
        meaning: "The product's brand.",
        example: "Nvidia",
        value: |_, gpu| text(gpu.brand.as_deref()),
    },
    Attribute {
        name: "architecture",
        kind: Kind::Text,
        meaning: "The GPU's architecture.",
        example: "Hopper",
        value: |_, gpu| text(gpu.architecture.as_deref()),
    },
    Attribute {
        name: "cudaComputeCapability",
        kind: Kind::Version,
        meaning: "The CUDA compute capability.",
        example: "9.0.0",
        value: |_, gpu| version(gpu.cuda_compute_capability.as_ref()),
    },
    Attribute {
        name: "driverVersion",
        kind: Kind::Version,
        meaning: "The version of NVIDIA's kernel driver: 570.170.01 is 570.170.1.",
        example: "570.170.1",
        value: |inventory, _| version(inventory.versions.driver.as_ref()),
    },
    Attribute {
        name: "cudaDriverVersion",
        kind: Kind::Version,
        meaning: "The newest CUDA that the kernel driver runs.",
        example: "12.8.0",
        value: |inventory, _| version(inventory.versions.cuda.as_ref()),
    },
    Attribute {
        name: "cores",
        kind: Kind::Int,
        meaning: "The number of CUDA cores.",
        example: "16896",
        value: |_, gpu| int(gpu.cores),
    },
    Attribute {
        name: "eccEnabled",
        kind: Kind::Bool,
        meaning: "Whether the memory corrects errors (ECC).",
        example: "true",
        value: |_, gpu| gpu.ecc.map(|ecc| Value::Bool(ecc.enabled)),
    },
    Attribute {
        name: "gpuModuleID",
        kind: Kind::Int,
        meaning: "The position on an HGX baseboard, from 1. Absent elsewhere.",
        example: "1",
        value: |_, gpu| int(gpu.module_id),
    },
    Attribute {
        name: "nvlinkLinks",
        kind: Kind::Int,
        meaning: "How many NVLinks the GPU has, whether they are up or not. Absent on boards without.",
        example: "18",
        value: |_, gpu| int(gpu.nvlink.as_ref().map(|nvlink| nvlink.links)),
    },
    Attribute {
        name: "nvlinkGeneration",
        kind: Kind::Int,
        meaning: "The NVLinks' generation. Absent on boards without.",
        example: "4",
        value: |_, gpu| int(gpu.nvlink.as_ref().and_then(|nvlink| nvlink.generation)),
    },
    Attribute {
        name: "resource.kubernetes.io/pciBusID",
        kind: Kind::Text,
        meaning: "The GPU's PCI address.",
        example: "0000:1b:00.0",
        value: |_, gpu| gpu.pci.address.map(|address| Value::Text(address.to_string())),
    },
    Attribute {
        name: "resource.kubernetes.io/pcieRoot",
        kind: Kind::Text,
        meaning: "The PCI host bridge that the GPU hangs on: equal for devices that reach each other without the CPU.",
        example: "pci0000:15",
        value: |_, gpu| text(gpu.pci.root.as_deref()),
    },
    Attribute {
        name: "resource.kubernetes.io/numaNode",
        kind: Kind::Int,
        meaning: "The GPU's NUMA node. Absent where the firmware names none.",
        example: "0",
        value: |_, gpu| int(gpu.numa_node),
    },
];

/// The capacities, with NVIDIA's names.
pub const CAPACITIES: &[Capacity] = &[
    Capacity {
        name: "memory",
        meaning: "All of the framebuffer memory, with what the driver keeps for itself.",
        example: "81559Mi",
        value: |gpu| gpu.memory.map(|memory| quantity::of_bytes(memory.total_bytes)),
    },
    Capacity {
        name: "multiprocessors",
        meaning: "The number of streaming multiprocessors.",
        example: "132",
        value: |gpu| gpu.multiprocessors.map(|number| quantity::of_count(number.into())),
    },
];

/// The attributes of a GPU. What is not known is absent.
pub(super) fn attributes(inventory: &Inventory, gpu: &Gpu) -> BTreeMap<String, DeviceAttribute> {
    let known = |attribute: &Attribute| {
        let value = (attribute.value)(inventory, gpu)?;
        Some((attribute.name.to_owned(), value.into()))
    };
    ATTRIBUTES.iter().filter_map(known).collect()
}

/// The capacities of a GPU. What is not known is absent.
pub(super) fn capacities(gpu: &Gpu) -> BTreeMap<String, DeviceCapacity> {
    let known = |capacity: &Capacity| {
        let value = (capacity.value)(gpu)?;
        Some((capacity.name.to_owned(), DeviceCapacity { value, request_policy: None }))
    };
    CAPACITIES.iter().filter_map(known).collect()
}

/// The tables as a page for users, in Markdown.
#[must_use]
pub fn documentation() -> String {
    let mut page = String::from(HEAD);
    page.push_str("\n## Attributes\n\n| Name | Type | An H100's | Meaning |\n|---|---|---|---|\n");
    for Attribute { name, kind, meaning, example, .. } in ATTRIBUTES {
        let kind = match kind {
            Kind::Text => "string",
            Kind::Int => "int",
            Kind::Bool => "bool",
            Kind::Version => "version",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{name}` | {kind} | `{example}` | {meaning} |");
    }
    page.push_str("\n## Capacities\n\n| Name | An H100's | Meaning |\n|---|---|---|\n");
    for Capacity { name, meaning, example, .. } in CAPACITIES {
        let _ = writeln!(page, "| `{name}` | `{example}` | {meaning} |");
    }
    page
}

const HEAD: &str = "\
# Attributes and capacities of devices

What a claim or a DeviceClass can ask for. Made from the driver's source; `UPDATE_DOCS=1 cargo test -p dra-driver`
writes it anew.

Names without a domain are in that of the driver's name, `eks-hybrid-dra` unless it was installed with another:

```yaml
selectors:
- cel:
    expression: |-
      device.attributes['eks-hybrid-dra'].productName.startsWith('NVIDIA H100') &&
      device.attributes['eks-hybrid-dra'].cudaDriverVersion.compareTo(semver('12.2.0')) >= 0 &&
      device.capacity['eks-hybrid-dra'].memory.compareTo(quantity('16Gi')) >= 0
```

An expression that reads an attribute which a device lacks ends the scheduling of the whole pod with an error. Where
the table says that an attribute can be absent, ask with a default:
`device.attributes['eks-hybrid-dra'].?gpuModuleID.orValue(0) == 1`. Any other attribute is absent only when NVML or the
kernel failed to tell; `dra-kubelet-plugin inspect` then says why.

Devices of one claim are kept together with `matchAttribute: resource.kubernetes.io/pcieRoot` or
`resource.kubernetes.io/numaNode`.
";

fn text(text: Option<&str>) -> Option<Value> {
    let text = text?;
    let end = (0..=MOST_BYTES.min(text.len())).rev().find(|&end| text.is_char_boundary(end))?;
    Some(Value::Text(text[..end].to_owned()))
}

fn int(number: Option<u32>) -> Option<Value> {
    Some(Value::Int(number?.into()))
}

/// Build metadata, which no comparison sees, goes where there is no room for it.
fn version(version: Option<&Version>) -> Option<Value> {
    let mut semantic = version?.semantic.clone();
    if semantic.to_string().len() > MOST_BYTES {
        semantic.build = semver::BuildMetadata::EMPTY;
    }
    Some(Value::Version(semantic))
}

impl From<Value> for DeviceAttribute {
    fn from(value: Value) -> Self {
        let none = Self::default();
        match value {
            Value::Text(text) => Self { string: Some(text), ..none },
            Value::Int(number) => Self { int: Some(number), ..none },
            Value::Bool(flag) => Self { bool: Some(flag), ..none },
            Value::Version(version) => Self { version: Some(version.to_string()), ..none },
        }
    }
}
