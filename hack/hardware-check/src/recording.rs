//! A recording: everything that one machine answered, as a file that can be published.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Entry, Section};
use crate::files::Roots;
use crate::watch::{self, Limits, Subject};

/// The format of recordings that this program writes and reads.
const FORMAT: u32 = 1;

/// Everything that one machine answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recording {
    /// [`FORMAT`].
    pub(crate) format: u32,
    /// Whether UUIDs, serial numbers and host names were replaced.
    pub(crate) anonymised: bool,
    /// Why answers are missing.
    pub(crate) incomplete: Option<String>,
    /// The answers, in the order in which they were asked for.
    pub(crate) entries: Vec<Entry>,
}

/// Asks a library, its file and the kernel.
///
/// # Errors
/// The library cannot be loaded.
pub(crate) fn record(library: &Path, roots: &Roots, limits: Limits) -> Result<Recording> {
    let probed = watch::probe(Subject::Library(library), limits)?;
    let mut recording = Recording {
        format: FORMAT,
        anonymised: false,
        incomplete: probed.incomplete,
        entries: probed.entries,
    };
    let addresses: Vec<(u32, String)> = recording
        .gpus()
        .filter_map(|gpu| {
            Some((gpu, recording.of_gpu(gpu, PCI)?.identity.get("busId")?.as_str()?.to_owned()))
        })
        .collect();
    let looked = watch::probe(Subject::Files(library, roots, &addresses), limits)?;
    recording.entries.extend(looked.entries);
    recording.incomplete = recording.incomplete.or(looked.incomplete);
    // A probe that went on behind a silent call may have filed its answer late.
    recording.entries.sort_by_key(|entry| (entry.section, entry.gpu));
    Ok(recording)
}

const PCI: &str = "nvmlDeviceGetPciInfo_v3";

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// The file cannot be read, or is no recording of this format.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs_err::read_to_string(path)?;
        let recording: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is no recording of hardware-check", path.display()))?;
        if recording.format != FORMAT {
            bail!(
                "{} has format {}, this program reads format {FORMAT}: record again",
                path.display(),
                recording.format
            );
        }
        Ok(recording)
    }

    /// Writes the recording, one answer a line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::write(path, self.text()?)?;
        Ok(())
    }

    fn text(&self) -> Result<String> {
        let entries: Vec<String> =
            self.entries.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let mut text = String::from("{\n");
        // Writing to a string does not fail.
        let _ = writeln!(text, "\"format\": {},", self.format);
        let _ = writeln!(text, "\"anonymised\": {},", self.anonymised);
        let _ = writeln!(text, "\"incomplete\": {},", serde_json::to_string(&self.incomplete)?);
        let _ = writeln!(text, "\"entries\": [\n{}\n]\n}}", entries.join(",\n"));
        Ok(text)
    }

    /// An answer that is not about a GPU.
    pub(crate) fn find(&self, section: Section, call: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.section == section && entry.call == call)
    }

    /// A GPU's answer.
    pub(crate) fn of_gpu(&self, gpu: u32, call: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.gpu == Some(gpu) && entry.call == call)
    }

    /// The indices of the GPUs that were asked.
    pub(crate) fn gpus(&self) -> impl Iterator<Item = u32> {
        let mut gpus: Vec<u32> = self.entries.iter().filter_map(|entry| entry.gpu).collect();
        gpus.sort_unstable();
        gpus.dedup();
        gpus.into_iter()
    }

    /// The PCI device ids of the GPUs, in NVML's order; none for a GPU that did not say.
    pub(crate) fn boards(&self) -> Vec<Option<u16>> {
        let id = |gpu| {
            let device = self.of_gpu(gpu, PCI)?.fact.get("deviceId")?.as_u64()?;
            u16::try_from(device >> 16).ok()
        };
        self.gpus().map(id).collect()
    }

    /// The name of the first GPU that has one.
    pub(crate) fn product(&self) -> Option<&str> {
        let mut names = self.entries.iter().filter(|entry| entry.call == "nvmlDeviceGetName");
        names.find_map(|entry| entry.fact.get("value")?.as_str())
    }

    /// The driver's version: what NVML says, or what the version of NVML itself implies ("12.550.163.01").
    pub(crate) fn driver(&self) -> Option<String> {
        let value = |section, call| {
            Some(self.find(section, call)?.fact.get("value").and_then(Value::as_str)?.to_owned())
        };
        value(Section::System, "nvmlSystemGetDriverVersion").or_else(|| {
            let nvml: String = value(Section::BeforeInit, "nvmlSystemGetNVMLVersion")?;
            Some(nvml.split_once('.')?.1.to_owned())
        })
    }

    /// The code that nvmlInit returned; none if it did not return.
    pub(crate) fn init(&self) -> Option<u32> {
        self.find(Section::System, "nvmlInit_v2")?.code
    }

    /// A file name for it: product and driver.
    pub(crate) fn name(&self) -> String {
        let product = self.product().unwrap_or("no GPU");
        let driver = self.driver().unwrap_or_else(|| "unknown".to_owned());
        let words = product.to_ascii_lowercase();
        let words: Vec<&str> = words.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        format!("{}-{driver}.json", words.join("-"))
    }
}
