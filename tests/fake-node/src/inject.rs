//! What can be done to a node while programs use it.

use std::fmt;

use thiserror::Error;

use crate::model::{Effect, Fault, Gpu, NodeState, PciAddress, Presence, Process, event, is_gpu_uuid};
use crate::state_file::MAX_FAULTS;
use crate::symbols::Function;

/// XID "GPU has fallen off the bus".
const XID_OFF_THE_BUS: u64 = 79;
/// XID "double bit ECC error".
const XID_DOUBLE_BIT: u64 = 48;
/// XID "GPU recovery action changed".
const XID_RECOVERY_ACTION: u64 = 154;

/// Which GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuSelector {
    /// By its position in the description.
    Slot(usize),
    /// By UUID.
    Uuid(String),
    /// By PCI address.
    Pci(PciAddress),
}

impl std::str::FromStr for GpuSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(slot) = text.parse() {
            Ok(Self::Slot(slot))
        } else if text.starts_with("GPU-") {
            Ok(Self::Uuid(text.to_owned()))
        } else {
            text.parse().map(Self::Pci).map_err(|_| {
                format!("'{text}' is no GPU: give its position (0), its UUID (GPU-…) or PCI address")
            })
        }
    }
}

impl fmt::Display for GpuSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(slot) => slot.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Pci(pci) => pci.fmt(f),
        }
    }
}

/// One thing done to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Injection {
    /// An XID, with GPU and compute instance if it concerns one.
    Xid {
        /// Where.
        gpu: GpuSelector,
        /// Its number.
        xid: u64,
        /// GPU instance and compute instance.
        instances: Option<(u32, u32)>,
    },
    /// The GPU stops answering (XID 79) but stays listed.
    Lost(GpuSelector),
    /// The GPU stops answering (XID 79) and is gone from the PCI bus.
    OffTheBus(GpuSelector),
    /// The GPU is back, after a reset or exchanged for another one.
    Returned {
        /// Where.
        gpu: GpuSelector,
        /// The UUID of the GPU that sits there now, if it is another one.
        uuid: Option<String>,
    },
    /// ECC errors.
    Ecc {
        /// Where.
        gpu: GpuSelector,
        /// How many corrected ones.
        corrected: u64,
        /// How many uncorrected ones.
        uncorrected: u64,
    },
    /// Rows of memory are remapped.
    RemappedRows {
        /// Where.
        gpu: GpuSelector,
        /// How many because of uncorrected errors.
        uncorrected: u32,
        /// Whether a remapping waits for a reset.
        pending: bool,
        /// Whether a remapping failed.
        failure: bool,
    },
    /// The driver recommends another recovery action.
    RecoveryAction {
        /// Where.
        gpu: GpuSelector,
        /// `nvmlDeviceGpuRecoveryAction_t`.
        action: u32,
    },
    /// The clocks change.
    ClockChange {
        /// Where.
        gpu: GpuSelector,
        /// `nvmlClocksEventReasons` from now on.
        reasons: u64,
    },
    /// Calls meet a fault.
    Fault {
        /// Name of the NVML function, or "*".
        call: String,
        /// Only calls for this GPU.
        gpu: Option<GpuSelector>,
        /// How many matching calls pass first: n − 1 for the nth.
        after: u64,
        /// How many calls meet it then; none for all.
        times: Option<u64>,
        /// What happens to them.
        effect: Effect,
    },
    /// One fault ends, or all. Hanging calls return.
    Clear(Option<u16>),
    /// All GPUs of the fabric register anew and are ready after some seconds.
    FabricInProgress {
        /// How long it takes.
        seconds: u64,
    },
    /// A program uses the GPU.
    ProcessStarts {
        /// Where.
        gpu: GpuSelector,
        /// The program.
        process: Process,
    },
    /// A program no longer uses the GPU.
    ProcessEnds {
        /// Where.
        gpu: GpuSelector,
        /// Its process id.
        pid: u32,
    },
    /// The library answers these bytes as the GPU's name.
    Name {
        /// Where.
        gpu: GpuSelector,
        /// Without the closing zero.
        bytes: Vec<u8>,
    },
    /// Clients' errors abort them from now on, or no longer do.
    Strict(bool),
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InjectError {
    /// The selector matches nothing.
    #[error("the node has no GPU {0}; it has {1}")]
    NoSuchGpu(GpuSelector, String),
    /// The function does not exist.
    #[error("there is no NVML function {0}; give its full name, e.g. nvmlDeviceGetName, or '*'")]
    NoSuchFunction(String),
    /// All numbers are taken.
    #[error("{MAX_FAULTS} faults are set already; clear some")]
    TooManyFaults,
    /// Nothing to clear.
    #[error("no fault {0} is set")]
    NoSuchFault(u16),
    /// No UUID that a GPU could have.
    #[error("'{0}' is not the UUID of a GPU; write GPU- and a UUID in lower case")]
    NoUuid(String),
    /// Another GPU has the UUID.
    #[error("the GPU at {1} has the UUID {0} already; choose another")]
    UuidTaken(String, PciAddress),
    /// Nothing to end.
    #[error("no process {1} uses the GPU {0}")]
    NoSuchProcess(GpuSelector, u32),
}

impl NodeState {
    /// The slot of a GPU.
    ///
    /// # Errors
    /// If there is none.
    pub fn slot(&self, selector: &GpuSelector) -> Result<usize, InjectError> {
        let matches = |slot: usize, gpu: &Gpu| match selector {
            GpuSelector::Slot(wanted) => *wanted == slot,
            GpuSelector::Uuid(uuid) => *uuid == gpu.uuid,
            GpuSelector::Pci(pci) => *pci == gpu.pci,
        };
        self.gpus.iter().enumerate().find(|(slot, gpu)| matches(*slot, gpu)).map(|(slot, _)| slot).ok_or_else(
            || {
                let present = self.gpus.iter().enumerate();
                let present: Vec<String> =
                    present.map(|(slot, gpu)| format!("{slot} ({}, {})", gpu.pci, gpu.uuid)).collect();
                let present = if present.is_empty() { "none".into() } else { present.join(", ") };
                InjectError::NoSuchGpu(selector.clone(), present)
            },
        )
    }

    /// Does one thing to the node. Answers the number of a fault that was set.
    ///
    /// # Errors
    /// If it names what is not there.
    pub fn apply(&mut self, injection: &Injection, now_ns: u64) -> Result<Option<u16>, InjectError> {
        match injection {
            Injection::Xid { gpu, xid, instances } => {
                let slot = self.slot(gpu)?;
                let instances = instances.unwrap_or((event::NO_INSTANCE, event::NO_INSTANCE));
                self.events.push(slot, event::XID, *xid, instances);
            }
            Injection::Lost(gpu) => self.lose(gpu, Presence::Lost)?,
            Injection::OffTheBus(gpu) => self.lose(gpu, Presence::Removed)?,
            Injection::Returned { gpu, uuid } => {
                let slot = self.slot(gpu)?;
                if let Some(uuid) = uuid {
                    self.check_new_uuid(slot, uuid)?;
                }
                let gpu = &mut self.gpus[slot];
                gpu.live.presence = Presence::Present;
                gpu.live.reset();
                gpu.live.recovery_action = 0;
                gpu.live.remapped.pending = false;
                if let Some(uuid) = uuid {
                    gpu.uuid.clone_from(uuid);
                }
            }
            Injection::Ecc { gpu, corrected, uncorrected } => {
                let slot = self.slot(gpu)?;
                let ecc = &mut self.gpus[slot].live.ecc;
                for count in [&mut ecc.volatile_corrected, &mut ecc.aggregate_corrected] {
                    *count = count.saturating_add(*corrected);
                }
                for count in [&mut ecc.volatile_uncorrected, &mut ecc.aggregate_uncorrected] {
                    *count = count.saturating_add(*uncorrected);
                }
                if *corrected > 0 {
                    self.happens(slot, event::SINGLE_BIT_ECC, 0);
                }
                if *uncorrected > 0 {
                    self.happens(slot, event::DOUBLE_BIT_ECC, 0);
                    self.happens(slot, event::XID, XID_DOUBLE_BIT);
                }
            }
            Injection::RemappedRows { gpu, uncorrected, pending, failure } => {
                let slot = self.slot(gpu)?;
                let rows = &mut self.gpus[slot].live.remapped;
                rows.uncorrected = rows.uncorrected.saturating_add(*uncorrected);
                rows.pending = *pending;
                rows.failure = *failure;
            }
            Injection::RecoveryAction { gpu, action } => {
                let slot = self.slot(gpu)?;
                self.gpus[slot].live.recovery_action = *action;
                self.happens(slot, event::XID, XID_RECOVERY_ACTION);
                if self.driver.branch() >= event::RECOVERY_ACTION_SINCE {
                    self.happens(slot, event::RECOVERY_ACTION, u64::from(*action));
                }
            }
            Injection::ClockChange { gpu, reasons } => {
                let slot = self.slot(gpu)?;
                self.gpus[slot].live.clock_event_reasons = *reasons;
                self.happens(slot, event::CLOCK, 0);
            }
            Injection::Fault { call, gpu, after, times, effect } => {
                if call != "*" && Function::find(call).is_none() {
                    return Err(InjectError::NoSuchFunction(call.clone()));
                }
                let slot = gpu.as_ref().map(|gpu| self.slot(gpu)).transpose()?;
                let counter = |id: u16| id % MAX_FAULTS;
                let id = (0..MAX_FAULTS)
                    .map(|step| self.next_fault.wrapping_add(step))
                    .find(|id| self.faults.iter().all(|fault| counter(fault.id) != counter(*id)))
                    .ok_or(InjectError::TooManyFaults)?;
                self.next_fault = id.wrapping_add(1);
                let fault =
                    Fault { id, call: call.clone(), slot, after: *after, times: *times, effect: *effect };
                self.faults.push(fault);
                return Ok(Some(id));
            }
            Injection::Clear(None) => self.faults.clear(),
            Injection::Clear(Some(id)) => {
                let before = self.faults.len();
                self.faults.retain(|fault| fault.id != *id);
                if self.faults.len() == before {
                    return Err(InjectError::NoSuchFault(*id));
                }
            }
            Injection::FabricInProgress { seconds } => {
                for gpu in self.gpus.iter_mut().filter(|gpu| gpu.board.fabric) {
                    gpu.live.fabric_complete_at_ns =
                        now_ns.saturating_add(seconds.saturating_mul(1_000_000_000));
                }
            }
            Injection::ProcessStarts { gpu, process } => {
                let slot = self.slot(gpu)?;
                self.gpus[slot].live.processes.push(process.clone());
            }
            Injection::ProcessEnds { gpu, pid } => {
                let slot = self.slot(gpu)?;
                let processes = &mut self.gpus[slot].live.processes;
                let before = processes.len();
                processes.retain(|process| process.pid != *pid);
                if processes.len() == before {
                    return Err(InjectError::NoSuchProcess(gpu.clone(), *pid));
                }
            }
            Injection::Name { gpu, bytes } => {
                let slot = self.slot(gpu)?;
                self.gpus[slot].live.name_bytes = Some(bytes.clone());
            }
            Injection::Strict(strict) => self.strict = *strict,
        }
        Ok(None)
    }

    fn check_new_uuid(&self, slot: usize, uuid: &str) -> Result<(), InjectError> {
        if !is_gpu_uuid(uuid) {
            return Err(InjectError::NoUuid(uuid.to_owned()));
        }
        let mut others = self.gpus.iter().enumerate().filter(|(other, _)| *other != slot);
        match others.find(|(_, gpu)| gpu.uuid == uuid) {
            Some((_, gpu)) => Err(InjectError::UuidTaken(uuid.to_owned(), gpu.pci)),
            None => Ok(()),
        }
    }

    fn lose(&mut self, gpu: &GpuSelector, presence: Presence) -> Result<(), InjectError> {
        let slot = self.slot(gpu)?;
        self.gpus[slot].live.presence = presence;
        self.happens(slot, event::XID, XID_OFF_THE_BUS);
        Ok(())
    }

    fn happens(&mut self, slot: usize, kind: u64, data: u64) {
        self.events.push(slot, kind, data, (event::NO_INSTANCE, event::NO_INSTANCE));
    }
}
