//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use fake_node::inject::{GpuSelector, Injection};
use fake_node::layout::DeviceNodes;
use fake_node::model::{Effect, Process};
use fake_node::node::LibraryFile;

/// Creates fake GPU nodes and does things to them.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Names the descriptions that are built in.
    List,
    /// Lays out a node.
    Create {
        /// Name of a built-in description, or a YAML file.
        description: String,
        /// Folder for the node. Empty or absent.
        #[arg(long)]
        dir: PathBuf,
        /// Another driver version than the description's.
        #[arg(long)]
        driver_version: Option<String>,
        /// What the files in /dev shall be.
        #[arg(long, value_enum, default_value_t)]
        device_nodes: DeviceNodesArgument,
        /// The fake library, if it is not beside this program.
        #[arg(long, env = fake_node::node::LIBRARY_VARIABLE)]
        library: Option<PathBuf>,
    },
    /// Prints a node's state as JSON.
    Status {
        /// The node's folder.
        dir: PathBuf,
    },
    /// Prints the calls that programs made.
    Calls {
        /// The node's folder.
        dir: PathBuf,
        /// Only from this number on.
        #[arg(long, default_value_t = 0)]
        since: u64,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Does something to a node, also while programs use it.
    Inject {
        /// The node's folder.
        dir: PathBuf,
        #[command(subcommand)]
        what: Inject,
    },
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum DeviceNodesArgument {
    /// Devices if this process can make them, else records.
    #[default]
    Auto,
    /// Devices.
    Mknod,
    /// Regular files that say what the device would be.
    Record,
}

impl From<DeviceNodesArgument> for DeviceNodes {
    fn from(argument: DeviceNodesArgument) -> Self {
        match argument {
            DeviceNodesArgument::Auto => Self::Auto,
            DeviceNodesArgument::Mknod => Self::Mknod,
            DeviceNodesArgument::Record => Self::Record,
        }
    }
}

/// GPUs are named by position (0), UUID (GPU-…) or PCI address (0000:1b:00.0).
#[derive(Debug, Subcommand)]
pub(crate) enum Inject {
    /// An XID.
    Xid {
        gpu: GpuSelector,
        /// Its number.
        xid: u64,
        /// GPU instance that it concerns.
        #[arg(long, requires = "compute_instance")]
        gpu_instance: Option<u32>,
        /// Compute instance that it concerns.
        #[arg(long, requires = "gpu_instance")]
        compute_instance: Option<u32>,
    },
    /// The GPU stops answering but stays listed.
    Lost { gpu: GpuSelector },
    /// The GPU falls off the PCI bus.
    OffTheBus { gpu: GpuSelector },
    /// The GPU is back.
    Returned {
        gpu: GpuSelector,
        /// It is another GPU, with this UUID.
        #[arg(long)]
        uuid: Option<String>,
    },
    /// ECC errors, of one kind or both.
    #[command(group = ArgGroup::new("errors").required(true).multiple(true))]
    Ecc {
        gpu: GpuSelector,
        #[arg(long, default_value_t = 0, group = "errors")]
        corrected: u64,
        #[arg(long, default_value_t = 0, group = "errors")]
        uncorrected: u64,
    },
    /// Remapped rows.
    RemappedRows {
        gpu: GpuSelector,
        #[arg(long, default_value_t = 0)]
        uncorrected: u32,
        /// A remapping waits for a reset.
        #[arg(long)]
        pending: bool,
        /// A remapping failed.
        #[arg(long)]
        failure: bool,
    },
    /// The driver recommends a recovery action: 0 none, 1 reset, 2 reboot, 3 drain P2P, 4 drain and reset.
    RecoveryAction { gpu: GpuSelector, action: u32 },
    /// The clocks change for these reasons (a bit mask).
    ClockChange { gpu: GpuSelector, reasons: u64 },
    /// Calls meet a fault. Prints its number.
    Fault(FaultArguments),
    /// Ends a fault, or all.
    Clear { fault: Option<u16> },
    /// The fabric registers anew, for some seconds.
    FabricInProgress { seconds: u64 },
    /// A program uses the GPU.
    ProcessStarts {
        gpu: GpuSelector,
        pid: u32,
        #[arg(long, default_value = "/usr/bin/python3")]
        name: String,
        #[arg(long, default_value_t = 512)]
        memory_mib: u64,
        #[arg(long)]
        graphics: bool,
    },
    /// A program no longer uses the GPU.
    ProcessEnds { gpu: GpuSelector, pid: u32 },
    /// The library answers this as the GPU's name; \xNN stands for any byte.
    Name { gpu: GpuSelector, name: String },
    /// Whether clients' defects (use after shutdown, unknown handle) abort them.
    Strict {
        #[arg(action = clap::ArgAction::Set)]
        strict: bool,
    },
    /// The kernel driver.
    Driver {
        #[command(subcommand)]
        change: DriverChange,
    },
    /// The library file.
    Library { file: LibraryArgument },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DriverChange {
    /// Unloads it.
    Unload,
    /// Loads it anew.
    Load {
        /// Exchanges it for this version first.
        #[arg(long)]
        version: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LibraryArgument {
    Broken,
    Missing,
    Restored,
}

impl From<LibraryArgument> for LibraryFile {
    fn from(argument: LibraryArgument) -> Self {
        match argument {
            LibraryArgument::Broken => Self::Broken,
            LibraryArgument::Missing => Self::Missing,
            LibraryArgument::Restored => Self::Restored,
        }
    }
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("effect").required(true))]
pub(crate) struct FaultArguments {
    /// An NVML function, or '*' for all.
    call: String,
    /// Only calls for this GPU.
    #[arg(long)]
    gpu: Option<GpuSelector>,
    /// Begin with the nth matching call.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    nth: u64,
    /// How many calls; all if not given.
    #[arg(long)]
    times: Option<u64>,
    /// The call takes longer, by milliseconds.
    #[arg(long, group = "effect")]
    delay_ms: Option<u64>,
    /// The call returns only when the fault is cleared.
    #[arg(long, group = "effect")]
    hang: bool,
    /// The call returns this NVML code.
    #[arg(long, group = "effect")]
    fail: Option<u32>,
    /// The caller is killed before the call has an effect.
    #[arg(long, group = "effect")]
    kill_before: bool,
    /// The caller is killed after the call had its effect.
    #[arg(long, group = "effect")]
    kill_after: bool,
}

impl FaultArguments {
    fn effect(&self) -> Option<Effect> {
        match self {
            Self { delay_ms: Some(milliseconds), .. } => Some(Effect::Delay(*milliseconds)),
            Self { fail: Some(code), .. } => Some(Effect::Fail(*code)),
            Self { hang: true, .. } => Some(Effect::Hang),
            Self { kill_before: true, .. } => Some(Effect::KillBefore),
            Self { kill_after: true, .. } => Some(Effect::KillAfter),
            _ => None,
        }
    }
}

impl Inject {
    /// As a change of the state; none for what changes files only.
    pub(crate) fn injection(self) -> Option<Injection> {
        Some(match self {
            Self::Xid { gpu, xid, gpu_instance, compute_instance } => {
                Injection::Xid { gpu, xid, instances: gpu_instance.zip(compute_instance) }
            }
            Self::Lost { gpu } => Injection::Lost(gpu),
            Self::OffTheBus { gpu } => Injection::OffTheBus(gpu),
            Self::Returned { gpu, uuid } => Injection::Returned { gpu, uuid },
            Self::Ecc { gpu, corrected, uncorrected } => Injection::Ecc { gpu, corrected, uncorrected },
            Self::RemappedRows { gpu, uncorrected, pending, failure } => {
                Injection::RemappedRows { gpu, uncorrected, pending, failure }
            }
            Self::RecoveryAction { gpu, action } => Injection::RecoveryAction { gpu, action },
            Self::ClockChange { gpu, reasons } => Injection::ClockChange { gpu, reasons },
            Self::Fault(fault) => Injection::Fault {
                effect: fault.effect()?,
                call: fault.call,
                gpu: fault.gpu,
                after: fault.nth - 1,
                times: fault.times,
            },
            Self::Clear { fault } => Injection::Clear(fault),
            Self::FabricInProgress { seconds } => Injection::FabricInProgress { seconds },
            Self::ProcessStarts { gpu, pid, name, memory_mib, graphics } => {
                Injection::ProcessStarts { gpu, process: Process { pid, name, memory_mib, graphics } }
            }
            Self::ProcessEnds { gpu, pid } => Injection::ProcessEnds { gpu, pid },
            Self::Name { gpu, name } => Injection::Name { gpu, bytes: unescape(&name) },
            Self::Strict { strict } => Injection::Strict(strict),
            Self::Driver { .. } | Self::Library { .. } => return None,
        })
    }
}

/// Reads \xNN as that byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        let digits = rest.get(at + 2..at + 4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend(&rest.as_bytes()[..at]);
        match digits {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[at + 4..];
            }
            None => {
                bytes.extend(b"\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}
