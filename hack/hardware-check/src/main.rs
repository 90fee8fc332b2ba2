//! Records what a real NVML answers, and shows where the fake differs.
//!
//! ```text
//! the machine's library ──┐                       ┌── recording (JSON)
//!                         ├─▶ watch ⇄ probe ──────┤
//! a fake node's library ──┘   (a child process)   └── compare ──▶ table
//! ```
//!
//! Only functions that read are called. `hardware-check list` names them.

mod anonymise;
mod answer;
mod compare;
mod fake;
mod files;
mod probe;
mod raw;
mod recording;
mod report;
mod steps;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use answer::code_name;
use files::Roots;
use probe::Place;
use recording::Recording;
use watch::Limits;

/// Records what the NVIDIA driver of this machine answers, and shows where the project's fake differs.
///
/// Reads only, needs no network, and ends within its time limit. Exit status: 0 the fake says the same, 1 facts
/// differ, 2 there is no GPU or no driver, 3 anything else.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Task>,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Record what this machine's driver answers, and compare nothing.
    Record(Source),
    /// Compare a recording with the fake.
    Compare {
        /// What was recorded on a real machine.
        recorded: PathBuf,
        /// What was recorded on a fake node. Without it one like the recorded machine is made.
        #[arg(long)]
        fake: Option<PathBuf>,
        #[command(flatten)]
        times: Times,
    },
    /// Name every NVML function that can be called.
    List,
    /// The asking process.
    #[command(hide = true)]
    Probe {
        #[arg(long)]
        library: PathBuf,
        #[arg(long)]
        section: u32,
        #[arg(long)]
        step: u32,
    },
    /// The process that looks at files.
    #[command(hide = true)]
    ProbeFiles {
        #[arg(long)]
        library: PathBuf,
        #[arg(long)]
        procfs: PathBuf,
        #[arg(long)]
        sysfs: PathBuf,
        /// Index and PCI address of a GPU.
        #[arg(long, value_parser = gpu_address)]
        gpu: Vec<(u32, String)>,
        #[arg(long)]
        section: u32,
        #[arg(long)]
        step: u32,
    },
}

fn gpu_address(text: &str) -> Result<(u32, String), String> {
    let parts = text.split_once('=').and_then(|(gpu, address)| Some((gpu.parse().ok()?, address.to_owned())));
    parts.ok_or_else(|| "give index=address".to_owned())
}

#[derive(Debug, Args)]
struct Source {
    /// The library to ask; without it the one that the dynamic linker would load.
    #[arg(long)]
    library: Option<PathBuf>,
    /// Where to write the recording (default: `hardware-fixtures/<product>-<driver>.json`).
    #[arg(long)]
    out: Option<PathBuf>,
    /// Replace UUIDs, serial numbers and host names by placeholders.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    anonymise: bool,
    /// Let the check switch MIG on and off again. Not built yet: what NVML says about MIG as it is now is
    /// recorded without this.
    #[arg(long)]
    allow_mig: bool,
    /// What the kernel shows as /proc.
    #[arg(long, default_value = "/proc")]
    procfs: PathBuf,
    /// What the kernel shows as /sys.
    #[arg(long, default_value = "/sys")]
    sysfs: PathBuf,
    #[command(flatten)]
    times: Times,
}

#[derive(Clone, Copy, Debug, Args)]
struct Times {
    /// Seconds until a call is given up.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    call_timeout: f64,
    /// Seconds until nvmlInit is given up. Without persistence mode it takes seconds for each GPU.
    #[arg(long, default_value_t = 90.0, value_parser = seconds)]
    init_timeout: f64,
    /// Seconds until everything is given up.
    #[arg(long, default_value_t = 480.0, value_parser = seconds)]
    time_limit: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("give a number of seconds above 0".to_owned()),
    }
}

impl Times {
    fn limits(self, begin: Instant) -> Limits {
        Limits {
            call: Duration::from_secs_f64(self.call_timeout),
            init: Duration::from_secs_f64(self.init_timeout),
            deadline: begin + Duration::from_secs_f64(self.time_limit),
        }
    }
}

/// Facts differ.
const DIFFERENT: u8 = 1;
/// There is nothing to ask.
const NOTHING: u8 = 2;
/// Anything else went wrong.
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let begin = Instant::now();
    match run(Cli::parse(), begin) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hardware-check: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(cli: Cli, begin: Instant) -> Result<ExitCode> {
    match cli.command {
        None => check(&cli.source, begin, true),
        Some(Task::Record(source)) => check(&source, begin, false),
        Some(Task::Compare { recorded, fake, times }) => {
            let real = Recording::read(&recorded)?;
            let fake = match fake {
                Some(path) => {
                    fake::Fake { what: path.display().to_string(), recording: Recording::read(&path)? }
                }
                None => fake::like(&real, times.limits(begin))?,
            };
            Ok(compare(&real, fake))
        }
        Some(Task::List) => {
            for function in steps::functions() {
                println!("{function}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Probe { library, section, step }) => {
            probe::run(&library, Place { section, step }).context("cannot tell what was answered")?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::ProbeFiles { library, procfs, sysfs, gpu, section, step }) => {
            let looks = files::looks(&library, &Roots { proc: procfs, sys: sysfs }, &gpu);
            probe::run_files(&looks, Place { section, step }).context("cannot tell what was seen")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Records, and compares if told to.
fn check(source: &Source, begin: Instant, comparing: bool) -> Result<ExitCode> {
    if source.allow_mig {
        bail!("--allow-mig is not built yet: nothing was switched; run without it");
    }
    let limits = source.times.limits(begin);
    let library = match &source.library {
        Some(library) => library.clone(),
        None => match dra_driver::nvml::library::find(Path::new("/")) {
            search if search.found.is_some() => search.found.unwrap_or_default(),
            search => {
                eprintln!("hardware-check: {}", no_library(&search));
                return Ok(ExitCode::from(NOTHING));
            }
        },
    };
    let roots = Roots { proc: source.procfs.clone(), sys: source.sysfs.clone() };
    let mut recording = match recording::record(&library, &roots, limits) {
        Ok(recording) => recording,
        Err(error) => {
            eprintln!("hardware-check: {error:#}");
            return Ok(ExitCode::from(NOTHING));
        }
    };
    if source.anonymise {
        recording.anonymise();
    }
    let out = source.out.clone().unwrap_or_else(|| Path::new("hardware-fixtures").join(recording.name()));
    recording.write(&out)?;
    println!(
        "Recorded {} answers of {} in {:.1} s: {}",
        recording.entries.len(),
        library.display(),
        begin.elapsed().as_secs_f64(),
        out.display()
    );
    if let Some(reason) = &recording.incomplete {
        println!("The recording is not complete: {reason}");
    }
    let nothing = nothing_to_ask(&recording);
    if let Some(reason) = &nothing {
        eprintln!("hardware-check: {reason}");
    }
    let compared = match comparing {
        true => compare(&recording, fake::like(&recording, limits)?),
        false => ExitCode::SUCCESS,
    };
    Ok(if nothing.is_some() { ExitCode::from(NOTHING) } else { compared })
}

fn compare(real: &Recording, mut fake: fake::Fake) -> ExitCode {
    if real.anonymised && !fake.recording.anonymised {
        fake.recording.anonymise();
    }
    let comparison = compare::compare(real, &fake.recording);
    let count = real.boards().len();
    let product = real.product().unwrap_or("no GPU");
    let driver = real.driver().unwrap_or_else(|| "unknown".to_owned());
    let what = format!("{product} × {count}, driver {driver}");
    print!("{}", report::render(&comparison, &what, &fake.what));
    if comparison.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) }
}

/// Why there was no GPU to ask.
fn nothing_to_ask(recording: &Recording) -> Option<String> {
    match recording.init() {
        Some(0) if recording.gpus().next().is_none() => {
            Some("the driver is loaded and lists no GPU; see the kernel log for 'NVRM'".to_owned())
        }
        Some(0) => None,
        Some(code) => Some(format!(
            "nvmlInit_v2 answered {}; is the kernel module loaded ('modprobe nvidia', or 'nvidia-smi' once), \
             and may this user open /dev/nvidiactl?",
            code_name(code)
        )),
        None => Some("nvmlInit_v2 did not return; see the kernel log for 'NVRM' and 'Xid'".to_owned()),
    }
}

fn no_library(search: &dra_driver::nvml::library::Search) -> String {
    let looked: Vec<String> = search.looked.iter().map(|place| place.path.display().to_string()).collect();
    let refused: Vec<String> =
        search.refused().map(|(path, reason)| format!("{}: {reason}", path.display())).collect();
    let mut text = format!(
        "no {} on this machine: install NVIDIA's driver, or name the file with --library (looked at {})",
        dra_driver::nvml::library::LIBRARY,
        looked.join(", ")
    );
    if !refused.is_empty() {
        text.push_str("; not usable: ");
        text.push_str(&refused.join("; "));
    }
    text
}
