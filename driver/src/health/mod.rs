//! What is wrong with devices: NVIDIA's XID catalogue, recovery actions and lost GPUs, made into [`Fault`]s.
//!
//! A fault is taken back when its cause is gone:
//!
//! | fault | lifted when |
//! |---|---|
//! | `lost`, `silent` | the GPU answers again |
//! | `reset-required` | NVML no longer says so |
//! | `recovery-action` | the driver recommends nothing any more |
//! | `xid-…` | the GPU was initialised anew since: it was lost and answers again, its slot holds another GPU, or the driver was reloaded; or the driver, which had recommended a recovery action, recommends nothing any more |
//!
//! A GPU that was merely `silent` was not initialised anew: what was wrong with it still is. XIDs are
//! remembered by this process alone; what matters of them after its restart is the driver's recommendation.

mod catalogue;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use catalogue::{Advice, advice};

/// Something that is wrong with a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// What has to be done to cure it.
    pub class: Class,
    /// A short name for what was seen, of letters, digits and `-`: "xid-79", "lost", "recovery-action".
    pub cause: String,
    /// For people: what is wrong, and what to do.
    pub message: String,
    /// When it was seen first, in whole seconds.
    pub since: Timestamp,
}

/// What cures a fault, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// The GPU has to be reset.
    Reset,
    /// The node has to be rebooted.
    Reboot,
    /// The GPU does not answer or is gone.
    Lost,
}

impl Class {
    /// All classes, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Reset, Self::Reboot, Self::Lost];

    /// The word for it in taints, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Reboot => "reboot",
            Self::Lost => "lost",
        }
    }
}

/// Something that was seen of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The driver reported an XID.
    Xid(u64),
    /// It answers; with `nvmlDeviceGpuRecoveryAction_t`, if the driver knows of such.
    Answers {
        /// What the driver recommends.
        recovery_action: Option<u32>,
    },
    /// It is gone, or NVML says that it is lost. Why, for people.
    Lost(String),
    /// It did not answer in time. Why, for people.
    Silent(String),
    /// NVML says that it needs a reset.
    NeedsReset,
    /// It was initialised anew: another GPU sits in its slot, or the driver was reloaded.
    Renewed,
}

/// The faults of a node's devices.
#[derive(Clone, Debug, Default)]
pub struct Health {
    devices: BTreeMap<String, Vec<Fault>>,
}

const LOST: &str = "lost";
const SILENT: &str = "silent";
const NEEDS_RESET: &str = "reset-required";
const RECOVERY_ACTION: &str = "recovery-action";
const XID: &str = "xid-";

impl Health {
    /// Takes in what was seen of a device. Says whether its faults changed.
    pub fn apply(&mut self, device: &str, news: &News, now: Timestamp) -> bool {
        let faults = self.devices.entry(device.to_owned()).or_default();
        let before = faults.clone();
        take_in(faults, news, now);
        // The worst first, so that a list cut short still shows what matters.
        faults.sort_by(|one, other| other.class.cmp(&one.class).then_with(|| one.cause.cmp(&other.cause)));
        let changed = *faults != before;
        if faults.is_empty() {
            self.devices.remove(device);
        }
        changed
    }

    /// The faults, by device. A device without an entry is well.
    #[must_use]
    pub fn faults(&self) -> &BTreeMap<String, Vec<Fault>> {
        &self.devices
    }

    /// Whether the device is known to be lost or silent.
    #[must_use]
    pub fn is_away(&self, device: &str) -> bool {
        let faults = self.devices.get(device).map_or(&[][..], Vec::as_slice);
        faults.iter().any(|fault| fault.class == Class::Lost)
    }

    /// Forgets all devices but these.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.devices.retain(|device, _| keep(device));
    }
}

fn take_in(faults: &mut Vec<Fault>, news: &News, now: Timestamp) {
    let is = |cause: &'static str| move |fault: &Fault| fault.cause == cause;
    match news {
        News::Xid(xid) => {
            if let Advice::Fault(class) = advice(*xid) {
                let meaning = catalogue::meaning(*xid).unwrap_or("unknown error");
                enter(
                    faults,
                    class,
                    &format!("{XID}{xid}"),
                    format!("XID {xid}: {meaning}; {}", remedy(class)),
                    now,
                );
            }
        }
        News::Answers { recovery_action } => {
            if faults.iter().any(is(LOST)) {
                faults.clear();
            }
            faults.retain(|fault| fault.cause != SILENT && fault.cause != NEEDS_RESET);
            match recovery_action {
                None => {}
                Some(0) if faults.iter().any(is(RECOVERY_ACTION)) => {
                    faults.retain(|fault| fault.cause != RECOVERY_ACTION && !fault.cause.starts_with(XID));
                }
                Some(0) => {}
                Some(action) => {
                    let (class, message) = recommended(*action);
                    enter(faults, class, RECOVERY_ACTION, message, now);
                }
            }
        }
        News::Lost(reason) => {
            faults.retain(|fault| fault.cause != SILENT && fault.cause != NEEDS_RESET);
            if !faults.iter().any(is(LOST)) {
                enter(faults, Class::Lost, LOST, format!("{reason}; {}", remedy(Class::Lost)), now);
            }
        }
        News::Silent(reason) => {
            if !faults.iter().any(|fault| fault.class == Class::Lost) {
                enter(faults, Class::Lost, SILENT, format!("{reason}; {}", remedy(Class::Lost)), now);
            }
        }
        News::NeedsReset => {
            faults.retain(|fault| fault.class != Class::Lost);
            let message = format!("NVML says that the GPU needs a reset; {}", remedy(Class::Reset));
            enter(faults, Class::Reset, NEEDS_RESET, message, now);
        }
        News::Renewed => faults.clear(),
    }
}

/// Enters a fault, or what has changed of it. One that is known keeps its time, unless its class changes.
fn enter(faults: &mut Vec<Fault>, class: Class, cause: &str, message: String, now: Timestamp) {
    let since = Timestamp::from_second(now.as_second()).unwrap_or(now);
    match faults.iter_mut().find(|fault| fault.cause == cause) {
        Some(known) if known.class == class => known.message = message,
        Some(known) => *known = Fault { class, cause: cause.to_owned(), message, since },
        None => faults.push(Fault { class, cause: cause.to_owned(), message, since }),
    }
}

/// Class and text of `nvmlDeviceGpuRecoveryAction_t` (nvml.h; 5 to 7 since NVML 13). One that this program does
/// not know keeps claims away until a reset: the driver recommends nothing to a healthy GPU.
fn recommended(action: u32) -> (Class, String) {
    let (class, what) = match action {
        1 => (Class::Reset, "a reset of the GPU"),
        2 => (Class::Reboot, "a reboot of the node"),
        3 => (Class::Reset, "to end all programs with peer-to-peer traffic"),
        4 => (Class::Reset, "to drain and reset the GPU"),
        5 => (Class::Reset, "to recover the IMEX domain"),
        6 => (Class::Reset, "a reset of the GPU's bus"),
        7 => (Class::Reboot, "a reboot of the system"),
        _ => (Class::Reset, "an action that this program does not know"),
    };
    (class, format!("the driver recommends {what} (recovery action {action}); {}", remedy(class)))
}

fn remedy(class: Class) -> &'static str {
    match class {
        Class::Reset => "drain the GPU and reset it (nvidia-smi --gpu-reset), or reboot the node",
        Class::Reboot => "drain the node and reboot it",
        Class::Lost => "see the kernel log for 'NVRM' and 'Xid'; drain the node and reboot it",
    }
}

#[cfg(test)]
mod tests;
