//! What the node offers: inventory and faults made into DRA devices, pools and ResourceSlices.
//!
//! ```text
//! View ──▶ GPUs that can be given away, in order ──▶ devices ──▶ slices of the pool ──▶ diff ──▶ writes
//!          (order)                                   (attribute, taint)   (slices)  existing ──▲
//! ```

pub mod attribute;
mod order;
pub mod slices;
pub mod taint;

use k8s_openapi::api::resource::v1::Device;

use crate::inventory::Gpu;
use crate::node::{View, Yielding};

/// What to do with devices that have a fault, or that the driver keeps away from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faulty {
    /// They are published with a taint.
    Tainted,
    /// They are left out: for an API server that drops taints.
    LeftOut,
}

/// The pool of a node's GPUs. Pool names are the driver's own: Kubernetes 1.36.0 to 1.36.2 confuses pools of equal
/// names of several drivers.
#[must_use]
pub fn gpu_pool(node: &str) -> String {
    format!("{node}/gpu")
}

/// The node's whole GPUs as devices, in the order in which the scheduler shall take them. GPUs that cannot be used
/// are left out, and so are those in MIG mode, which are no whole GPUs.
#[must_use]
pub fn devices(driver: &str, view: &View, faulty: Faulty) -> Vec<Device> {
    let whole = |gpu: &&Gpu| gpu.usable && !gpu.mig.enabled;
    let gpus = order::packed(view.inventory.gpus.iter().filter(whole).collect());
    gpus.into_iter().filter_map(|gpu| device(driver, view, gpu, faulty)).collect()
}

/// Devices of an earlier plugin, while the driver keeps away from GPUs of which this one knows nothing.
#[must_use]
pub fn kept_away_from(
    driver: &str,
    published: Vec<Device>,
    yielding: &Yielding,
    faulty: Faulty,
) -> Vec<Device> {
    if faulty == Faulty::LeftOut {
        return Vec::new();
    }
    let taint = taint::of_yielding(driver, yielding);
    let tainted = |device: Device| {
        let mut taints = device.taints.unwrap_or_default();
        taints.retain(|known| known.key != taint.key);
        taints.push(taint.clone());
        Device { taints: Some(taints), ..device }
    };
    published.into_iter().map(tainted).collect()
}

/// None for a GPU without a name, or that needs a taint where such are left out.
fn device(driver: &str, view: &View, gpu: &Gpu, faulty: Faulty) -> Option<Device> {
    let name = gpu.name.clone()?;
    let of_faults = taint::of_faults(driver, view.faults_of(&name));
    let of_yielding = view.yielding.as_ref().map(|yielding| taint::of_yielding(driver, yielding));
    let taints: Vec<_> = of_faults.into_iter().chain(of_yielding).collect();
    if !taints.is_empty() && faulty == Faulty::LeftOut {
        return None;
    }
    Some(Device {
        name,
        attributes: Some(attribute::attributes(&view.inventory, gpu)),
        // The API server stores no empty map.
        capacity: Some(attribute::capacities(gpu)).filter(|known| !known.is_empty()),
        taints: Some(taints).filter(|taints| !taints.is_empty()),
        ..Device::default()
    })
}

#[cfg(test)]
mod tests;
